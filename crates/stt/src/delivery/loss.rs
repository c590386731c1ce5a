//! How a path loses packets: observed by the receiver, estimated by the sender.
//!
//! The model is Gilbert's (1960), the form of Gilbert-Elliott in which the bad state loses
//! everything: a packet after one that arrived is lost with one probability, a packet after a lost
//! one arrives with another. Random loss is the case in which the past does not matter. Both
//! numbers are read off the runs that the receiver observed.

use super::DeliveryError;

/// How often which outcome followed which, over consecutive packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Arrived, after one that arrived.
    pub kept_after_kept: u32,
    /// Lost, after one that arrived: bursts begun.
    pub lost_after_kept: u32,
    /// Arrived, after a lost one: bursts ended.
    pub kept_after_lost: u32,
    /// Lost, after a lost one.
    pub lost_after_lost: u32,
}

impl LossCounts {
    /// Bytes of [`Self::encode`].
    pub const LEN: usize = 16;

    /// As bytes for a report: four counters, big-endian.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let counters = [
            self.kept_after_kept,
            self.lost_after_kept,
            self.kept_after_lost,
            self.lost_after_lost,
        ];
        for (to, counter) in bytes.chunks_exact_mut(4).zip(counters) {
            to.copy_from_slice(&counter.to_be_bytes());
        }
        bytes
    }

    /// From the bytes of a report.
    ///
    /// # Errors
    /// [`DeliveryError::Malformed`] unless there are [`Self::LEN`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DeliveryError> {
        let bytes = <[u8; Self::LEN]>::try_from(bytes).map_err(|_| DeliveryError::Malformed)?;
        let mut counters = bytes.as_chunks::<4>().0.iter().map(|part| u32::from_be_bytes(*part));
        let mut next = || counters.next().ok_or(DeliveryError::Malformed);
        Ok(Self {
            kept_after_kept: next()?,
            lost_after_kept: next()?,
            kept_after_lost: next()?,
            lost_after_lost: next()?,
        })
    }

    /// What was added since `earlier`; counters wrap around.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            kept_after_kept: self.kept_after_kept.wrapping_sub(earlier.kept_after_kept),
            lost_after_kept: self.lost_after_kept.wrapping_sub(earlier.lost_after_kept),
            kept_after_lost: self.kept_after_lost.wrapping_sub(earlier.kept_after_lost),
            lost_after_lost: self.lost_after_lost.wrapping_sub(earlier.lost_after_lost),
        }
    }

    /// Packets counted, wrapping around.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.kept_after_kept
            .wrapping_add(self.lost_after_kept)
            .wrapping_add(self.kept_after_lost)
            .wrapping_add(self.lost_after_lost)
    }

    const fn add(&mut self, lost: bool, after_lost: bool) {
        let counter = match (lost, after_lost) {
            (false, false) => &mut self.kept_after_kept,
            (true, false) => &mut self.lost_after_kept,
            (false, true) => &mut self.kept_after_lost,
            (true, true) => &mut self.lost_after_lost,
        };
        *counter = counter.wrapping_add(1);
    }
}

/// The receiver's side: sees which numbered packets arrive and counts the runs.
///
/// A packet counts as lost once [`Self::REORDER`] later numbers were passed; one that comes later
/// still is not counted again.
#[derive(Clone, Debug, Default)]
pub struct LossObserver {
    /// The next number that is not settled; none before the first packet.
    next: Option<u32>,
    /// Bit n: `next + n` has arrived.
    arrived: u64,
    after_lost: bool,
    counts: LossCounts,
}

impl LossObserver {
    /// How far packets may overtake each other before one counts as lost.
    pub const REORDER: u32 = 64;
    /// A jump of more numbers than this is a new start and not a loss.
    pub const MAX_JUMP: u32 = 4_096;

