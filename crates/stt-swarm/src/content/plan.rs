//! Which groups are fetched next and from whom. No clock and no network: time is an argument.

use std::{
    collections::HashMap,
    ops::Range,
    time::{Duration, Instant},
};

use bao_tree::ByteRanges;

use super::PIECE_GROUPS;

/// A set of group numbers.
pub(super) type Groups = ByteRanges;

/// What a group is taken to last at a provider that has not delivered one yet.
const FIRST_PACE: Duration = Duration::from_millis(3);
/// A piece is fetched a second time when the first provider needs this much longer than the second.
const SLACK: Duration = Duration::from_millis(50);
/// When there is nothing to do now, somebody may have become slow by then.
const RECHECK: Duration = Duration::from_millis(50);

/// What a provider is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Fetch these groups.
    Piece { job: u64, groups: Range<u64> },
    /// Ask again after a while.
    Wait(Duration),
    /// There is nothing left to fetch.
    Done,
}

#[derive(Debug)]
struct Job {
    groups: Range<u64>,
    provider: usize,
    since: Instant,
    verified: u64,
}

/// The state of one fetch.
#[derive(Debug)]
pub(super) struct Plan {
    /// Groups that were not verified yet.
    missing: Groups,
    /// Those of them that nobody was asked for.
    unasked: Groups,
    jobs: HashMap<u64, Job>,
    next: u64,
    /// Seconds that a group lasts, by provider.
    pace: HashMap<usize, f64>,
    /// Groups that came twice.
    duplicates: u64,
}

fn set(groups: &Range<u64>) -> Groups {
    if groups.is_empty() { Groups::empty() } else { Groups::from(groups.clone()) }
}

/// Groups in a set that has an end.
pub(super) fn count(groups: &Groups) -> u64 {
    groups
        .boundaries()
        .chunks(2)
        .map(|pair| match pair {
            [start, end] => end - start,
            _ => 0,
        })
        .sum()
}

impl Plan {
    pub(super) fn new(missing: Groups) -> Self {
        Self {
            unasked: missing.clone(),
            missing,
            jobs: HashMap::new(),
            next: 0,
            pace: HashMap::new(),
            duplicates: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// Groups that came twice.
    pub(super) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// What `provider` is to do now.
    pub(super) fn take(&mut self, provider: usize, now: Instant) -> Take {
        if self.is_done() {
            return Take::Done;
        }
        let groups = match self.unasked.boundaries() {
            [start, end, ..] => {
                // Pieces begin at multiples, so that a hole does not shift all that follow.
                let cut = (start / PIECE_GROUPS).saturating_add(1).saturating_mul(PIECE_GROUPS);
                *start..cut.min(*end)
            }
            _ => match self.slow_piece(provider, now) {
                Some(groups) => groups,
                None => return Take::Wait(RECHECK),
            },
        };
        self.unasked -= set(&groups);
        let job = self.next;
        self.next += 1;
        self.jobs.insert(job, Job { groups: groups.clone(), provider, since: now, verified: 0 });
        Take::Piece { job, groups }
    }

    /// The rest of a piece that `provider` will have long before the one who was asked for it.
    fn slow_piece(&self, provider: usize, now: Instant) -> Option<Range<u64>> {
        let slow = self.jobs.iter().filter_map(|(id, job)| {
            let (theirs, groups) = self.late(job, provider, now)?;
            // Others who fetch the same are no help if they are as slow, and nobody fetches
            // anything twice.
            let covered = self.jobs.iter().any(|(other, twin)| {
                other != id
                    && twin.groups.start < groups.end
                    && groups.start < twin.groups.end
                    && (twin.provider == provider || self.late(twin, provider, now).is_none())
            });
            (!covered).then_some((theirs, groups))
        });
        slow.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, groups)| groups)
    }

    /// What is left of `job` if `provider` will have it long before the one who was asked, and the
    /// seconds that it will take that one.
    fn late(&self, job: &Job, provider: usize, now: Instant) -> Option<(f64, Range<u64>)> {
        if job.provider == provider {
            return None;
        }
        let pace = self.pace.get(&provider).copied().unwrap_or(FIRST_PACE.as_secs_f64());
        let rest = self.missing.clone() & set(&job.groups);
        let left = count(&rest) as f64;
        let elapsed = now.saturating_duration_since(job.since).as_secs_f64();
        let theirs = elapsed * left / job.verified.max(1) as f64;
        let here = 2.0 * pace * left + SLACK.as_secs_f64();
        match rest.boundaries() {
            [start, .., end] if theirs > here => Some((theirs, *start..*end)),
            _ => None,
        }
    }

    /// `job` delivered a group, which is fit to be written. False if it was there already.
    pub(super) fn verified(&mut self, job: u64, group: u64) -> bool {
        let one = Groups::from(group..group.saturating_add(1));
        let is_new = self.missing.contains(&group);
        if is_new {
            self.missing -= one;
        } else {
            self.duplicates += 1;
        }
        if let Some(job) = self.jobs.get_mut(&job) {
            job.verified += 1;
        }
        is_new
    }

    /// Whether any group of `job` is still of use.
    pub(super) fn is_needed(&self, job: u64) -> bool {
        self.jobs.get(&job).is_some_and(|job| !(self.missing.clone() & set(&job.groups)).is_empty())
    }

