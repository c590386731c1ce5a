//! What is wrong with a setting.

use std::{fmt, ops::RangeInclusive, time::Duration};

use crate::BlobNameError;

/// Why a store or a log cannot be opened with the settings that were given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A number or a time is out of its range.
    #[error("{setting} is {got}; {least} to {most} are allowed")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        got: SettingValue,
        /// The least.
        least: SettingValue,
        /// The most.
        most: SettingValue,
    },
    /// The name of a stream has other characters than it may have, or too many or none.
    #[error("{name:?} is no name of a stream: 1 to {limit} letters, digits, - and _")]
    StreamName {
        /// The name.
        name: String,
        /// Most characters.
        limit: usize,
    },
    /// An address for monitoring is not host and port.
    #[error("{address:?} is no monitoring address, host and port")]
    Monitor {
        /// The address.
        address: String,
    },
    /// A stream removes messages by its own rules, so that nobody would know where the log ends.
    #[error("the stream {stream} has max_age or max_msgs; use keep_age or keep_bytes")]
    Retention {
        /// Its name.
        stream: String,
    },
    /// A consumer is open with other options.
    #[error("the consumer {consumer:?} is open with other options")]
    OtherOptions {
        /// Its name.
        consumer: String,
    },
    /// No path was given, and this user has no home directory.
    #[error("this user has no home directory; give a path for the chamber")]
    NoHome,
    /// The node has no node seed, with which its chamber would be encrypted.
    #[error("this node has no node seed, with which its chamber would be encrypted")]
    NoNodeSeed,
    /// A blob can have no such name.
    #[error(transparent)]
    BlobName(#[from] BlobNameError),
}

/// What a setting was set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingValue {
    /// A number: of bytes, of records, of servers.
    Number(u64),
    /// A time.
    Time(Duration),
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Time(time) => write!(f, "{time:?}"),
        }
    }
}

impl From<u64> for SettingValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for SettingValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for SettingValue {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for SettingValue {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

/// Whether a setting is inside its range.
pub(crate) fn within<T: PartialOrd + Copy + Into<SettingValue>>(
    setting: &'static str,
    got: T,
    range: &RangeInclusive<T>,
) -> Result<(), SettingError> {
    if range.contains(&got) {
        return Ok(());
    }
    let (least, most) = ((*range.start()).into(), (*range.end()).into());
    Err(SettingError::OutOfRange { setting, got: got.into(), least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told_in_numbers() {
        assert_eq!(within("replicas", 5_usize, &(1..=5)), Ok(()));
        let error = within("replicas", 6_usize, &(1..=5)).unwrap_err();
        assert_eq!(error.to_string(), "replicas is 6; 1 to 5 are allowed");
        let SettingError::OutOfRange { got, most, .. } = error else { panic!("{error}") };
        assert_eq!((got, most), (SettingValue::Number(6), SettingValue::Number(5)));
        let second = Duration::from_secs(1);
        let error = within("patience", Duration::ZERO, &(second..=2 * second)).unwrap_err();
        assert_eq!(error.to_string(), "patience is 0ns; 1s to 2s are allowed");
    }
}