    /// Notes that the packet with this number arrived. Numbers wrap around.
    pub fn arrived(&mut self, number: u32) {
        let next = *self.next.get_or_insert(number);
        let ahead = number.wrapping_sub(next);
        if ahead > u32::MAX / 2 {
            // Behind what is settled: late or twice, unless far behind.
            if next.wrapping_sub(number) > Self::MAX_JUMP {
                self.restart(number);
            }
            return;
        }
        if ahead > Self::MAX_JUMP {
            self.restart(number);
        }
        while let Some(next) = self.next
            && number.wrapping_sub(next) >= Self::REORDER
        {
            self.settle();
        }
        let at = number.wrapping_sub(self.next.unwrap_or(number));
        self.arrived |= 1 << at;
        while self.arrived & 1 == 1 {
            self.settle();
        }
    }

    /// Everything counted so far.
    #[must_use]
    pub const fn counts(&self) -> LossCounts {
        self.counts
    }

    fn restart(&mut self, number: u32) {
        self.next = Some(number);
        self.arrived = 0;
        self.after_lost = false;
    }

    fn settle(&mut self) {
        let lost = self.arrived & 1 == 0;
        self.counts.add(lost, self.after_lost);
        self.after_lost = lost;
        self.arrived >>= 1;
        self.next = self.next.map(|next| next.wrapping_add(1));
    }
}

/// How a path loses packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossModel {
    /// Probability that a packet is lost after one that arrived.
    pub to_bad: f64,
    /// Probability that a packet arrives after a lost one.
    pub to_good: f64,
}

impl LossModel {
    /// Loss that does not depend on what came before.
    #[must_use]
    pub const fn random(loss: f64) -> Self {
        Self { to_bad: loss, to_good: 1.0 - loss }
    }

    /// Loss in bursts of this mean length, at least 1 packet.
    #[must_use]
    pub const fn bursty(loss: f64, mean_burst: f64) -> Self {
        let to_good = 1.0 / mean_burst;
        Self { to_bad: to_good * loss / (1.0 - loss), to_good }
    }

    /// The share of packets that is lost in the long run.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let sum = self.to_bad + self.to_good;
        if sum > 0.0 { self.to_bad / sum } else { 0.0 }
    }
}

/// The sender's side: what the receiver reported, with the older half of it forgotten again and
/// again, so that the last [`Self::WINDOW`] packets or so decide.
#[derive(Clone, Debug)]
pub struct LossEstimator {
    /// Weights of the four counters of [`LossCounts`], in its order.
    counts: [f64; 4],
    last_report: LossCounts,
    observed: u64,
}

impl LossEstimator {
    /// Packets after which what is known weighs only half.
    pub const WINDOW: f64 = 8_192.0;
    /// Loss that is assumed before anything was measured, as if it had been seen over 100 packets,
    /// with 20 lost ones of which none was followed by another more often than chance has it.
    pub const PRIOR_LOSS: f64 = 0.02;

    /// Without any measurement: [`Self::PRIOR_LOSS`], at random.
    #[must_use]
    pub fn new() -> Self {
        let loss = Self::PRIOR_LOSS;
        let counts = [
            100.0 * (1.0 - loss) * (1.0 - loss),
            100.0 * (1.0 - loss) * loss,
            20.0 * (1.0 - loss),
            20.0 * loss,
        ];
        Self { counts, last_report: LossCounts::default(), observed: 0 }
    }

    /// Takes a report of everything that the receiver counted so far. Older reports, which were
    /// overtaken, are ignored; lost ones do not matter.
    pub fn report(&mut self, counts: LossCounts) {
        let new = counts.since(&self.last_report);
        if new.total() == 0 || new.total() > u32::MAX / 2 {
            return;
        }
        self.last_report = counts;
        self.add(new);
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, new: LossCounts) {
        let parts =
            [new.kept_after_kept, new.lost_after_kept, new.kept_after_lost, new.lost_after_lost];
        for (weight, part) in self.counts.iter_mut().zip(parts) {
            *weight += f64::from(part);
        }
        self.observed = self.observed.saturating_add(u64::from(new.total()));
        let total: f64 = self.counts.iter().sum();
        if total > Self::WINDOW {
            let keep = (Self::WINDOW / 2.0 / total).max(0.0);
            self.counts.iter_mut().for_each(|weight| *weight *= keep);
        }
    }

