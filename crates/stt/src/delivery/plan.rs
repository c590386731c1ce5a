//! How many repair packets a message needs.

use std::collections::HashMap;

use super::{
    DeliveryError, LossEstimator, LossModel, MAX_DATA_SHARDS, Probability, error::in_range,
};

/// Most repair packets over data packets, 0 to 4. The default is 1: at most as many again.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct OverheadCap(f64);

/// What one message is sent as.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Packets that carry the message.
    pub data: u16,
    /// Packets that repair it. Any `data` of all packets suffice.
    pub repair: u16,
    /// Chance that enough of them arrive, by the cautious estimate of the path's loss.
    pub probability: f64,
    /// The chance that was asked for, when the overhead cap does not allow it.
    pub shortfall: Option<Probability>,
}

/// Sizes the repair of messages from what is known of the path.
#[derive(Clone, Debug)]
pub struct RepairPlanner {
    estimator: LossEstimator,
    /// The model that the plans below were made with, and how much had been observed then.
    model: LossModel,
    model_at: u64,
    plans: HashMap<(u16, u16, u64), Plan>,
}

impl OverheadCap {
    /// That share; 1 is 100 %.
    ///
    /// # Errors
    /// [`DeliveryError::OutOfRange`] outside of 0 to 4.
    pub fn new(share: f64) -> Result<Self, DeliveryError> {
        in_range("the overhead cap", share, 0.0, 4.0).map(Self)
    }

    /// The share.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Most repair packets for so many data packets.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 4 times a u16 that is bounded by MAX_DATA_SHARDS"
    )]
    fn repair(self, data: u16) -> u16 {
        (f64::from(data) * self.0).floor() as u16
    }
}

impl Default for OverheadCap {
    fn default() -> Self {
        Self(1.0)
    }
}

impl RepairPlanner {
    /// Half of the failures that a probability allows is kept for what the measurement does not
    /// know: a plan aims at `1 - (1 - p) / 2`, and falls short only below p itself.
    pub const SHARE_OF_FAILURES: f64 = 0.5;
    /// Observations after which plans are made anew.
    const REFRESH: u64 = 512;
    const MAX_PLANS: usize = 1_024;

    /// A planner that knows nothing of the path yet.
    #[must_use]
    pub fn new() -> Self {
        let estimator = LossEstimator::new();
        let model = estimator.cautious();
        Self { estimator, model, model_at: 0, plans: HashMap::new() }
    }

    /// The estimate that plans are made from.
    #[must_use]
    pub const fn estimator(&self) -> &LossEstimator {
        &self.estimator
    }

    /// Takes a report of the receiver.
    pub fn report(&mut self, counts: super::LossCounts) {
        self.estimator.report(counts);
        // The first reports count at once: until then the plans rest on a guess.
        let observed = self.estimator.observed();
        if observed - self.model_at >= Self::REFRESH.min(self.model_at.max(1)) {
            self.model = self.estimator.cautious();
            self.model_at = observed;
            self.plans.clear();
        }
    }

    /// The plan for a message of `data` packets, clamped to 1 to [`MAX_DATA_SHARDS`].
    pub fn plan(&mut self, data: u16, wanted: Probability, cap: OverheadCap) -> Plan {
        let data = data.clamp(1, MAX_DATA_SHARDS);
        let most = cap.repair(data);
        let key = (data, most, wanted.get().to_bits());
        if let Some(plan) = self.plans.get(&key) {
            return *plan;
        }
        let plan = make(self.model, data, most, wanted);
        if self.plans.len() >= Self::MAX_PLANS {
            self.plans.clear();
        }
        self.plans.insert(key, plan);
        plan
    }
}

impl Default for RepairPlanner {
    fn default() -> Self {
        Self::new()
    }
}

/// The fewest repair packets that reach the aim, or as many as may be.
fn make(model: LossModel, data: u16, most: u16, wanted: Probability) -> Plan {
    let aim = 1.0 - (1.0 - wanted.get()) * RepairPlanner::SHARE_OF_FAILURES;
    let mut losses = Losses::new(model);
    for _ in 0..data {
        losses.step();
    }
    let mut repair = 0;
    loop {
        let probability = losses.at_most(repair);
        if probability >= aim || repair >= most {
            let shortfall = (probability < wanted.get()).then_some(wanted);
            return Plan { data, repair, probability, shortfall };
        }
        repair += 1;
        losses.step();
    }
}

