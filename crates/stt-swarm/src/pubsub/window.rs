//! Which of a publisher's messages were here, which may come yet, and which are lost. Pure.

use std::time::{Duration, Instant};

use super::Sequence;

/// How long a message that a later one overtook may come yet. Gossip offers what was lost on the
/// way again for some seconds.
pub(crate) const LATE_WITHIN: Duration = Duration::from_secs(10);
/// Messages that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) messages: u64,
    /// Who subscribed later does not miss them.
    pub(crate) since: Instant,
}

/// Which of a publisher's messages were here: all up to the newest, but for the holes. Bounded.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    newest: Sequence,
    /// Nothing is known of what is below. 0 if nothing was heard of the publisher.
    base: u64,
    /// The lowest first; none touches another one.
    holes: Vec<Hole>,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    first: u64,
    last: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// They may come until then. Who subscribed `since` then or before misses them; nobody, if they
    /// may have been published before anybody subscribed.
    Awaited { since: Option<Instant>, until: Instant },
    /// They come no more.
    Lost { told: bool },
}

impl Hole {
    const fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// What a publisher says of its last messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last that there is.
    pub(crate) newest: Sequence,
    /// The first of those that were published since it last said so.
    pub(crate) first: u64,
    /// How long ago that was.
    pub(crate) age: Duration,
    /// How often it said so before.
    pub(crate) round: u8,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self { newest: Sequence { started: 0, count: 0 }, base: 0, holes: Vec::new() }
    }

    pub(crate) const fn newest(&self) -> Sequence {
        self.newest
    }

    pub(crate) const fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Whether a message was here, as far as that is known.
    pub(crate) fn had(&self, sequence: Sequence) -> bool {
        self.base > 0
            && sequence.started == self.newest.started
            && (self.base..=self.newest.count).contains(&sequence.count)
            && self.hole(sequence.count).is_none()
    }

    fn hole(&self, count: u64) -> Option<usize> {
        let at = self.holes.partition_point(|hole| hole.last < count);
        self.holes.get(at).filter(|hole| hole.first <= count).map(|_| at)
    }

    /// Whether a message would be taken.
    pub(crate) fn lacks(&self, sequence: Sequence) -> bool {
        if sequence.started != self.newest.started {
            return sequence.started > self.newest.started || self.base == 0;
        }
        let at = self.hole(sequence.count).and_then(|at| self.holes.get(at));
        sequence.count > self.newest.count
            || at.is_some_and(|hole| matches!(hole.kind, Kind::Awaited { .. }))
    }

    /// Notes a message. False if it was here before, was told to be lost, or is older than what is
    /// known. There are at most `max` holes afterwards; what is lost thereby goes to `lost`.
    pub(crate) fn note(
        &mut self,
        sequence: Sequence,
        now: Instant,
        max: usize,
        lost: &mut Vec<Lost>,
    ) -> bool {
        if !self.lacks(sequence) {
            return false;
        }
        if self.base == 0 {
            *self = Self { newest: sequence, base: 1, holes: Vec::new() };
            let before = sequence.count.saturating_sub(1);
            self.add(1, before, Kind::Awaited { since: None, until: now + LATE_WITHIN });
        } else if sequence.started != self.newest.started || sequence.count > self.newest.count {
            self.go_on(sequence, now, lost);
            self.fill(sequence.count);
        } else {
            self.fill(sequence.count);
        }
        self.keep(max, lost);
        true
    }

    /// Notes what a publisher says of its last messages: those that were not here have a while to
    /// come.
    pub(crate) fn note_tail(&mut self, tail: Tail, now: Instant, max: usize, lost: &mut Vec<Lost>) {
        let newest = tail.newest;
        if self.base == 0 {
            *self = Self { newest, base: 1, holes: Vec::new() };
            self.add(1, newest.count, Kind::Awaited { since: None, until: now + LATE_WITHIN });
        } else if newest > self.newest {
            self.go_on(newest, now, lost);
        }
        // Those before the first that was heard were there for whoever subscribed before them.
        let since = tail.age.checked_add(LATE_WITHIN).and_then(|ago| now.checked_sub(ago));
        if let Some(since) = since
            && newest.started == self.newest.started
        {
            self.miss(tail.first, newest.count, since, lost);
        }
        self.keep(max, lost);
    }

    /// What of these nobody misses, those miss who subscribed `since` then or before.
    fn miss(&mut self, first: u64, last: u64, since: Instant, lost: &mut Vec<Lost>) {
        if let Some(at) = self.hole(first)
            && let Some(hole) = self.holes.get_mut(at)
            && hole.first < first
        {
            let rest = Hole { first, ..*hole };
            hole.last = first - 1;
            self.holes.insert(at + 1, rest);
        }
        let these = |hole: &&mut Hole| hole.first >= first && hole.last <= last;
        for hole in self.holes.iter_mut().filter(these) {
            match &mut hole.kind {
                Kind::Awaited { since: who @ None, .. } => *who = Some(since),
                Kind::Lost { told: told @ false } => {
                    *told = true;
                    lost.push(Lost { messages: hole.len(), since });
                }
                _ => {}
            }
        }
    }

    /// Counts up to a later message as published and not here.
    fn go_on(&mut self, to: Sequence, now: Instant, lost: &mut Vec<Lost>) {
        if to.started != self.newest.started {
            // Started again: nothing of what was before comes any more.
            self.give_up(lost);
            self.holes.clear();
            (self.newest, self.base) = (Sequence { count: 0, ..to }, 1);
        }
        let first = self.newest.count.saturating_add(1);
        self.newest = to;
        self.add(first, to.count, Kind::Awaited { since: Some(now), until: now + LATE_WITHIN });
    }

    fn add(&mut self, first: u64, last: u64, kind: Kind) {
        if first <= last {
            self.holes.push(Hole { first, last, kind });
        }
    }

    /// A message of a hole came.
    fn fill(&mut self, count: u64) {
        let Some(at) = self.hole(count) else { return };
        let hole = self.holes.remove(at);
        if count < hole.last {
            self.holes.insert(at, Hole { first: count + 1, ..hole });
        }
        if hole.first < count {
            self.holes.insert(at, Hole { last: count - 1, ..hole });
        }
    }

    /// Gives the lowest holes up, until there are at most `max`.
    fn keep(&mut self, max: usize, lost: &mut Vec<Lost>) {
        let over = self.holes.len().saturating_sub(max);
        for hole in self.holes.drain(..over) {
            self.base = hole.last.saturating_add(1);
            lost.extend(given_up(&hole));
        }
    }

    /// Gives up all that is awaited.
    pub(crate) fn give_up(&self, lost: &mut Vec<Lost>) {
        lost.extend(self.holes.iter().filter_map(given_up));
    }

    /// Gives up what did not come in time.
    pub(crate) fn give_up_late(&mut self, now: Instant, lost: &mut Vec<Lost>) {
        for hole in &mut self.holes {
            if let Kind::Awaited { since, until } = hole.kind
                && until <= now
            {
                lost.extend(given_up(hole));
                hole.kind = Kind::Lost { told: since.is_some() };
            }
        }
    }
}