    /// Packets whose fate was reported.
    #[must_use]
    pub const fn observed(&self) -> u64 {
        self.observed
    }

    /// The likeliest model.
    #[must_use]
    pub fn model(&self) -> LossModel {
        self.bounded(0.0)
    }

    /// The model with each number moved by 1.3 standard errors to the bad side, so that a repair
    /// code sized with it holds although the measurement is small.
    #[must_use]
    pub fn cautious(&self) -> LossModel {
        self.bounded(1.3)
    }

    fn bounded(&self, errors: f64) -> LossModel {
        let [kept_kept, lost_kept, kept_lost, lost_lost] = self.counts;
        let share = |part: f64, rest: f64, sign: f64| {
            let total = (part + rest).max(1.0);
            // Half a count on both sides keeps the share off 0 and 1 (Jeffreys).
            let share = (part + 0.5) / (total + 1.0);
            let error = (share * (1.0 - share) / total).sqrt();
            (share + sign * errors * error).clamp(1e-6, 1.0 - 1e-6)
        };
        LossModel {
            to_bad: share(lost_kept, kept_kept, 1.0),
            to_good: share(kept_lost, lost_lost, -1.0),
        }
    }
}

impl Default for LossEstimator {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_with_packets_that_overtake() {
        let mut observer = LossObserver::default();
        // 0 1 [2 3 lost] 4 5, then 7 before 6, then far enough to settle.
        for number in [0, 1, 4, 5, 7, 6] {
            observer.arrived(number);
        }
        for number in 8..100 {
            observer.arrived(number);
        }
        let counts = observer.counts();
        assert_eq!(counts.lost_after_kept, 1);
        assert_eq!(counts.lost_after_lost, 1);
        assert_eq!(counts.kept_after_lost, 1);
        observer.arrived(2);
        assert_eq!(observer.counts(), counts, "too late to count");
    }

    #[test]
    fn numbers_wrap_and_jumps_are_new_starts() {
        let mut observer = LossObserver::default();
        for number in (u32::MAX - 10..=u32::MAX).chain(0..10) {
            observer.arrived(number);
        }
        assert_eq!(observer.counts().total(), 21);
        for number in [1_000_000, 1_000_001, 5, 6] {
            observer.arrived(number);
        }
        assert_eq!(observer.counts().lost_after_kept, 0);
    }

    #[test]
    fn the_estimate_finds_the_model_and_follows_a_change() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut estimator = LossEstimator::new();
        for truth in [LossModel::random(0.05), LossModel::bursty(0.2, 4.0), LossModel::random(0.01)]
        {
            let (mut counts, mut bad) = (LossCounts::default(), false);
            for _ in 0..40_000 {
                let lost = random.f64() < if bad { 1.0 - truth.to_good } else { truth.to_bad };
                counts.add(lost, bad);
                bad = lost;
                if counts.total() == 256 {
                    estimator.add(std::mem::take(&mut counts));
                }
            }
            let (model, cautious) = (estimator.model(), estimator.cautious());
            assert!((model.loss() / truth.loss() - 1.0).abs() < 0.3, "{model:?} for {truth:?}");
            assert!(cautious.loss() > model.loss());
        }
    }

    #[test]
    fn reports_may_be_lost_or_overtaken() {
        let mut estimator = LossEstimator::new();
        let first = LossCounts { kept_after_kept: 100, ..LossCounts::default() };
        let second = LossCounts { kept_after_kept: 300, ..LossCounts::default() };
        estimator.report(LossCounts::decode(&second.encode()).unwrap());
        estimator.report(first);
        estimator.report(second);
        assert_eq!(estimator.observed(), 300);
        assert_eq!(LossCounts::decode(&[0; 15]), Err(DeliveryError::Malformed));
    }
}
