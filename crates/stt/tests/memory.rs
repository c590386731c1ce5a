//! What small things cost in memory: resident bytes of this process, so one test at a time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use stt::EventEmitter;

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
        events.on("a", |_| std::future::ready(())).unwrap();
    }
    let each = (resident() - before) / HANDLERS;
    println!("{each} bytes for each idle handler");
    assert!(each <= 100, "{each} bytes");
}
