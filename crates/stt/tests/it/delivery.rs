//! Whether messages arrive as often as was promised: a seeded simulation of lossy paths, with the
//! loss measured by the receiver and reported back, as on a real path.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use stt::delivery::{
    LossModel, OverheadCap, Probability, RepairPlanner, ShardAssembler, ShardEncoder, ShardHeader,
};

/// Bytes of a message that one packet carries here: small, because only counts matter.
const ROOM: usize = 16;

struct Path {
    model: LossModel,
    bad: bool,
    random: fastrand::Rng,
}

impl Path {
    fn loses(&mut self) -> bool {
        let chance = if self.bad { 1.0 - self.model.to_good } else { self.model.to_bad };
        self.bad = self.random.f64() < chance;
        self.bad
    }
}

/// How many messages were sent and how many arrived.
#[derive(Default)]
struct Tally {
    sent: u32,
    arrived: u32,
}

impl Tally {
    fn add(&mut self, arrived: bool) {
        self.sent += 1;
        self.arrived += u32::from(arrived);
    }

    fn ratio(&self) -> f64 {
        f64::from(self.arrived) / f64::from(self.sent.max(1))
    }

    /// Lower 99 % confidence bound (Wilson, 1927; one-sided).
    fn lower_bound(&self) -> f64 {
        let (n, ratio, z) = (f64::from(self.sent), self.ratio(), 2.326_347_9_f64);
        let centre = ratio + z * z / (2.0 * n);
        let spread = z * (ratio * (1.0 - ratio) / n + z * z / (4.0 * n * n)).sqrt();
        (centre - spread) / (1.0 + z * z / n)
    }
}

#[derive(Default)]
struct Outcome {
    /// Messages for which the cap allows the probability on this path.
    allowed: Tally,
    /// The others.
    short: Tally,
    /// Of the others, those whose sender was told, or could not be because nothing was measured yet.
    told: u32,
    /// What the senders of those were told to expect, summed.
    expected: f64,
    data: u64,
    repair: u64,
}

/// Sends messages of 1 to 50 packets over a path that starts unknown.
fn simulate(model: LossModel, wanted: f64, messages: u32, seed: u64) -> Outcome {
    let wanted = Probability::new(wanted).unwrap();
    let mut path = Path { model, bad: false, random: fastrand::Rng::with_seed(seed) };
    let mut encoder = ShardEncoder::new(RepairPlanner::new());
    let mut assembler = ShardAssembler::default();
    let mut outcome = Outcome::default();
    let mut random = fastrand::Rng::with_seed(!seed);
    let allows: Vec<bool> =
        (0..=50).map(|data| data > 0 && model.chance(data, data) >= wanted.get()).collect();
    let mut reported = 0;
    for _ in 0..messages {
        let data = random.usize(1..=50);
        let length = (data - 1) * ROOM + random.usize(1..=ROOM);
        let message: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        let (plan, packets) = encoder
            .encode(1, &message, wanted, OverheadCap::default(), ShardHeader::LEN + ROOM)
            .unwrap();
        assert_eq!(usize::from(plan.data), data);
        assert!(plan.repair <= plan.data, "the cap");
        let mut arrived = false;
        for packet in packets {
            if !path.loses()
                && let Some(got) = assembler.packet(packet).unwrap()
            {
                assert_eq!(got.data, message, "never wrong bytes");
                arrived = true;
            }
        }
        outcome.data += u64::from(plan.data);
        outcome.repair += u64::from(plan.repair);
        if allows[data] {
            outcome.allowed.add(arrived);
        } else {
            outcome.short.add(arrived);
            // Nobody can be told before the path was measured.
            let measured = encoder.planner().estimator().observed() >= 1_000;
            outcome.told += u32::from(plan.shortfall.is_some() || !measured);
            outcome.expected += plan.probability;
        }
        let counts = assembler.observer().counts();
        if counts.total() - reported >= 256 {
            reported = counts.total();
            // One report in five is lost: they are cumulative.
            if random.u8(..5) > 0 {
                encoder.planner().report(counts);
            }
        }
    }
    outcome
}

fn check(messages: u32, probabilities: &[f64], losses: &[f64]) {
    for &wanted in probabilities {
        for &loss in losses {
            for (kind, model) in
                [("random", LossModel::random(loss)), ("bursty", LossModel::bursty(loss, 4.0))]
            {
                let outcome = simulate(model, wanted, messages, 42);
                let Outcome { allowed, short, .. } = &outcome;
                println!(
                    "p {wanted} at {:>2} % {kind}: {} messages arrived {:.5} (bound {:.5}); beyond \
                     the cap {} arrived {:.4}, told {}; overhead {:.1} %",
                    loss * 100.0,
                    allowed.sent,
                    allowed.ratio(),
                    allowed.lower_bound(),
                    short.sent,
                    short.ratio(),
                    outcome.told,
                    100.0 * outcome.repair as f64 / outcome.data as f64,
                );
                if allowed.sent > 0 {
                    assert!(allowed.lower_bound() >= wanted, "p {wanted}, {loss} {kind}");
                }
                if short.sent > 0 {
                    let told = f64::from(outcome.told) / f64::from(short.sent);
                    assert!(told > 0.99, "p {wanted}, {loss} {kind}: {told} were told");
                    let expected = outcome.expected / f64::from(short.sent);
                    assert!(short.ratio() > expected - 0.02, "expected {expected}");
                }
            }
        }
    }
}

#[test]
fn messages_arrive_as_often_as_promised_quick() {
    check(800, &[0.9], &[0.05, 0.2]);
    check(1_000, &[0.95], &[0.05]);
}

// Three tests, so that they take turns on as many cores.

#[test]
#[ignore = "heavy: 6 paths of 100,000 messages"]
fn nine_of_ten_messages_arrive_as_promised() {
    check(100_000, &[0.9], &[0.01, 0.05, 0.2]);
}

#[test]
#[ignore = "heavy: 6 paths of 100,000 messages"]
fn ninety_nine_of_a_hundred_messages_arrive_as_promised() {
    check(100_000, &[0.99], &[0.01, 0.05, 0.2]);
}

#[test]
#[ignore = "heavy: 6 paths of 100,000 messages"]
fn all_but_one_of_a_thousand_messages_arrive_as_promised() {
    check(100_000, &[0.999], &[0.01, 0.05, 0.2]);
}
