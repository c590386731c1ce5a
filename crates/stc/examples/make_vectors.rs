//! Writes the vectors that come from Rust: `cargo run -p stc --example make_vectors -- FOLDER`.
//!
//! Every run draws new salts, so every run writes other bytes. The rest of the vectors is written by
//! `interop/stc/make_vectors.py`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a program for developers that stops when something fails"
)]

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode};

use stc::{
    ContentId, Context, ContextData, FileOptions, Key, SealOptions, StreamingConfig,
    StreamingContext, aead::Suite,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from).filter(|it| it.is_dir())
    else {
        eprintln!("usage: cargo run -p stc --example make_vectors -- FOLDER");
        eprintln!("FOLDER is one that exists, for example crates/stc/tests/vectors.");
        return ExitCode::from(2);
    };
    let key = Key::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let seed = hex(key.as_bytes());
    let write = |name: &str, fields: &str, body: &[u8]| {
        let head = format!("expect: ok\nseed: {seed}\n{fields}\n");
        fs::write(folder.join(format!("rust-{name}.vector")), [head.as_bytes(), body].concat())
            .unwrap();
    };
    let context = Context::builder(key.clone()).lattice(16, 1).build().unwrap();
    let about = |kind: &str, content: &[u8]| {
        format!(
            "kind: envelope\ncontent-kind: {kind}\ncontent: {}\n",
            hex(ContentId::of(content).as_bytes())
        )
    };

    let blob = context.seal("a text", &SealOptions::new().use_decoys(false)).unwrap();
    write("text", &about("text", b"a text"), &blob);
    let blob = context.seal(b"", &SealOptions::new().use_decoys(false)).unwrap();
    write("empty", &about("bytes", b""), &blob);
    let data = ContextData::new().with("user", "alice").with("n", -1);
    let options = SealOptions::new().password("real").context_data(&data).decoy("decoy", b"list");
    let blob = context.seal("the secret", &options).unwrap();
    let with = "context: {\"n\": -1, \"user\": \"alice\"}\n";
    let fields = about("text", b"the secret") + "password: real\n" + with;
    write("decoys-real", &fields, &blob);
    let fields = about("bytes", b"list") + "password: decoy\n" + with;
    write("decoys-decoy", &fields, &blob);
    let content = vec![7; 70_000];
    let files = FileOptions::new().chunk_len(65_536);
    let mut out = Vec::new();
    context
        .encrypt_stream(content.as_slice(), None, &mut out, &SealOptions::new(), &files)
        .unwrap();
    write("file", &about("bytes", &content), &out);

    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let config = StreamingConfig::new().suite(suite);
        let mut stream = StreamingContext::with_config(key.clone(), config).unwrap();
        let frame = vec![9; 9000];
        let (header, sealed) = stream.encrypt_chunk(&frame).unwrap();
        let fields = format!("kind: chunk\ncontent: {}\n", hex(ContentId::of(&frame).as_bytes()));
        let body = [header.to_bytes().as_slice(), &sealed].concat();
        write(&format!("chunk-{}", suite.id()), &fields, &body);
    }

    context.update();
    let _ = context.hash(b"x", None);
    let state = context.save_state().unwrap();
    let fields = "kind: state\nepoch: 1\nposition: 1\nenvelopes: 0\nbytes: 0\n";
    write("state", fields, &state.to_bytes());
    let fields = format!("kind: key\nkey: {seed}\n");
    write("key", &fields, key.to_printable().as_bytes());
    ExitCode::SUCCESS
}
