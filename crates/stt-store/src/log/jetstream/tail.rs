//! What is known of the stream: who wrote which records, where it begins and ends, and in which
//! messages some offsets lie. No I/O.

use std::collections::BTreeMap;

use super::frame::{Frame, Mark, Part};
use crate::log::{
    LogError, Position,
    position::{EPOCHS_MAX, Epochs},
};

/// Offsets whose message is remembered.
const INDEX_MAX: usize = 4096;

/// The last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) sequence: u64,
    pub(super) mark: Mark,
    /// One above the offset of its last record.
    pub(super) end: u64,
}

impl Last {
    pub(super) fn of(sequence: u64, frame: &Frame) -> Self {
        Self { sequence, mark: frame.mark, end: frame.header.end() }
    }
}

/// What is known of the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// In the order of their records, the newest last.
    pub(super) parts: Vec<Part>,
    pub(super) last: Option<Last>,
    /// The first message, and the offset of its first record.
    pub(super) start: (u64, u64),
    /// Offset of the first record of a message, and its number.
    index: BTreeMap<u64, u64>,
}

/// Where to look for an offset: messages from the first number up to, not including, the second.
pub(super) type Range = (u64, u64);

impl Tail {
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.end)
    }

    /// The number that the next message gets.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last.map_or(1, |last| last.sequence + 1)
    }

    fn epochs(&self) -> Epochs {
        let first = self.parts.first().filter(|part| part.first > 0);
        // Of what came before only the last record is known.
        let before = first.map(|part| (part.before, part.first - 1));
        let all = before.into_iter().chain(self.parts.iter().map(|part| (part.epoch, part.first)));
        let entries: Vec<_> = all.collect();
        let from = entries.len().saturating_sub(EPOCHS_MAX);
        Epochs::from_entries(entries.into_iter().skip(from).collect()).unwrap_or_default()
    }

    pub(super) fn position(&self, offset: u64) -> Position {
        self.epochs().at(offset)
    }

    /// Whether a reader may go on at `asked`.
    pub(super) fn check(&self, asked: Position) -> Result<(), LogError> {
        if asked.offset < self.start.1 {
            return Err(LogError::Trimmed { asked: asked.offset, oldest: self.start.1 });
        }
        self.epochs().check(asked, self.end())
    }

    /// As [`check`](Self::check), for what may have been removed.
    pub(super) fn check_history(&self, asked: Position) -> Result<(), LogError> {
        self.epochs().check(asked, self.end())
    }

    /// The stream has these parts, of which those that were known before are the same, and this
    /// last message.
    pub(super) fn found(&mut self, parts: Vec<Part>, last: Last) {
        let goes_on = self.parts.last().is_none_or(|newest| parts.contains(newest))
            && self.last.is_none_or(|known| known.sequence <= last.sequence);
        if !goes_on {
            self.index.clear();
        }
        (self.parts, self.last) = (parts, Some(last));
    }

    /// It begins there now.
    pub(super) fn starts(&mut self, sequence: u64, offset: u64) {
        self.start = (sequence, offset);
        self.index = self.index.split_off(&offset);
        let keep = self.parts.iter().rposition(|part| part.first <= offset).unwrap_or(0);
        self.parts.drain(..keep);
    }

    /// This side wrote a message. Somebody may have seen it in the stream already.
    pub(super) fn appended(&mut self, part: Part, first: u64, last: Last) {
        if self.last.is_some_and(|known| known.sequence >= last.sequence) {
            return;
        }
        if self.last.is_none() {
            self.start = (last.sequence, first);
        }
        if self.parts.last() != Some(&part) {
            self.parts.push(part);
            let over = self.parts.len().saturating_sub(EPOCHS_MAX);
            self.parts.drain(..over);
        }
        self.last = Some(last);
        self.note(first, last.sequence);
    }

    /// The record at `offset` is the first one of the message `sequence`.
    pub(super) fn note(&mut self, offset: u64, sequence: u64) {
        if self.index.len() == INDEX_MAX && !self.index.contains_key(&offset) {
            self.index.pop_first();
        }
        self.index.insert(offset, sequence);
    }

    /// Which messages may hold the record at `offset`.
    pub(super) fn range(&self, offset: u64) -> Range {
        let known = |part: &Part| (part.first, part.sequence);
        let below = [
            self.index.range(..=offset).next_back().map(|(at, sequence)| (*at, *sequence)),
            self.parts.iter().rev().map(known).find(|(at, _)| *at <= offset),
            Some((self.start.1, self.start.0)),
        ];
        let (at, from) = below.into_iter().flatten().max().unwrap_or((0, 1));
        if at == offset {
            return (from, from + 1);
        }
        let above = [
            self.index.range(offset + 1..).next().map(|(_, sequence)| *sequence),
            self.parts.iter().map(known).find(|(at, _)| *at > offset).map(|(_, s)| s),
            Some(self.next_sequence()),
        ];
        (from, above.into_iter().flatten().min().unwrap_or(from + 1).max(from + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(epoch: u64, first: u64, sequence: u64, before: u64) -> Part {
        let mut part = Part::new(first, sequence, before).unwrap();
        part.epoch = epoch;
        part
    }

    fn last(sequence: u64, end: u64) -> Last {
        Last { sequence, mark: [0; 16], end }
    }

    /// Two openings wrote two messages of five records each.
    fn tail() -> (Tail, [Part; 2]) {
        let parts = [part(11, 0, 1, 0), part(12, 10, 3, 11)];
        let mut tail = Tail::default();
        for (at, part) in [(0, parts[0]), (5, parts[0]), (10, parts[1]), (15, parts[1])] {
            tail.appended(part, at, last(at / 5 + 1, at + 5));
        }
        (tail, parts)
    }

    #[test]
    fn positions_of_each_opening_are_good_in_its_part() {
        let (tail, _) = tail();
        assert_eq!((tail.end(), tail.next_sequence(), tail.start), (20, 5, (1, 0)));
        for (epoch, from, to) in [(11, 0, 10), (12, 10, 20)] {
            for offset in 1..25 {
                let checked = tail.check(Position { epoch, offset });
                assert_eq!(checked.is_ok(), (from..=to).contains(&offset), "{epoch}:{offset}");
            }
        }
        assert_eq!(tail.position(10), Position { epoch: 11, offset: 10 });
        assert_eq!(tail.position(11), Position { epoch: 12, offset: 11 });
    }

    #[test]
    fn what_was_removed_is_trimmed_and_its_end_stays_good() {
        let (mut tail, parts) = tail();
        tail.starts(3, 10);
        assert_eq!(tail.parts, [parts[1]]);
        let trimmed = LogError::Trimmed { asked: 9, oldest: 10 };
        assert_eq!(tail.check(Position { epoch: 11, offset: 9 }), Err(trimmed));
        tail.check(Position { epoch: 11, offset: 10 }).unwrap();
        tail.check(Position { epoch: 12, offset: 10 }).unwrap();
        assert_eq!(tail.position(10), Position { epoch: 11, offset: 10 });
        assert!(tail.check(Position { epoch: 99, offset: 10 }).is_err());
    }

    #[test]
    fn an_offset_is_looked_for_between_those_that_are_known() {
        let (tail, parts) = tail();
        for offset in 0..20 {
            let message = offset / 5 + 1;
            assert_eq!(tail.range(offset), (message, message + 1), "{offset}");
        }
        let mut other = Tail::default();
        other.found(parts.to_vec(), last(4, 20));
        other.starts(1, 0);
        assert_eq!(
            [0, 7, 10, 12, 19].map(|at| other.range(at)),
            [(1, 2), (1, 3), (3, 4), (3, 5), (3, 5)]
        );
        other.note(15, 4);
        assert_eq!([12, 15, 17].map(|at| other.range(at)), [(3, 4), (4, 5), (4, 5)]);
    }

    #[test]
    fn a_stream_that_went_back_is_known_no_more() {
        let (mut tail, parts) = tail();
        let fork = part(13, 10, 3, 11);
        tail.found(vec![parts[0], fork], last(3, 12));
        assert_eq!(tail.range(7), (1, 3), "the messages are others");
        assert!(tail.check(Position { epoch: 12, offset: 11 }).is_err());
        tail.check(Position { epoch: 13, offset: 12 }).unwrap();
    }
}
