//! The thread that removes old segments, so that no append waits for it.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use super::{now, shared::Shared};
use crate::StoreError;

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Retention {
    wake: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Retention {
    /// Starts the thread, if anything is ever removed.
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let options = shared.options;
        if options.keep_age.is_none() && options.keep_bytes.is_none() {
            return Ok(Self { wake: None, thread: None });
        }
        // By age something may go without anything being appended.
        let pause = options.keep_age.map_or(Duration::from_secs(3600), |age| {
            (age / 8).clamp(Duration::from_millis(100), Duration::from_secs(60))
        });
        let (wake, woken) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("stt-log-retain".to_owned())
            .spawn(move || run(&shared, &woken, pause))
            .map_err(|error| StoreError::io("the thread that removes segments", &error))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// There may be something to remove. Never waits.
    pub(super) fn look(&self) {
        if let Some(wake) = &self.wake {
            // If one is waiting already, that one sees what is new as well.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, woken: &mpsc::Receiver<()>, pause: Duration) {
    loop {
        match shared.retain(now()) {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "old segments of the log removed"),
            Err(error) => tracing::warn!(%error, "old segments of the log stay for now"),
        }
        if let Err(mpsc::RecvTimeoutError::Disconnected) = woken.recv_timeout(pause) {
            return;
        }
    }
}
