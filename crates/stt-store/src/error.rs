//! Why something could not be stored or read.

use std::{fmt, io};

use stc::Cause;

use crate::{Damage, DamagedPart, SettingError};

/// Why a storage operation failed.
///
/// An operation that returned an error left every other item as it was. `item` names what it was
/// about: a content id, an entry, a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is nothing of that name or id.
    #[error("{item} is not in the store")]
    NotFound {
        /// What was asked for.
        item: String,
    },
    /// The store was made with another seed; nothing in it can be read with this one.
    #[error("the store in {place} belongs to another seed")]
    WrongSeed {
        /// Where the store is.
        place: String,
    },
    /// The directory is no store and has files that are not a store's; nothing in it was touched.
    #[error("{place} is no store, and not empty: {found:?} is in it")]
    NotAStore {
        /// Which directory.
        place: String,
        /// One of the names in it.
        found: String,
    },
    /// Another process, or another part of this one, has the store open.
    #[error("the store in {place} is in use by {holder}")]
    InUse {
        /// Where the store is.
        place: String,
        /// Who has it.
        holder: Holder,
    },
    /// The bytes are not those that were stored.
    #[error("{item} is damaged: {damage}")]
    Damaged {
        /// What is damaged.
        item: String,
        /// How.
        #[source]
        damage: Damage,
    },
    /// The index of the store is not what was written: nothing in it can be found.
    #[error("{item} is damaged: {damage}")]
    IndexDamaged {
        /// Which index.
        item: String,
        /// How.
        #[source]
        damage: Damage,
    },
    /// The index of the store is sound: one that is made anew would have less in it.
    #[error("the index of the store in {place} is sound")]
    IndexSound {
        /// Where the store is.
        place: String,
    },
    /// The disk, or the share of it that this user may fill, is full.
    #[error("{item}: the disk is full")]
    DiskFull {
        /// What was being written.
        item: String,
    },
    /// The file system takes no writes, or the store was opened for reading only.
    #[error("{item}: the store can only be read")]
    ReadOnly {
        /// What was being written.
        item: String,
    },
    /// The operating system refused access.
    #[error("{item} may not be accessed")]
    Permission {
        /// What was refused.
        item: String,
    },
    /// Any other failure of the operating system.
    #[error("{item}: {cause}")]
    Io {
        /// What it was about.
        item: String,
        /// What the system said.
        #[source]
        cause: Cause,
    },
    /// An earlier write could not be made durable, so nothing more is written until the store is
    /// opened anew. What was acknowledged before stays readable.
    #[error("{item}: the disk failed to make an earlier write durable, so nothing more is written")]
    SyncFailed {
        /// What was being written.
        item: String,
    },
    /// The limit on stored bytes is reached.
    #[error("{item} needs {needed} bytes; {used} are used, and {limit} is the limit")]
    Quota {
        /// What was being stored.
        item: String,
        /// Bytes it takes, encrypted and padded.
        needed: u64,
        /// Bytes used, those being written included.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// A range reaches beyond the value.
    #[error("bytes {start} to {end} were asked for, but {item} has {len}")]
    Range {
        /// What was to be read.
        item: String,
        /// First byte asked for.
        start: u64,
        /// First byte not asked for.
        end: u64,
        /// Bytes there are.
        len: u64,
    },
    /// The value is longer than the format, or the memory, can take.
    #[error("{item} has more than {limit} bytes")]
    TooLarge {
        /// What was being stored.
        item: String,
        /// Most bytes.
        limit: u64,
    },
    /// A name for an entry is empty or too long.
    #[error("a name has 1 to {limit} bytes of UTF-8, not {len}")]
    EntryName {
        /// Bytes given.
        len: usize,
        /// Most bytes.
        limit: usize,
    },
    /// A name for a new entry reads as an id.
    #[error("the name {name:?} reads as an id")]
    NameIsId {
        /// The name.
        name: String,
    },
    /// Content was to be removed to which a name still points.
    #[error("{item} is kept by the name {name:?}")]
    StillNamed {
        /// The content.
        item: String,
        /// One of the names.
        name: String,
    },
    /// The store was written by a later version of this program.
    #[error("the store in {place} has format {found}; this program reads {known} at most")]
    Version {
        /// Where the store is.
        place: String,
        /// Format found.
        found: u32,
        /// Latest known format.
        known: u32,
    },
    /// The source of a streamed value failed.
    #[error("the source of the value could not be read: {cause}")]
    Source {
        /// What it said.
        #[source]
        cause: Cause,
    },
    /// The service behind a remote backend failed or could not be reached.
    #[error("{item}: the storage service said: {cause}")]
    Service {
        /// What it was about.
        item: String,
        /// What the service, or the way to it, said.
        #[source]
        cause: Cause,
    },
    /// A setting is out of range, or there is no place to put the store.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The runtime or the store was being shut down, or the node whose store it is.
    #[error("{item}: the store was being closed")]
    Closed {
        /// What it was about.
        item: String,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] stc::random::RandomError),
    /// The seed cannot be used.
    #[error(transparent)]
    Seed(#[from] stc::SeedError),
}

/// Who has a store open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id, when it said so.
    pub pid: Option<u32>,
    /// Since when, in seconds since 1970, when it said so.
    pub since: Option<u64>,
    /// The name of its program, when it said so.
    pub program: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) if pid == std::process::id() => write!(f, "this process ({pid})")?,
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        if let Some(program) = &self.program {
            write!(f, " ({program})")?;
        }
        if let Some(since) = self.since {
            write!(f, " since {}", utc(since))?;
        }
        Ok(())
    }
}