/// How likely so many packets of a row are lost: exact, packet by packet. When the model has no
/// memory this is the binomial distribution.
struct Losses {
    model: LossModel,
    /// At n: the chance of n losses so far and that the last packet arrived.
    kept: Vec<f64>,
    /// At n: the chance of n losses so far and that the last packet was lost.
    lost: Vec<f64>,
}

impl Losses {
    fn new(model: LossModel) -> Self {
        // The packet before the first is anyone's: its state is that of the long run.
        let bad = model.loss();
        Self { model, kept: vec![1.0 - bad], lost: vec![bad] }
    }

    fn step(&mut self) {
        let LossModel { to_bad, to_good } = self.model;
        let mut before = 0.0;
        for (kept, lost) in self.kept.iter_mut().zip(&mut self.lost) {
            let arrives = *kept * (1.0 - to_bad) + *lost * to_good;
            let is_lost = *kept * to_bad + *lost * (1.0 - to_good);
            *kept = arrives;
            *lost = std::mem::replace(&mut before, is_lost);
        }
        self.kept.push(0.0);
        self.lost.push(before);
    }

    fn at_most(&self, losses: u16) -> f64 {
        let all = usize::from(losses) + 1;
        self.kept.iter().take(all).zip(&self.lost).map(|(kept, lost)| kept + lost).sum()
    }
}

/// The chance that a message gets through, for whoever wants to check a plan against a known path.
#[must_use]
pub(super) fn chance(model: LossModel, data: u16, repair: u16) -> f64 {
    let mut losses = Losses::new(model);
    for _ in 0..data.saturating_add(repair) {
        losses.step();
    }
    losses.at_most(repair)
}

impl LossModel {
    /// The exact chance that at least `data` of `data + repair` packets in a row arrive.
    #[must_use]
    pub fn chance(&self, data: u16, repair: u16) -> f64 {
        chance(*self, data, repair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(value: f64) -> Probability {
        Probability::new(value).unwrap()
    }

    #[test]
    fn without_memory_it_is_the_binomial_tail() {
        // 10 packets, 10 % loss, at most 2 lost: 0.9298091736 (tables).
        let chance = LossModel::random(0.1).chance(8, 2);
        assert!((chance - 0.929_809_173_6).abs() < 1e-9, "{chance}");
        assert!((LossModel::random(0.2).chance(1, 1) - 0.96).abs() < 1e-12);
    }

    #[test]
    fn bursts_agree_with_counting_every_outcome() {
        let model = LossModel::bursty(0.2, 3.0);
        let (packets, repair) = (10_u32, 4);
        let mut expected = 0.0;
        for outcome in 0..1_u32 << packets {
            if outcome.count_ones() > repair {
                continue;
            }
            for first_bad in [false, true] {
                let mut bad = first_bad;
                let mut chance = if bad { model.loss() } else { 1.0 - model.loss() };
                for at in 0..packets {
                    let lost = outcome >> at & 1 == 1;
                    let to_lost = if bad { 1.0 - model.to_good } else { model.to_bad };
                    chance *= if lost { to_lost } else { 1.0 - to_lost };
                    bad = lost;
                }
                expected += chance;
            }
        }
        assert!((model.chance(6, 4) - expected).abs() < 1e-12);
    }

    #[test]
    fn the_plan_is_the_smallest_that_reaches_the_aim() {
        let model = LossModel::random(0.05);
        for data in [1, 7, 50, 256] {
            let plan = make(model, data, data * 4, p(0.99));
            assert!(plan.probability >= 0.995 && plan.shortfall.is_none());
            assert!(plan.repair == 0 || model.chance(data, plan.repair - 1) < 0.995);
        }
    }

    #[test]
    fn the_cap_holds_and_the_shortfall_is_said() {
        let plan = make(LossModel::random(0.2), 1, 1, p(0.99));
        assert_eq!((plan.repair, plan.shortfall), (1, Some(p(0.99))));
        assert!((plan.probability - 0.96).abs() < 1e-12);
        let none = OverheadCap::new(0.0).unwrap();
        assert_eq!(RepairPlanner::new().plan(10, p(0.9), none).repair, 0);
        assert!(OverheadCap::new(f64::NAN).is_err());
    }
}
