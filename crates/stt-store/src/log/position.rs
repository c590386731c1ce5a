//! Where a record stands, and whether that place is still what it was.

use std::fmt;

use super::error::LogError;

/// Openings of the log that are remembered: see [`Position`].
pub(super) const EPOCHS_MAX: usize = 250;

/// The place of a record: its number, and the opening of the log in which it was written.
///
/// `offset` counts records from 0. `epoch` is drawn at random each time the log is opened, so that
/// a position handed out by a log is recognised as foreign after an older copy of its files was put
/// back and written to: [`LogError::EpochChanged`]. The last 250 openings that wrote something are
/// remembered; a position of an earlier one is refused as well.
///
/// The position behind a record has the epoch of that record; what comes next may have another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// In which opening of the log.
    pub epoch: u64,
    /// Records before this one, those included that retention has removed.
    pub offset: u64,
}

impl Position {
    /// Where every log begins.
    pub const START: Self = Self { epoch: 0, offset: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.epoch, self.offset)
    }
}

/// Which opening wrote which records: (epoch, offset of its first record), in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs(Vec<(u64, u64)>);

impl Epochs {
    pub(super) fn entries(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub(super) fn from_entries(entries: Vec<(u64, u64)>) -> Option<Self> {
        let ordered = entries.iter().zip(entries.iter().skip(1)).all(|(a, b)| a.1 < b.1);
        (ordered && entries.len() <= EPOCHS_MAX).then_some(Self(entries))
    }

    /// A record at `offset` was written in `epoch`.
    pub(super) fn note(&mut self, epoch: u64, offset: u64) {
        if self.0.last().is_some_and(|(last, _)| *last == epoch) {
            return;
        }
        if self.0.len() == EPOCHS_MAX {
            self.0.remove(0);
        }
        self.0.push((epoch, offset));
    }

    /// The position from which the record at `offset` is read.
    pub(super) fn at(&self, offset: u64) -> Position {
        let before = self.0.iter().rev().find(|(_, start)| *start < offset);
        Position { epoch: before.map_or(0, |(epoch, _)| *epoch), offset }
    }

    /// Whether what came before `asked` is what this log holds, which ends at `end`.
    pub(super) fn check(&self, asked: Position, end: u64) -> Result<(), LogError> {
        if asked.offset == 0 {
            return Ok(());
        }
        let index = self.0.iter().position(|(epoch, _)| *epoch == asked.epoch);
        let Some(index) = index else {
            let common = self.0.first().map_or(0, |(_, start)| *start).min(asked.offset);
            return Err(LogError::EpochChanged { asked, common: self.at(common) });
        };
        let start = self.0.get(index).map_or(0, |(_, start)| *start);
        let until = self.0.get(index + 1).map_or(end, |(_, start)| *start);
        // The end of an epoch counts: it was read to its last record.
        if asked.offset >= start && asked.offset <= until {
            return Ok(());
        }
        Err(LogError::EpochChanged { asked, common: self.at(until.min(asked.offset)) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log as (epoch of each record).
    fn epochs_of(records: &[u64]) -> Epochs {
        let mut epochs = Epochs::default();
        for (offset, epoch) in (0u64..).zip(records) {
            epochs.note(*epoch, offset);
        }
        epochs
    }

    fn history() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1usize..4, 0..6).prop_map(|runs| {
            (1u64..).zip(runs).flat_map(|(epoch, run)| std::iter::repeat_n(epoch, run)).collect()
        })
    }

    proptest! {
        /// A copy is put back and written to: a position is taken exactly if every record before
        /// it is the same in both.
        #[test]
        fn positions_of_a_lost_future_are_refused(
            old in history(), cut in 0usize..20, more in 0usize..20, at in 0usize..20,
        ) {
            let at = at.min(old.len());
            let asked = epochs_of(&old).at(at as u64);
            let mut put_back = old[..cut.min(old.len())].to_vec();
            put_back.extend(std::iter::repeat_n(99, more));
            let same = at <= put_back.len() && old[..at] == put_back[..at];
            let found = epochs_of(&put_back).check(asked, put_back.len() as u64);
            prop_assert_eq!(found.is_ok(), same, "{} in {:?}: {:?}", asked, put_back, found);
            if let Err(LogError::EpochChanged { common, .. }) = found {
                let common = usize::try_from(common.offset).unwrap();
                prop_assert!(old[..common] == put_back[..common]);
            }
        }
    }

    #[test]
    fn the_history_is_bounded_and_forgets_by_refusing() {
        let records: Vec<u64> = (1..=EPOCHS_MAX as u64 + 1).collect();
        let epochs = epochs_of(&records);
        assert_eq!(epochs.entries().len(), EPOCHS_MAX);
        let end = records.len() as u64;
        assert!(epochs.check(Position { epoch: 1, offset: 1 }, end).is_err());
        assert!(epochs.check(Position { epoch: 2, offset: 2 }, end).is_ok());
        assert!(epochs.check(Position::START, end).is_ok());
    }
}