fn given_up(hole: &Hole) -> Option<Lost> {
    let Kind::Awaited { since: Some(since), .. } = hole.kind else { return None };
    Some(Lost { messages: hole.len(), since })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4;

    fn at(started: u64, count: u64) -> Sequence {
        Sequence { started, count }
    }

    /// What is noted of these, and how many are lost so far and after a while.
    fn noted(window: &mut Window, sequences: &[(u64, u64)]) -> (Vec<bool>, u64, u64) {
        let (now, mut lost) = (Instant::now(), Vec::new());
        let noted = sequences.iter();
        let noted = noted.map(|(a, b)| window.note(at(*a, *b), now, MAX, &mut lost)).collect();
        let sum = |lost: &[Lost]| lost.iter().map(|lost| lost.messages).sum::<u64>();
        let so_far = sum(&lost);
        window.give_up_late(now + LATE_WITHIN, &mut lost);
        (noted, so_far, sum(&lost))
    }

    #[test]
    fn each_message_counts_once_whatever_the_order() {
        let mut window = Window::new();
        let order = [(5, 10), (5, 10), (5, 12), (5, 11), (5, 11), (5, 12), (5, 8)];
        let (noted, so_far, lost) = noted(&mut window, &order);
        assert_eq!(noted, [true, false, true, true, false, false, true]);
        // Nobody knows what was before the first that was heard.
        assert_eq!((so_far, lost), (0, 0));
        assert!(window.had(at(5, 8)) && window.had(at(5, 12)) && !window.had(at(5, 9)));
        assert!(!window.had(at(5, 13)) && !window.had(at(4, 12)) && !window.had(at(6, 12)));
    }

    #[test]
    fn what_does_not_come_is_lost_and_then_comes_no_more() {
        let mut window = Window::new();
        let (_, so_far, lost) = noted(&mut window, &[(5, 1), (5, 3), (5, 9), (5, 6), (5, 8)]);
        // 2, 4, 5 and 7.
        assert_eq!((so_far, lost), (0, 4));
        assert!(!window.had(at(5, 5)) && !window.lacks(at(5, 5)) && window.had(at(5, 6)));
        // Lost is lost once.
        assert_eq!(noted(&mut window, &[(5, 5), (5, 10)]), (vec![false, true], 0, 0));
    }

    #[test]
    fn who_starts_again_begins_at_one_and_what_was_before_is_lost() {
        let mut window = Window::new();
        let (noted, so_far, lost) =
            noted(&mut window, &[(5, 7), (5, 9), (6, 3), (5, 8), (6, 2), (6, u64::MAX)]);
        assert_eq!(noted, [true, true, true, false, true, true]);
        assert_eq!((so_far, lost), (1, u64::MAX - 2));
        assert!(window.had(at(6, u64::MAX)) && !window.had(at(6, 1)));
    }

    #[test]
    fn holes_are_bounded_and_the_oldest_is_lost_first() {
        let mut window = Window::new();
        let every_other: Vec<_> = (0..10).map(|number| (5, 1 + 2 * number)).collect();
        let (_, so_far, lost) = noted(&mut window, &every_other);
        assert_eq!((so_far, lost, window.holes()), (5, 9, MAX));
        assert!(!window.had(at(5, 2)) && !window.lacks(at(5, 2)) && window.had(at(5, 11)));
    }

    #[test]
    fn a_tail_tells_what_no_later_message_does() {
        let (now, mut lost) = (Instant::now(), Vec::new());
        let tail =
            |count, first| Tail { newest: at(5, count), first, age: Duration::ZERO, round: 0 };
        let mut window = Window::new();
        assert!(window.note(at(5, 3), now, MAX, &mut lost));
        window.note_tail(tail(6, 1), now, MAX, &mut lost);
        assert!(window.note(at(5, 5), now, MAX, &mut lost) && !window.had(at(5, 6)));
        window.give_up_late(now + LATE_WITHIN, &mut lost);
        let lost_since = |messages, since| Lost { messages, since };
        let early = now - LATE_WITHIN;
        assert_eq!(lost, [lost_since(2, early), lost_since(1, now), lost_since(1, now)]);
        // Once more, and it says nothing new.
        lost.clear();
        window.note_tail(tail(6, 5), now, MAX, &mut lost);
        assert_eq!((window.newest(), lost.len()), (at(5, 6), 0));
        // Of a publisher of whom nothing else came.
        let (mut window, now) = (Window::new(), now + Duration::from_secs(60));
        lost.clear();
        window.note_tail(tail(9, 7), now, MAX, &mut lost);
        window.give_up_late(now + LATE_WITHIN, &mut lost);
        window.note_tail(tail(9, 5), now, MAX, &mut lost);
        let early = now - LATE_WITHIN;
        assert_eq!(lost, [lost_since(3, early), lost_since(2, early)]);
    }
}