/// `seconds` since 1970 as a date in UTC, without leap seconds (days from civil, H. Hinnant's
/// public-domain description of the proleptic Gregorian calendar).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The error once more, as far as errors of the system can be copied.
pub(crate) fn again(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).into(),
        None => io::Error::new(error.kind(), error.to_string()).into(),
    }
}

impl StoreError {
    /// An error of the operating system about `item`.
    pub(crate) fn io(item: impl Into<String>, error: &io::Error) -> Self {
        use io::ErrorKind;
        let item = item.into();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { item },
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { item },
            ErrorKind::PermissionDenied => Self::Permission { item },
            // Not `Self::NotFound`: the store had it, or its directory cannot be made.
            ErrorKind::NotFound => {
                Self::Io { item, cause: Cause::text("a file or directory is missing") }
            }
            ErrorKind::UnexpectedEof => {
                Self::Damaged { item, damage: Damage::TooShort(DamagedPart::Whole) }
            }
            ErrorKind::InvalidData => {
                Self::Damaged { item, damage: Damage::Reported(again(error)) }
            }
            _ => Self::Io { item, cause: again(error) },
        }
    }

    pub(crate) fn damaged(item: impl Into<String>, damage: Damage) -> Self {
        Self::Damaged { item: item.into(), damage }
    }

    /// The same error, of the index: what of a file is damage to an item is damage to all items.
    #[must_use]
    pub(crate) fn of_index(self) -> Self {
        match self {
            Self::Damaged { item, damage } => Self::IndexDamaged { item, damage },
            other => other,
        }
    }

    /// The same error, said about `name`: a backend knows blobs, a person knows what is in them.
    #[must_use]
    pub(crate) fn about(mut self, name: &str) -> Self {
        match &mut self {
            Self::NotFound { item }
            | Self::Damaged { item, .. }
            | Self::DiskFull { item }
            | Self::ReadOnly { item }
            | Self::Permission { item }
            | Self::Io { item, .. }
            | Self::SyncFailed { item }
            | Self::Quota { item, .. }
            | Self::Range { item, .. }
            | Self::TooLarge { item, .. }
            | Self::Service { item, .. }
            | Self::Closed { item } => name.clone_into(item),
            _ => {}
        }
        self
    }
}

impl stc::Coded for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "store.not_found",
            Self::WrongSeed { .. } => "store.wrong_seed",
            Self::NotAStore { .. } => "store.not_a_store",
            Self::InUse { .. } => "store.in_use",
            Self::Damaged { .. } => "store.damaged",
            Self::IndexDamaged { .. } => "store.index_damaged",
            Self::IndexSound { .. } => "store.index_sound",
            Self::DiskFull { .. } => "store.disk_full",
            Self::ReadOnly { .. } => "store.read_only",
            Self::Permission { .. } => "store.permission",
            Self::Io { .. } => "store.io",
            Self::SyncFailed { .. } => "store.sync_failed",
            Self::Quota { .. } => "store.quota",
            Self::Range { .. } => "store.range",
            Self::TooLarge { .. } => "store.too_large",
            Self::EntryName { .. } => "store.entry_name",
            Self::NameIsId { .. } => "store.name_is_id",
            Self::StillNamed { .. } => "store.still_named",
            Self::Version { .. } => "store.version",
            Self::Source { .. } => "store.source",
            Self::Service { .. } => "store.service",
            Self::Setting(_) => "store.setting",
            Self::Closed { .. } => "store.closed",
            Self::Random(error) => error.code(),
            Self::Seed(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::InUse { .. } | Self::Service { .. } => true,
            Self::Random(error) => error.retry_helps(),
            Self::Seed(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Random(error) => error.hint(),
            Self::Seed(error) => error.hint(),
            Self::NotFound { .. } => Some("check the id; `stt store ls`"),
            Self::ReadOnly { .. } => Some("mount it writable"),
            Self::Permission { .. } => Some("check owner and mode of the directory"),
            Self::Io { .. } | Self::Setting(_) => Some("read the message"),
            Self::Range { .. } => Some("ask for bytes that are there"),
            Self::TooLarge { .. } => Some("stream it, or split it"),
            Self::EntryName { .. } => Some("use 1 to 1,024 bytes of UTF-8"),
            Self::Source { .. } => Some("check the source"),
            Self::Service { .. } => Some("try again; check the connection"),
            Self::Closed { .. } => Some("open it again"),
            Self::WrongSeed { .. } => Some("use the seed it was made with, or another directory"),
            Self::NotAStore { .. } => {
                Some("choose an empty directory, or one that is not there yet")
            }
            Self::InUse { .. } => Some("stop the other process, or use another directory"),
            Self::IndexDamaged { .. } => Some(
                "`stt store rebuild` finds what lies in files of its own; a copy of the whole \
                     directory, put in its place, brings back all",
            ),
            Self::IndexSound { .. } => Some("`stt store verify` lists what else is wrong"),
            Self::Damaged { .. } => {
                Some("`stt store verify` lists all damage; putting an item again mends it")
            }
            Self::DiskFull { .. } => Some("free some space; `stt store gc` may help"),
            Self::SyncFailed { .. } => Some("check the disk, start again, run `stt store verify`"),
            Self::Quota { .. } => Some("remove something, run `stt store gc`, or raise the quota"),
            Self::NameIsId { .. } => Some("add something to it, such as the kind of the hash"),
            Self::StillNamed { .. } => Some("remove the name first"),
            Self::Version { .. } => Some("use a newer version of this program"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_edges() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn the_holder_is_named() {
        let holder = Holder { pid: Some(1), since: Some(0), program: Some("stt".to_owned()) };
        let error = StoreError::InUse { place: "/x".to_owned(), holder };
        assert_eq!(
            error.to_string(),
            "the store in /x is in use by process 1 (stt) since 1970-01-01 00:00:00 UTC"
        );
    }
}
