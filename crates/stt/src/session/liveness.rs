//! When a quiet peer has missed a heartbeat: told before the session is given up.

use std::time::Duration;

use tokio::time::Instant;

/// How a session notices that its peer went silent.
///
/// Whenever the path was quiet for a heartbeat, this side asks for a sign of life. So a peer that
/// is there is never silent for much longer, and one that is has missed it. Nobody looks at each
/// packet for this: what has arrived is counted by the engine, and looked at now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    heartbeat: Duration,
    /// Silence after which the first heartbeat counts as missed.
    patience: Duration,
    /// Looks are at most so far apart.
    pace: Duration,
    /// What had arrived at the last look.
    heard: u64,
    /// Nothing arrived since.
    since: Instant,
    missed: u32,
}

/// A heartbeat that did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// How many in a row, this one included.
    pub(super) count: u32,
    /// Nothing arrived for at least so long.
    pub(super) silence: Duration,
}

impl Liveness {
    /// Something has just arrived. `heartbeat` and `timeout` are those of the session.
    pub(super) fn new(heartbeat: Duration, timeout: Duration, now: Instant) -> Self {
        // The silence at which it is told is between patience and patience and pace: longer than a
        // peer that lives can be silent, shorter than the timeout.
        let (patience, pace) = match timeout.checked_sub(heartbeat) {
            Some(room) if !room.is_zero() => {
                let room = room / 3;
                (heartbeat.saturating_add(room.min(heartbeat / 4)), room.min(heartbeat))
            }
            // Such a session ends unless something is said, and nobody asks the peer before.
            _ => (timeout / 4 * 3, timeout / 8),
        };
        Self { heartbeat, patience, pace, heard: 0, since: now, missed: 0 }
    }

    /// When to look again.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let due = self.since + self.due();
        if due > now { due.min(now + self.pace) } else { now + self.pace }
    }

    /// The silence at which the next heartbeat counts as missed.
    const fn due(&self) -> Duration {
        self.patience.saturating_add(self.heartbeat.saturating_mul(self.missed))
    }

    /// Looks: `heard` counts what ever arrived.
    pub(super) fn look(&mut self, now: Instant, heard: u64) -> Option<Missed> {
        if heard != self.heard {
            (self.heard, self.since, self.missed) = (heard, now, 0);
            return None;
        }
        let silence = now.saturating_duration_since(self.since);
        if silence < self.due() {
            return None;
        }
        self.missed = self.missed.saturating_add(1);
        Some(Missed { count: self.missed, silence })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks whenever it says so, at a peer that is heard at `heard` and then never. Returns the
    /// times, from the last of them, at which heartbeats were missed until `until`.
    fn watch(
        heartbeat: Duration,
        timeout: Duration,
        heard: &[Duration],
        until: Duration,
    ) -> Vec<(Duration, Missed)> {
        let start = Instant::now();
        let mut liveness = Liveness::new(heartbeat, timeout, start);
        let (mut now, mut found) = (start, Vec::new());
        let last = heard.last().copied().unwrap_or_default();
        while now - start < last + until {
            let next = liveness.next(now);
            assert!(next > now, "it gets on");
            now = next;
            let count = heard.iter().filter(|at| start + **at <= now).count();
            if let Some(missed) = liveness.look(now, count as u64) {
                found.push((now - start, missed));
            }
        }
        found
    }

    proptest! {
        #[test]
        fn silence_is_told_before_the_timeout_and_life_is_not(
            heartbeat in 100u64..3_600_000,
            timeout in 1_000u64..86_400_000,
            answers in prop::collection::vec(0.0f64..1.0, 0..20),
        ) {
            let heartbeat = Duration::from_millis(heartbeat);
            let timeout = Duration::from_millis(timeout);
            // A peer that lives is heard within a heartbeat, or the session would be over.
            let longest = heartbeat.min(timeout / 2);
            let mut at = Duration::ZERO;
            let heard: Vec<_> = answers.iter().map(|share| {
                at += longest.mul_f64(*share).max(Duration::from_micros(1));
                at
            }).collect();
            let found = watch(heartbeat, timeout, &heard, timeout);
            let (first, missed) = found.first().expect("told before the timeout");
            let last = heard.last().copied().unwrap_or_default();
            prop_assert!(*first > last, "{first:?} and {last:?}");
            prop_assert!(*first < last + timeout);
            prop_assert_eq!(missed.count, 1);
            prop_assert!(missed.silence <= *first - last);
        }
    }

    #[test]
    fn each_further_heartbeat_is_counted_until_something_is_heard() {
        let second = Duration::from_secs(1);
        let (heartbeat, timeout) = (30 * second, 300 * second);
        let found = watch(heartbeat, timeout, &[10 * second], timeout - second);
        let counts: Vec<_> = found.iter().map(|(_, missed)| missed.count).collect();
        assert!(counts.len() > 7);
        assert!((1..).zip(&counts).all(|(count, found)| count == *found), "{counts:?}");

        let mut liveness = Liveness::new(heartbeat, timeout, Instant::now());
        let now = Instant::now();
        assert_eq!(liveness.look(now + 60 * second, 0).unwrap().count, 1);
        assert_eq!(liveness.look(now + 61 * second, 1), None);
        assert_eq!(liveness.look(now + 200 * second, 1).unwrap().count, 1, "counted anew");
    }
}
