//! What is known of the servers that keep a log.

use std::{fmt, time::Duration};

/// When a server makes what it acknowledged durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerSync {
    /// Before it acknowledges: `sync_interval` is `always`.
    Always,
    /// At this interval: a loss of power takes what was acknowledged since.
    Every(Duration),
    /// Nobody told. It counts as not synced.
    Unknown,
}

impl fmt::Display for ServerSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("syncs before it acknowledges"),
            Self::Every(interval) => write!(f, "acknowledges first and syncs every {interval:?}"),
            Self::Unknown => f.write_str("does not tell when it syncs"),
        }
    }
}

/// What is known of the servers that keep a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReport {
    /// Their names, and when each syncs.
    pub servers: Vec<(String, ServerSync)>,
    /// The stream is set to acknowledge before it was written (`persist_mode: async`).
    pub acknowledges_early: bool,
}

impl SyncReport {
    /// Whether what was acknowledged is synced on every server that keeps the log.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let all = self.servers.iter().all(|(_, sync)| *sync == ServerSync::Always);
        all && !self.servers.is_empty() && !self.acknowledges_early
    }
}

impl fmt::Display for SyncReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.acknowledges_early {
            f.write_str("the stream acknowledges before it is written; ")?;
        }
        for (at, (name, sync)) in self.servers.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}the server {name:?} {sync}")?;
        }
        Ok(())
    }
}