    /// `job` is over, whether or not it delivered all: others may fetch what is left.
    pub(super) fn end(&mut self, job: u64, now: Instant) {
        let Some(job) = self.jobs.remove(&job) else { return };
        let mut rest = self.missing.clone() & set(&job.groups);
        for other in self.jobs.values() {
            rest -= set(&other.groups);
        }
        self.unasked |= rest;
        if job.verified > 0 {
            let took = now.saturating_duration_since(job.since).as_secs_f64() / job.verified as f64;
            let pace = self.pace.entry(job.provider).or_insert(took);
            *pace = 0.7 * *pace + 0.3 * took;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn plan(groups: u64) -> Plan {
        Plan::new(Groups::from(0..groups))
    }

    fn piece(take: Take) -> (u64, Range<u64>) {
        match take {
            Take::Piece { job, groups } => (job, groups),
            other => panic!("{other:?}"),
        }
    }

    /// `provider` fetches one piece, each group in `pace`.
    fn fetch(plan: &mut Plan, provider: usize, now: &mut Instant, pace: Duration) {
        let (job, groups) = piece(plan.take(provider, *now));
        for group in groups {
            *now += pace;
            assert!(plan.verified(job, group));
        }
        plan.end(job, *now);
    }

    #[test]
    fn every_group_is_fetched_once_and_in_order() {
        let (mut plan, mut now) = (plan(300), Instant::now());
        let mut seen = Vec::new();
        while !plan.is_done() {
            let (job, groups) = piece(plan.take(0, now));
            assert!(groups.end - groups.start <= PIECE_GROUPS);
            for group in groups {
                now += MS;
                assert!(plan.is_needed(job));
                assert!(plan.verified(job, group));
                seen.push(group);
            }
            assert!(!plan.is_needed(job));
            plan.end(job, now);
        }
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        assert_eq!((plan.take(0, now), plan.duplicates()), (Take::Done, 0));
    }

    #[test]
    fn only_the_holes_of_an_earlier_attempt_are_fetched() {
        let missing = Groups::from(3..5) | Groups::from(60..70) | Groups::from(200..201);
        let (mut plan, now) = (Plan::new(missing), Instant::now());
        let pieces: Vec<_> = (0..4).map(|_| piece(plan.take(0, now)).1).collect();
        assert_eq!(pieces, [3..5, 60..64, 64..70, 200..201]);
    }

    #[test]
    fn what_a_provider_left_undone_goes_to_another() {
        let (mut plan, now) = (plan(64), Instant::now());
        let (job, _) = piece(plan.take(0, now));
        plan.verified(job, 0);
        assert_eq!(plan.take(1, now), Take::Wait(RECHECK));
        plan.end(job, now);
        assert_eq!(piece(plan.take(1, now)).1, 1..64);
    }

    #[test]
    fn a_slow_tail_is_fetched_by_somebody_else_once() {
        let (mut plan, mut now) = (plan(192), Instant::now());
        let (slow, groups) = piece(plan.take(0, now));
        assert_eq!(groups, 0..64);
        for _ in 0..2 {
            fetch(&mut plan, 1, &mut now, MS);
        }
        // One group in 128 ms: the rest would take it eight seconds.
        plan.verified(slow, 0);
        let (copy, groups) = piece(plan.take(1, now));
        assert_eq!(groups, 1..64);
        assert!(plan.is_needed(slow));
        // Nobody fetches it a third time.
        assert_eq!(plan.take(2, now), Take::Wait(RECHECK));
        for group in 1..64 {
            assert!(plan.verified(copy, group));
        }
        assert!(!plan.is_needed(slow) && plan.is_done());
        assert!(!plan.verified(slow, 1));
        assert_eq!(plan.duplicates(), 1);
    }

    #[test]
    fn several_slow_ones_do_not_hold_up_the_rest() {
        let (mut plan, mut now) = (plan(64), Instant::now());
        assert_eq!(piece(plan.take(0, now)).1, 0..64);
        now += Duration::from_secs(1);
        // It takes over what is late, and delivers nothing either.
        assert_eq!(piece(plan.take(1, now)).1, 0..64);
        assert_eq!(plan.take(2, now), Take::Wait(RECHECK));
        now += Duration::from_secs(1);
        // Nobody gets what it has already.
        assert_eq!(plan.take(0, now), Take::Wait(RECHECK));
        assert_eq!(plan.take(1, now), Take::Wait(RECHECK));
        let (job, groups) = piece(plan.take(2, now));
        assert_eq!(groups, 0..64);
        for group in groups {
            now += MS;
            assert!(plan.verified(job, group));
        }
        assert!(plan.is_done());
    }

    #[test]
    fn a_provider_that_keeps_up_is_left_alone_and_one_that_stalls_is_not() {
        let (mut plan, mut now) = (plan(192), Instant::now());
        let (even, _) = piece(plan.take(0, now));
        for _ in 0..2 {
            fetch(&mut plan, 1, &mut now, MS);
        }
        for group in 0..60 {
            plan.verified(even, group);
        }
        assert_eq!(plan.take(1, now), Take::Wait(RECHECK));
        // It says nothing more.
        now += Duration::from_secs(30);
        assert_eq!(piece(plan.take(1, now)).1, 60..64);
    }
}
