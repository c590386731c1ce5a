//! Sensor readings kept by their hash: the store holds bytes, the application its own index.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use std::collections::BTreeMap;

use stt_store::{BinaryStorage, ChamberKey};

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, sensor, collector) = common::pair().await?;
    let readings: Vec<String> = (0..100)
        .map(|at| format!(r#"{{"sensor":"roof","time":{at},"temp":{}}}"#, 20 + at % 7))
        .collect();

    // The sensor sends each reading as one message.
    let up = sensor.open_stream()?;
    for reading in &readings {
        up.send(reading.as_bytes()).await?;
    }
    let closing = tokio::spawn(async move { up.close().await });

    // The collector stores them encrypted, addressed by hash, and keeps an index of its own.
    let storage = BinaryStorage::in_memory(&ChamberKey::from_key(&stc::Key::generate()?)).await?;
    let mut index = BTreeMap::new();
    let incoming = collector.accept_stream().await?;
    while let Some(reading) = incoming.receive().await? {
        let address = storage.store(reading).await?;
        index.insert(index.len(), address);
    }
    closing.await??;

    for (time, address) in &index {
        let stored = storage.retrieve(address).await?;
        assert_eq!(readings.get(*time).map(String::as_bytes), Some(&stored[..]));
    }
    assert_eq!(index.len(), readings.len());
    println!("{} readings stored by hash and read back as they were sent", index.len());
    Ok(())
}
