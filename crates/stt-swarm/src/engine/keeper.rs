//! Writes what outlives a restart, so that the engine's task does not wait for a disk.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stt_store::{Chamber, StoreError};
use tokio::sync::Notify;

use super::{
    command::Reply,
    queries::{MAX_QUERIES, answer},
};
use crate::{dht::saved::Part, swarm_error::SwarmError};

/// Where parts are put to be written. Dropped, what waits is still written.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    chamber: Chamber,
    swarm: String,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

/// What is to be written: of each part the newest, so that this is bounded by what is kept.
#[derive(Default)]
struct Waiting {
    parts: BTreeMap<Part, Vec<u8>>,
    /// Who waits until all of it is written.
    replies: Vec<Reply<()>>,
    over: bool,
}

impl Keeper {
    /// Begins to write, in a task of the runtime that this is called in.
    pub(crate) fn start(chamber: Chamber, swarm: String) -> Self {
        let shared = Shared { chamber, swarm, waiting: Mutex::default(), changed: Notify::new() };
        let shared = Arc::new(shared);
        tokio::spawn(write(Arc::clone(&shared)));
        Self { shared }
    }

    /// Has a part written in place of what it was.
    pub(crate) fn put(&self, part: Part, bytes: Vec<u8>) {
        self.shared.waiting().parts.insert(part, bytes);
        self.shared.changed.notify_one();
    }

    /// Answers when all that was put before is on the disk.
    pub(crate) fn written(&self, reply: Reply<()>) {
        let mut waiting = self.shared.waiting();
        if waiting.replies.len() >= MAX_QUERIES {
            drop(waiting);
            return answer(reply, Err(SwarmError::Busy { what: "writes", max: MAX_QUERIES }));
        }
        waiting.replies.push(reply);
        drop(waiting);
        self.shared.changed.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.waiting().over = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces a part, and removes what was there.
    async fn replace(&self, part: Part, bytes: Vec<u8>) -> Result<(), StoreError> {
        let name = part.name(&self.swarm);
        let before = self.chamber.resolve(&name).await.ok();
        let now = self.chamber.put_named(&name, bytes).await?;
        if let Some(before) = before.filter(|before| *before != now) {
            match self.chamber.remove(&before).await {
                // Something else may keep it.
                Ok(()) | Err(StoreError::NotFound { .. } | StoreError::StillNamed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn write(shared: Arc<Shared>) {
    loop {
        let (mut parts, replies, over) = {
            let mut waiting = shared.waiting();
            let parts = std::mem::take(&mut waiting.parts);
            (parts, std::mem::take(&mut waiting.replies), waiting.over)
        };
        if parts.is_empty() && replies.is_empty() {
            if over {
                return;
            }
            shared.changed.notified().await;
            continue;
        }
        let mut failed = None;
        while let Some((part, bytes)) = parts.pop_first() {
            if let Err(error) = shared.replace(part, bytes.clone()).await {
                tracing::warn!(%error, "the swarm could not save what outlives a restart");
                failed = Some(Arc::new(error));
                parts.insert(part, bytes);
                // All that is left is tried again with the next change, unless there is newer.
                let mut waiting = shared.waiting();
                for (part, bytes) in std::mem::take(&mut parts) {
                    waiting.parts.entry(part).or_insert(bytes);
                }
            }
        }
        for reply in replies {
            let result = failed.clone().map_or(Ok(()), |cause| Err(SwarmError::NotSaved { cause }));
            answer(reply, result);
        }
        if failed.is_some() {
            if shared.waiting().over {
                return;
            }
            shared.changed.notified().await;
        }
    }
}
