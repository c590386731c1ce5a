//! Measuring: rounds of two sides in turn, the median of each, and how far the rounds spread.

use std::time::{Duration, Instant};

/// Rounds of each measurement.
pub(crate) const ROUNDS: usize = 9;

/// Seconds of the rounds, sorted.
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times.iter().map(Duration::as_secs_f64).collect())
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// From the fastest to the slowest round, over the median, in percent.
    pub(crate) fn spread(&self) -> f64 {
        100.0 * (self.0[self.0.len() - 1] - self.0[0]) / self.median()
    }
}

/// Times one side.
pub(crate) fn time(mut work: impl FnMut()) -> Rounds {
    work();
    Rounds::of((0..ROUNDS).map(|_| once(&mut work)).collect())
}

/// Times two sides in turn, so that a busy machine treats both alike.
pub(crate) fn against(mut ours: impl FnMut(), mut peer: impl FnMut()) -> (Rounds, Rounds) {
    ours();
    peer();
    let times: (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (once(&mut ours), once(&mut peer))).unzip();
    (Rounds::of(times.0), Rounds::of(times.1))
}

fn once(work: &mut impl FnMut()) -> Duration {
    let before = Instant::now();
    work();
    before.elapsed()
}

/// One line: nanoseconds for each of `count` operations.
pub(crate) fn print_each(what: &str, rounds: &Rounds, count: usize) {
    let each = rounds.median() * 1e9 / count as f64;
    println!("{what:<58} {each:>10.1} ns  spread {:>4.0} %", rounds.spread());
}

/// One line: MiB/s of `bytes`.
pub(crate) fn print_rate(what: &str, rounds: &Rounds, bytes: usize) {
    let rate = bytes as f64 / rounds.median() / f64::from(1 << 20);
    println!("{what:<58} {rate:>8.0} MiB/s  spread {:>4.0} %", rounds.spread());
}
