//! What consumers stand on: a log of any kind, and where it keeps their cursors.

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{cursor::Saved, machine::Want};
use crate::{
    BoxFuture,
    log::{LogError, Position, Record},
};

/// Consumers that a log has at most.
pub(in crate::log) const CONSUMERS_MAX: usize = 1024;

/// Tells what is to be written, and its version, at the moment when it is written.
pub(in crate::log) type Snapshot = Box<dyn FnOnce() -> (u64, Saved) + Send>;

/// The log that one consumer reads, and the place of its cursor.
pub(in crate::log) trait Engine: Debug + Send + Sync {
    /// The offset that follows the last durable record; the channel tells when it grows.
    fn ends(&self) -> watch::Receiver<u64>;

    /// Looks whether somebody else has appended, again and again; [`ends`](Self::ends) tells what
    /// it found. Returns when it can look no more.
    fn look(&self) -> BoxFuture<'_, LogError>;

    /// The position of a record that is kept.
    fn position(&self, offset: u64) -> BoxFuture<'_, Position>;

    /// Reads what is wanted if what came before `known` is what this log holds.
    fn read(&self, want: Want, known: Position) -> BoxFuture<'_, Result<Vec<Record>, LogError>>;

    /// Appends a dead letter.
    fn bury(&self, letter: Bytes) -> BoxFuture<'_, Result<(), LogError>>;

    /// Writes the cursor, also if the future is dropped. Returns the version that is durable now:
    /// always one if it was asked to be.
    fn write(
        &self,
        snapshot: Snapshot,
        durable: bool,
    ) -> BoxFuture<'static, Result<Option<u64>, LogError>>;

    /// Writes the cursor without waiting, or not at all while somebody else writes.
    fn note(&self, snapshot: Snapshot) -> Result<(), LogError>;

    /// Whether somebody else has the consumer now.
    fn is_taken(&self) -> bool;
}

/// Keeps the cursors of a log.
pub(in crate::log) trait Keeper: Sync {
    /// Opens the consumer of this name, if there is one and it is not ahead of the log.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Opened>, LogError>>;

    /// Makes a cursor, or puts a new one in the place of the one with its name.
    fn make(&self, saved: Saved) -> BoxFuture<'_, Result<Opened, LogError>>;

    /// All of them.
    fn all(&self) -> BoxFuture<'_, Result<Vec<Saved>, LogError>>;

    /// Removes the consumer of this name, if there is one.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), LogError>>;

    /// Whether a reader may begin at `asked`.
    fn check(&self, asked: Position) -> BoxFuture<'_, Result<(), LogError>>;
}

/// A consumer that was opened, and what its cursor says.
pub(in crate::log) type Opened = (Arc<dyn Engine>, Saved);
