//! Settings of a log on a JetStream server.

use std::time::Duration;

use crate::{SettingError, StoreError, log::options::RECORD_LIMIT, setting_error::within};

/// Longest name of a stream.
const NAME_MAX: usize = 64;
/// Servers that can be asked whether they sync.
const MONITORS_MAX: usize = 16;
/// See [`JetStreamOptions::letters`].
const LETTERS: usize = 3;
/// Fewest and most bytes that a server can be told to keep.
const KEEP: (u64, u64) = (64 << 10, 1 << 60);
const PATIENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// Settings of a [`JetStreamLog`](super::JetStreamLog), which tells what is out of its range when
/// it is opened.
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
    /// How many times over a record can become the dead letter of a dead letter.
    pub(super) letters: usize,
}

/// Whether this is the name of a stream.
fn check_stream(name: &str) -> Result<(), SettingError> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_good) {
        return Ok(());
    }
    Err(SettingError::StreamName { name: name.to_owned(), limit: NAME_MAX })
}

/// Host and port of a monitoring address.
fn check_monitor(place: &str) -> Result<(), SettingError> {
    let port = place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    if port.is_some() && place.bytes().all(is_good) {
        return Ok(());
    }
    Err(SettingError::Monitor { address: place.to_owned() })
}

impl JetStreamOptions {
    /// For the log in the stream of this name, which is made if there is none: 1 to 64 letters,
    /// digits, `-` and `_`. The stream takes the subject `stt.log.` and its name.
    #[must_use]
    pub fn new(stream: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            record_max: 1 << 20,
            keep_bytes: None,
            keep_age: None,
            replicas: 1,
            patience: Duration::from_secs(30),
            monitors: Vec::new(),
            synced_only: false,
            letters: LETTERS,
        }
    }

    /// Longest record in bytes. Default 1 MiB; 1 to 16 MiB. What the server takes as one message,
    /// 1 MiB unless its `max_payload` says otherwise, bounds the records of one call together, with
    /// 1 KiB and 4 bytes for each, and a single one with 5 KiB: it may become a dead letter.
    #[must_use]
    pub const fn record_max(mut self, bytes: usize) -> Self {
        self.record_max = bytes;
        self
    }

    /// The server removes the oldest records while all of them have more than so many bytes, 64 KiB
    /// at least. Default: everything is kept.
    #[must_use]
    pub const fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Removes records that are older, when something is appended, at most an eighth of this time
    /// too late; what was appended last stays. Default: everything is kept.
    #[must_use]
    pub const fn keep_age(mut self, age: Duration) -> Self {
        self.keep_age = Some(age);
        self
    }

    /// On how many servers of a cluster a new stream is kept. Default 1; 1 to 5.
    #[must_use]
    pub const fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// How long a call goes on trying while the server does not answer, before it fails with
    /// [`LogError::Unreachable`](crate::log::LogError::Unreachable). Default 30 s; 1 s to 1 h.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The monitoring address of a server, `127.0.0.1:8222` or `http://HOST:PORT`, where it says
    /// whether it syncs before it acknowledges; of each server that keeps the stream, 16 at most.
    /// It is plain HTTP: an attacker on the path can forge the answer.
    #[must_use]
    pub fn monitor(mut self, address: &str) -> Self {
        let place = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        self.monitors.push(place.to_owned());
        self
    }

    /// Whether to refuse a log unless every server that keeps it is known to sync before it
    /// acknowledges: [`LogError::NotSynced`](crate::log::LogError::NotSynced). Default: false.
    #[must_use]
    pub const fn synced_only(mut self, yes: bool) -> Self {
        self.synced_only = yes;
        self
    }

    /// Whether all settings are inside their ranges.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        check_stream(&self.stream)?;
        within("record_max", self.record_max, &(1..=RECORD_LIMIT))?;
        within("keep_bytes", self.keep_bytes.unwrap_or(KEEP.1), &(KEEP.0..=KEEP.1))?;
        within("replicas", self.replicas, &(1..=5))?;
        within("patience", self.patience, &PATIENCE)?;
        within("monitors", self.monitors.len(), &(0..=MONITORS_MAX))?;
        Ok(self.monitors.iter().try_for_each(|place| check_monitor(place))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_at_the_end() {
        let good = JetStreamOptions::new("orders");
        good.check().unwrap();
        for name in ["", "a.b", "a b", "a*", &"x".repeat(65)] {
            assert!(JetStreamOptions::new(name).check().is_err(), "{name}");
        }
        for address in ["", "host", "host:", "host:99999", "a b:1", "https://host:1", "h/x:1"] {
            assert!(good.clone().monitor(address).check().is_err(), "{address}");
        }
        for address in ["127.0.0.1:8222", "http://host:1/", "[::1]:8222"] {
            good.clone().monitor(address).check().unwrap();
        }
        let many = |count| (0..count).fold(good.clone(), |options, _| options.monitor("host:1"));
        many(MONITORS_MAX).check().unwrap();
        for bad in [
            many(MONITORS_MAX + 1),
            good.clone().replicas(6),
            good.clone().keep_bytes(1),
            good.clone().record_max(0),
            good.clone().patience(Duration::ZERO),
        ] {
            assert!(matches!(bad.check(), Err(StoreError::Setting { .. })), "{bad:?}");
        }
    }
}
