//! Why a file did not arrive.

use std::{io, path::PathBuf};

use stc::Coded;

use super::record::Decline;
use crate::{ProtocolError, StreamError};

/// Why a file did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A file could not be read or written.
    #[error("could not {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// There is no space left on this side's disk. What arrived is kept for the next attempt.
    #[error("the disk is full: {} needs more space", path.display())]
    DiskFull {
        /// Which file.
        path: PathBuf,
    },
    /// Something of that name is there already.
    #[error("{} is there already and is not overwritten", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The same file is being received already.
    #[error("{name} is being received already")]
    Busy {
        /// Its name.
        name: String,
    },
    /// Nothing came any more, and a newer attempt to send the same took its place.
    #[error("a newer attempt to send {name} took the place of this one")]
    Replaced {
        /// Its name.
        name: String,
    },
    /// As many files as were wanted have arrived.
    #[error("no more files are taken")]
    Over,
    /// The name cannot be a file name here.
    #[error("the offered name is no file name")]
    Name,
    /// The path names neither a regular file nor a directory.
    #[error("{} is neither a regular file nor a directory", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// What is in a directory cannot be offered.
    #[error("{} cannot be sent: {why}", path.display())]
    Unfit {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// Two of the offered paths are one on this side's file system.
    #[error("two of the offered paths are one here: {}", path.display())]
    Clash {
        /// Where the second one would be.
        path: PathBuf,
    },
    /// The peer takes no files, or is of the first version.
    #[error(transparent)]
    Refused(ProtocolError),
    /// The sender's file was written to on the way. Nothing was given its name.
    #[error("{} changed while it was being sent", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// What arrived is not what was sent. Nothing was given its name; the next attempt starts anew.
    #[error("what arrived of {name} is not what was sent: the hashes differ")]
    Corrupt {
        /// Its name.
        name: String,
    },
    /// The peer declined, or could not go on.
    #[error("the receiver declined: {decline}")]
    Declined {
        /// Why.
        decline: Decline,
    },
    /// The peer's records are no transfer.
    #[error("the peer broke a rule of transfers: {rule}")]
    Protocol {
        /// Which.
        rule: &'static str,
    },
    /// The stream or the session ended. What arrived is kept for the next attempt.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl TransferError {
    /// Codes of the variants that are this type's own, as `docs/errors.md` lists them.
    pub const CODES: &'static [&'static str] = &[
        "transfer.file",
        "transfer.disk_full",
        "transfer.exists",
        "transfer.busy",
        "transfer.replaced",
        "transfer.over",
        "transfer.name",
        "transfer.not_a_file",
        "transfer.unfit",
        "transfer.clash",
        "transfer.changed",
        "transfer.corrupt",
        "transfer.protocol",
        "transfer.declined_exists",
        "transfer.declined_busy",
        "transfer.declined_disk_full",
        "transfer.declined_name",
        "transfer.declined_corrupt",
        "transfer.declined_other",
    ];

    /// Sorts an error of the operating system.
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::File { doing, path, source },
        }
    }

    /// What the peer is told about it.
    pub(super) const fn to_decline(&self) -> Decline {
        match self {
            Self::Exists { .. } => Decline::Exists,
            Self::Busy { .. } | Self::Replaced { .. } => Decline::Busy,
            Self::DiskFull { .. } => Decline::DiskFull,
            Self::Name | Self::Clash { .. } => Decline::Name,
            Self::Corrupt { .. } => Decline::Corrupt,
            _ => Decline::Other,
        }
    }
}

impl Coded for TransferError {
    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "transfer.file",
            Self::DiskFull { .. } => "transfer.disk_full",
            Self::Exists { .. } => "transfer.exists",
            Self::Busy { .. } => "transfer.busy",
            Self::Replaced { .. } => "transfer.replaced",
            Self::Over => "transfer.over",
            Self::Name => "transfer.name",
            Self::NotAFile { .. } => "transfer.not_a_file",
            Self::Unfit { .. } => "transfer.unfit",
            Self::Clash { .. } => "transfer.clash",
            Self::Refused(error) => error.code(),
            Self::Changed { .. } => "transfer.changed",
            Self::Corrupt { .. } => "transfer.corrupt",
            Self::Protocol { .. } => "transfer.protocol",
            Self::Declined { decline } => match decline {
                Decline::Exists => "transfer.declined_exists",
                Decline::Busy => "transfer.declined_busy",
                Decline::DiskFull => "transfer.declined_disk_full",
                Decline::Name => "transfer.declined_name",
                Decline::Corrupt => "transfer.declined_corrupt",
                Decline::Other => "transfer.declined_other",
            },
            Self::Stream(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::Busy { .. } | Self::Changed { .. } => true,
            Self::Corrupt { .. } | Self::Stream(_) => true,
            Self::Refused(error) => error.retry_helps(),
            Self::Declined { decline } => !matches!(decline, Decline::Exists | Decline::Name),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DiskFull { .. } => {
                Some("free some space and run the same again: it goes on where it stopped")
            }
            Self::Exists { .. } => Some("move it, or allow overwriting; directories never are"),
            Self::Busy { .. } | Self::Declined { decline: Decline::Busy } => {
                Some("wait for the other transfer; one from which nothing comes gives way")
            }
            Self::Declined { decline: Decline::Exists } => Some(
                "something of that name is there; the receiver can move it, or use --overwrite for files",
            ),
            Self::Declined { decline: Decline::DiskFull } => {
                Some("when the receiver has space, run the same again: it goes on where it stopped")
            }
            Self::Unfit { .. } => Some("send parts of it, or an archive"),
            Self::Clash { .. } => Some("rename one of them at the sender"),
            Self::Refused(ProtocolError::Unknown { .. }) => Some("run `stt receive` there"),
            Self::Refused(error) => error.hint(),
            Self::Stream(_) => Some("run the same again: it goes on where it stopped"),
            Self::Changed { .. } => Some("wait until nothing writes to it, and run the same again"),
            Self::Corrupt { .. } => Some("run the same again"),
            _ => None,
        }
    }
}

impl From<ProtocolError> for TransferError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Stream(error) => Self::Stream(error),
            other => Self::Refused(other),
        }
    }
}
