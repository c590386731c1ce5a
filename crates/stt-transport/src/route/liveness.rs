//! When silence means that a route is dead.

use std::time::{Duration, Instant};

/// Bytes that went through the keys of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Encrypted by this end.
    pub(crate) sealed: u64,
    /// From the peer, and verified.
    pub(crate) opened: u64,
}

/// Bytes received in a row whose end is a silence worth asking about. Less is an exchange that is
/// over: what is lost of it, whoever sent it sends again, and notices.
const FLOW: u64 = 4 << 10;
/// Questions without an answer after which a route counts as dead: when nothing is heard at all, and
/// when the peer is still heard, so that what is lost is perhaps only the questions.
const LIMIT: (u32, u32) = (3, 6);
/// Longest time between two questions.
const SLOWEST: Duration = Duration::from_secs(5);
/// Looks without any traffic before nobody looks any more.
const IDLE_LOOKS: u32 = 2;

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// Ask the peer whether the route is open.
    Ask,
    /// Ask, and look for another route.
    Dead,
}

/// Watches the traffic of one session.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Traffic,
    heard_at: Instant,
    /// Received since the last silence.
    flow: u64,
    idle_looks: u32,
    /// Questions since the last answer.
    asked: u32,
    asked_first: Instant,
    next: Option<Instant>,
}

impl Watch {
    /// A watch that sleeps.
    pub(crate) fn new(now: Instant, traffic: Traffic) -> Self {
        Self {
            seen: traffic,
            heard_at: now,
            flow: 0,
            idle_looks: 0,
            asked: 0,
            asked_first: now,
            next: None,
        }
    }

    /// When to look; `None` while it sleeps.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether there was traffic since the last look.
    pub(crate) fn has_missed(&self, traffic: Traffic) -> bool {
        self.seen != traffic
    }

    /// There is traffic: looks again after `pace`.
    pub(crate) fn stir(&mut self, now: Instant, pace: Duration) {
        self.idle_looks = 0;
        self.next.get_or_insert(now + pace);
    }

    /// Whether questions are open.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.asked > 0
    }

    /// The peer asks because it hears nothing. True if we should ask, too.
    pub(crate) fn doubted(&mut self, now: Instant, pace: Duration) -> bool {
        if self.asked > 0 {
            return false;
        }
        self.ask(now, pace);
        true
    }

    /// The route is known to be dead; another one is looked for at `next`.
    pub(crate) const fn give_up(&mut self, now: Instant, next: Instant) {
        self.asked = LIMIT.1;
        self.asked_first = now;
        self.next = Some(next);
    }

    /// The route is open.
    pub(crate) fn answered(&mut self, now: Instant, pace: Duration) {
        self.asked = 0;
        self.flow = 0;
        self.idle_looks = 0;
        self.next = Some(now + pace);
    }

    fn ask(&mut self, now: Instant, pace: Duration) {
        if self.asked == 0 {
            self.asked_first = now;
        }
        self.asked = self.asked.saturating_add(1);
        // At the pace at first, then ever more slowly. A peer that is heard is asked more often at
        // the pace, so that its longer respite is not a longer time.
        let quick = if self.heard_at > self.asked_first { LIMIT.1 } else { 2 };
        let doublings = self.asked.saturating_sub(quick).min(16);
        let wait = pace.saturating_mul(1 << doublings).min(SLOWEST.max(pace));
        self.next = Some(now + wait);
    }

    /// Looks at the traffic. Due at [`Self::deadline`].
    pub(crate) fn look(&mut self, now: Instant, traffic: Traffic, pace: Duration) -> Verdict {
        let heard = traffic.opened > self.seen.opened;
        let sent = traffic.sealed > self.seen.sealed;
        self.flow += traffic.opened.saturating_sub(self.seen.opened);
        self.seen = traffic;
        if heard {
            self.heard_at = now;
        }
        if self.asked > 0 {
            let limit = if self.heard_at > self.asked_first { LIMIT.1 } else { LIMIT.0 };
            let dead = self.asked >= limit;
            self.ask(now, pace);
            return if dead { Verdict::Dead } else { Verdict::Ask };
        }
        if heard {
            self.idle_looks = 0;
            self.next = Some(now + pace);
            return Verdict::Fine;
        }
        if sent || self.flow >= FLOW {
            self.flow = 0;
            self.ask(now, pace);
            return Verdict::Ask;
        }
        self.flow = 0;
        self.idle_looks += 1;
        self.next = (self.idle_looks < IDLE_LOOKS).then_some(now + pace);
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(25);

    /// Looks whenever it is due, for `for_ms`, at traffic that `at(ms)` gives.
    fn watch(for_ms: u64, at: impl Fn(u64) -> Traffic) -> Vec<(u64, Verdict)> {
        let start = Instant::now();
        let mut watch = Watch::new(start, Traffic::default());
        watch.stir(start, PACE);
        let mut verdicts = Vec::new();
        while let Some(due) = watch.deadline() {
            let ms = u64::try_from((due - start).as_millis()).unwrap();
            if ms > for_ms {
                break;
            }
            let verdict = watch.look(due, at(ms), PACE);
            if verdict != Verdict::Fine {
                verdicts.push((ms, verdict));
            }
        }
        verdicts
    }

    #[test]
    fn traffic_that_is_answered_raises_no_question() {
        let both = |ms| Traffic { sealed: ms * 100, opened: ms * 100 };
        assert_eq!(watch(10_000, both), []);
        // A short exchange, and then nothing: it falls asleep.
        assert_eq!(watch(10_000, |ms| both(ms.min(10))), []);
    }

    #[test]
    fn silence_is_asked_about_and_death_noticed_within_150_ms() {
        let died = |ms: u64| Traffic { sealed: ms * 100, opened: ms.min(1000) * 100 };
        let verdicts = watch(1200, died);
        let (first, verdict) = verdicts[0];
        assert!((1000..=1050).contains(&first) && verdict == Verdict::Ask, "{verdicts:?}");
        let dead = verdicts.iter().find(|(_, verdict)| *verdict == Verdict::Dead).unwrap();
        assert!(dead.0 <= 1150, "{verdicts:?}");
    }

    #[test]
    fn the_end_of_a_flow_is_asked_about_by_who_only_received() {
        let verdicts = watch(1100, |ms| Traffic { sealed: 0, opened: ms.min(1000) * 100 });
        assert_eq!(verdicts[0].1, Verdict::Ask);
        assert!(verdicts[0].0 <= 1050);
    }

    #[test]
    fn a_peer_that_is_heard_gets_more_time_to_answer() {
        let start = Instant::now();
        let mut watch = Watch::new(start, Traffic::default());
        assert!(watch.doubted(start, PACE));
        assert!(!watch.doubted(start, PACE));
        let mut opened = 0;
        let mut asked = 0;
        loop {
            opened += 1000;
            let now = watch.deadline().unwrap();
            if watch.look(now, Traffic { sealed: 0, opened }, PACE) == Verdict::Dead {
                break;
            }
            asked += 1;
        }
        assert_eq!(asked, 5);
        watch.answered(start, PACE);
        assert!(!watch.is_in_doubt());
    }

    #[test]
    fn questions_become_rare() {
        let verdicts = watch(60_000, |ms| Traffic { sealed: ms, opened: 0 });
        assert!(verdicts.len() < 30, "{}", verdicts.len());
    }
}
