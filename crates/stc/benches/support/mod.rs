//! Medians, spreads and ratios.
#![allow(dead_code, unreachable_pub, reason = "shared by programs that use parts of it")]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "programs that print figures")]

use std::time::{Duration, Instant};

/// Seconds that `work` takes.
pub fn time(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// Median, smallest and largest.
pub struct Sample {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Sample {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }
}

/// A name, and what runs it and gives the seconds.
pub type Candidate<'a> = (&'a str, Box<dyn FnMut() -> f64 + 'a>);

/// Runs all candidates in turns, `rounds` times, so that whatever else the machine does meets all of
/// them. Gives seconds per run.
pub fn alternate(rounds: usize, candidates: &mut [Candidate<'_>]) -> Vec<Sample> {
    let mut values = vec![Vec::new(); candidates.len()];
    for _ in 0..rounds {
        for ((_, run), values) in candidates.iter_mut().zip(&mut values) {
            values.push(run());
        }
    }
    values.into_iter().map(Sample::of).collect()
}

/// One line per candidate: rate, spread, and the ratios to the first: of the medians, and of the
/// best runs, which other programs on the machine disturb least.
pub fn report(title: &str, bytes: f64, names: &[&str], samples: &[Sample]) {
    println!("\n{title}");
    let (first, best) =
        samples.first().map_or((f64::NAN, f64::NAN), |sample| (sample.median, sample.least));
    for (name, sample) in names.iter().zip(samples) {
        let rate = |seconds: f64| bytes / seconds / 1024.0 / 1024.0;
        println!(
            "  {name:<44} {:>9.0} MiB/s ({:.0} to {:.0})  {:>7.3} x (best runs {:.3} x)",
            rate(sample.median),
            rate(sample.most),
            rate(sample.least),
            first / sample.median,
            best / sample.least
        );
    }
}

/// A duration with three digits.
pub fn short(seconds: f64) -> String {
    format!("{:.3?}", Duration::from_secs_f64(seconds))
}
