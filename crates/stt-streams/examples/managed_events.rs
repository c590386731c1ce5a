//! Events to several subscribers, and how the service does.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::{error::Error, time::Duration};

use stt_streams::{
    FileOperation, FileOperationEvent, StreamConfig, StreamManager, StreamingService,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = StreamingService::new(StreamManager::new(StreamConfig::new())?);
    service.manager().create_stream("stream-1")?;
    let mut listening = tokio::task::JoinSet::new();
    for name in ["subscriber-1", "subscriber-2"] {
        let mut events = service.subscribe_to_file_operation_events(name)?;
        listening.spawn(async move {
            let mut heard = Vec::new();
            while let Some(event) = events.next().await {
                heard.push(event.subject.clone());
            }
            heard
        });
    }
    for key in ["a.txt", "b.txt"] {
        service.emit_file_operation(FileOperationEvent::new(FileOperation::Upload, key, ""));
    }
    println!("{}", serde_json::to_string(&service.health_check())?);
    service.unsubscribe_from_file_operation_events("subscriber-1")?;
    service.shutdown(Duration::from_secs(5)).await;
    let heard = listening.join_all().await;
    assert!(heard.iter().all(|heard| *heard == ["a.txt", "b.txt"]), "{heard:?}");
    println!("{} subscribers heard of both files, and their loops ended", heard.len());
    Ok(())
}
