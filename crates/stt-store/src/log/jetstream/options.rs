//! Settings of a log on a JetStream server.

use std::time::Duration;

use crate::StoreError;

/// Longest name of a stream.
const NAME_MAX: usize = 64;
/// Servers that can be asked whether they sync.
const MONITORS_MAX: usize = 16;

/// Settings of a [`JetStreamLog`](super::JetStreamLog).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    pub(super) stream: String,
    pub(super) record_max: usize,
    pub(super) keep_bytes: Option<u64>,
    pub(super) keep_age: Option<Duration>,
    pub(super) replicas: usize,
    pub(super) patience: Duration,
    pub(super) monitors: Vec<String>,
    pub(super) synced_only: bool,
}

fn setting(what: String) -> StoreError {
    StoreError::Setting { what }
}

impl JetStreamOptions {
    /// For the log in the stream of this name, which is made if there is none: 1 to 64 letters,
    /// digits, `-` and `_`. The stream takes the subject `stt.log.` and its name.
    ///
    /// # Errors
    /// [`StoreError::Setting`] for another name.
    pub fn new(stream: &str) -> Result<Self, StoreError> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if stream.is_empty() || stream.len() > NAME_MAX || !stream.bytes().all(is_good) {
            let what = format!("a stream's name has 1 to {NAME_MAX} letters, digits, - and _");
            return Err(setting(what));
        }
        Ok(Self {
            stream: stream.to_owned(),
            record_max: 1 << 20,
            keep_bytes: None,
            keep_age: None,
            replicas: 1,
            patience: Duration::from_secs(30),
            monitors: Vec::new(),
            synced_only: false,
        })
    }

    /// Longest record in bytes. Default 1 MiB; 1 to 16 MiB. What the server takes as one message,
    /// 1 MiB unless its `max_payload` says otherwise, bounds the records of one call together, with
    /// 512 bytes and 4 for each.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_record_max(mut self, bytes: usize) -> Result<Self, StoreError> {
        if !(1..=16 << 20).contains(&bytes) {
            return Err(setting(format!("record_max is {bytes}; 1 to 16 MiB are allowed")));
        }
        self.record_max = bytes;
        Ok(self)
    }

    /// The server removes the oldest records while all of them have more than so many bytes, 64 KiB
    /// at least. Default: everything is kept.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_keep_bytes(mut self, bytes: u64) -> Result<Self, StoreError> {
        if !(64 << 10..=1 << 60).contains(&bytes) {
            return Err(setting(format!("keep_bytes is {bytes}; 64 KiB to 1 EiB are allowed")));
        }
        self.keep_bytes = Some(bytes);
        Ok(self)
    }

    /// Removes records that are older, when something is appended, at most an eighth of this time
    /// too late; what was appended last stays. Default: everything is kept.
    #[must_use]
    pub const fn with_keep_age(mut self, age: Duration) -> Self {
        self.keep_age = Some(age);
        self
    }

    /// On how many servers of a cluster a new stream is kept. Default 1; 1 to 5.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_replicas(mut self, count: usize) -> Result<Self, StoreError> {
        if !(1..=5).contains(&count) {
            return Err(setting(format!("{count} replicas; 1 to 5 are allowed")));
        }
        self.replicas = count;
        Ok(self)
    }

    /// How long a call goes on trying while the server does not answer, before it fails with
    /// [`LogError::Unreachable`](crate::log::LogError::Unreachable). Default 30 s; 1 s to 1 h.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_patience(mut self, patience: Duration) -> Result<Self, StoreError> {
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&patience) {
            return Err(setting(format!("patience is {patience:?}; 1 s to 1 h are allowed")));
        }
        self.patience = patience;
        Ok(self)
    }

    /// The monitoring address of a server, `127.0.0.1:8222` or `http://HOST:PORT`, where it says
    /// whether it syncs before it acknowledges; of each server that keeps the stream, 16 at most.
    /// It is plain HTTP: an attacker on the path can forge the answer.
    ///
    /// # Errors
    /// [`StoreError::Setting`] when it is no such address, or one too many.
    pub fn with_monitor(mut self, address: &str) -> Result<Self, StoreError> {
        let place = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let port = place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if port.is_none() || !place.bytes().all(is_good) || self.monitors.len() == MONITORS_MAX {
            let what =
                format!("{address:?} is no monitoring address, host and port, or one too many");
            return Err(setting(what));
        }
        self.monitors.push(place.to_owned());
        Ok(self)
    }

    /// Refuses to open a log unless every server that keeps it is known to sync before it
    /// acknowledges: [`LogError::NotSynced`](crate::log::LogError::NotSynced).
    #[must_use]
    pub const fn with_synced_only(mut self) -> Self {
        self.synced_only = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = JetStreamOptions::new("orders").unwrap();
        for name in ["", "a.b", "a b", "a*", &"x".repeat(65)] {
            assert!(JetStreamOptions::new(name).is_err(), "{name}");
        }
        for address in ["", "host", "host:", "host:99999", "a b:1", "https://host:1", "h/x:1"] {
            assert!(good.clone().with_monitor(address).is_err(), "{address}");
        }
        for address in ["127.0.0.1:8222", "http://host:1/", "[::1]:8222"] {
            assert!(good.clone().with_monitor(address).is_ok(), "{address}");
        }
        assert!(good.clone().with_replicas(6).is_err() && good.with_keep_bytes(1).is_err());
    }
}
