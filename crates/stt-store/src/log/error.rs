//! Why a log refused something.

use stc::Cause;

use super::{Lease, Position, SyncReport};
use crate::StoreError;

/// Why an operation on a log failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The position belongs to records that this log does not hold: an older copy of its files was
    /// put back, it was made anew, or it was opened more than 250 times since.
    #[error("{asked} is no position of this log; it agrees with it up to {common} at most")]
    EpochChanged {
        /// What was asked for.
        asked: Position,
        /// Up to here, or earlier, both histories are the same.
        common: Position,
    },
    /// Retention has removed the records that were asked for.
    #[error("the records from {asked} to {oldest} were removed by retention")]
    Trimmed {
        /// Offset of the first record asked for.
        asked: u64,
        /// Offset of the first record that is still there.
        oldest: u64,
    },
    /// A record, or the records of one call together, are larger than allowed.
    #[error("{got} bytes were to be appended; {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        got: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The right to acknowledge a record has ended: the record was settled, or given to somebody
    /// else because time ran out or its consumer was closed.
    #[error("the lease {lease} has ended")]
    LeaseEnded {
        /// The lease.
        lease: Lease,
    },
    /// A name for a consumer is empty or too long.
    #[error("a name of a consumer has 1 to {limit} bytes, not {len}")]
    ConsumerName {
        /// Bytes given.
        len: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The consumer is open, and was to be moved or removed.
    #[error("the consumer {name:?} is open")]
    ConsumerOpen {
        /// Its name.
        name: String,
    },
    /// Another process has opened, moved or removed the consumer. What this one had delivered and
    /// not acknowledged is delivered there.
    #[error("another process has the consumer {name:?} now")]
    ConsumerTaken {
        /// Its name.
        name: String,
    },
    /// The log has as many consumers as it can have.
    #[error("the log has {limit} consumers already")]
    TooManyConsumers {
        /// Most consumers.
        limit: usize,
    },
    /// The server that keeps the log did not answer in time. What was to be appended may be in the
    /// log all the same.
    #[error("the server of the log does not answer: {cause}")]
    Unreachable {
        /// What it, or the way there, said last.
        #[source]
        cause: Cause,
    },
    /// The server acknowledges before it syncs, or nobody knows, and that was to be refused.
    #[error("the log would not be durable: {report}")]
    NotSynced {
        /// What is known of its servers.
        report: SyncReport,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl stc::Coded for LogError {
    fn code(&self) -> &'static str {
        match self {
            Self::EpochChanged { .. } => "log.epoch_changed",
            Self::Trimmed { .. } => "log.trimmed",
            Self::TooLarge { .. } => "log.too_large",
            Self::LeaseEnded { .. } => "log.lease_ended",
            Self::ConsumerName { .. } => "log.consumer_name",
            Self::ConsumerOpen { .. } => "log.consumer_open",
            Self::ConsumerTaken { .. } => "log.consumer_taken",
            Self::TooManyConsumers { .. } => "log.too_many_consumers",
            Self::Unreachable { .. } => "log.unreachable",
            Self::NotSynced { .. } => "log.not_synced",
            Self::Store(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Store(error) => error.retry_helps(),
            Self::ConsumerOpen { .. } | Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::EpochChanged { .. } => Some("start again from the common position or earlier"),
            Self::Trimmed { .. } => Some("go on with the oldest record, or keep records longer"),
            Self::TooLarge { .. } => Some("store it in the chamber, and log its id"),
            Self::LeaseEnded { .. } => {
                Some("undo what was done for it; extend a lease in time, or make ack_wait longer")
            }
            Self::ConsumerName { .. } => None,
            Self::ConsumerOpen { .. } => Some("drop its handles and deliveries first"),
            Self::ConsumerTaken { .. } => {
                Some("give each process a consumer of its own name, or stop the other one")
            }
            Self::TooManyConsumers { .. } => Some("remove those that are no longer used"),
            Self::Unreachable { .. } => {
                Some("look whether the records are there before they are appended again")
            }
            Self::NotSynced { .. } => {
                Some("set sync_interval to always in the server, and give its monitoring address")
            }
            Self::Store(error) => error.hint(),
        }
    }
}
