//! What small things cost in memory: resident bytes of this process, so one test at a time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use stt::{
    EventEmitter, Fields, Value,
    endpoints::{EndpointId, EndpointManager},
};

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn handlers_and_endpoints_are_small() {
    const HANDLERS: usize = 60_000;
    let events = EventEmitter::new();
    let before = resident();
    for _ in 0..HANDLERS {
        std::mem::forget(events.on("a", |_| std::future::ready(())).unwrap());
    }
    let each = (resident() - before) / HANDLERS;
    println!("{each} bytes for each idle handler");
    assert!(each <= 100, "{each} bytes");

    const ENDPOINTS: u32 = 100_000;
    let manager = EndpointManager::with_config(Default::default(), None).unwrap();
    let before = resident();
    for number in 0..ENDPOINTS {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let metadata = Fields::from([
            ("type".into(), Value::from("relay")),
            ("trust_score".into(), Value::from(0.95)),
            ("region".into(), Value::from(format!("region {number}"))),
        ]);
        let id = EndpointId::new(&id).unwrap();
        manager.add_endpoint(id, ("192.168.1.100", 9000), metadata).unwrap();
    }
    let each = (resident() - before) / 100_000;
    println!("{each} bytes for each endpoint with three fields of metadata");
    assert!(each <= 1_024, "{each} bytes");
}
