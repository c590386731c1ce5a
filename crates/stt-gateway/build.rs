//! Compiles the `.proto` files, without `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

/// Everything that the gateway serves.
const FILES: [&str; 10] = [
    "grpc/health/v1/health.proto",
    "stt/gateway/v1/content.proto",
    "stt/gateway/v1/events.proto",
    "stt/gateway/v1/files.proto",
    "stt/gateway/v1/peers.proto",
    "stt/gateway/v1/store.proto",
    "stt/gateway/v1/streams.proto",
    "stt/gateway/v1/swarm.proto",
    "stt/gateway/v1/system.proto",
    "stt/gateway/v1/topics.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(FILES, ["proto"])?;
    // Reflection serves these bytes.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".stt.gateway.v1")
        .compile_fds(set)?;
    Ok(())
}
