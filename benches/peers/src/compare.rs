//! Rounds that alternate between contenders, and what is made of their samples.

use crate::{How, Result, stage::Peer};

/// One figure that every run yields.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// What STT should reach.
    pub target: Option<Target>,
}

/// What a figure is measured by.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At least this many times the reference's figure.
    RatioAtLeast(f64),
    /// At most this many times the reference's figure.
    RatioAtMost(f64),
    /// At most this, in the metric's unit.
    AtMost(f64),
}

impl Metric {
    pub fn new(name: impl Into<String>, unit: &'static str, target: Option<Target>) -> Self {
        Self { name: name.into(), unit, target }
    }
}

/// Somebody who is measured: the name, and a run that yields one number for each metric.
pub struct Contender<'a> {
    pub peer: Peer,
    pub name: &'static str,
    pub run: Box<dyn FnMut() -> Result<Vec<f64>> + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(peer: Peer, name: &'static str, run: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self { peer, name, run: Box::new(run) }
    }
}

/// The samples of a comparison.
pub struct Comparison {
    pub title: String,
    pub metrics: Vec<Metric>,
    pub names: Vec<&'static str>,
    /// By contender, by metric, by round.
    pub samples: Vec<Vec<Vec<f64>>>,
}

/// Runs every contender once a round, in turns, after a round that warms up and is thrown away.
pub fn alternate(
    how: How,
    title: &str,
    metrics: Vec<Metric>,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Comparison> {
    contenders.retain(|contender| how.only.is_none_or(|only| only == contender.peer));
    let mut samples = vec![vec![Vec::new(); metrics.len()]; contenders.len()];
    let warm_up = usize::from(how.only.is_none());
    for round in 0..how.rounds() + warm_up {
        for turn in 0..contenders.len() {
            // Whoever goes second finds warmer or busier ground, so they take turns at it.
            let at = (turn + round) % contenders.len();
            let contender = &mut contenders[at];
            let figures = (contender.run)()
                .map_err(|error| format!("{title}, {}: {error}", contender.name))?;
            if round >= warm_up {
                for (series, figure) in samples[at].iter_mut().zip(figures) {
                    series.push(figure);
                }
            }
        }
    }
    let names = contenders.iter().map(|contender| contender.name).collect();
    Ok(Comparison { title: title.into(), metrics, names, samples })
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Of nothing, it is all zero.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share| quantile(&sorted, share);
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

/// The value below which `share` of the samples lie, between two of them if need be.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    sorted[below] * (1.0 - part) + sorted[above] * part
}

impl Comparison {
    /// The ratios of the first contender's figures to those of contender `other`, round by round.
    pub fn ratios(&self, other: usize, metric: usize) -> Vec<f64> {
        let pairs = self.samples[0][metric].iter().zip(&self.samples[other][metric]);
        pairs.map(|(ours, theirs)| ours / theirs).collect()
    }

    /// Whether the target of `metric` is met, if there is one. The reference is the second
    /// contender.
    pub fn met(&self, metric: usize) -> Option<bool> {
        let ratio = || (self.names.len() > 1).then(|| Spread::of(&self.ratios(1, metric)).median);
        match self.metrics[metric].target? {
            Target::RatioAtLeast(least) => Some(ratio()? >= least),
            Target::RatioAtMost(most) => Some(ratio()? <= most),
            Target::AtMost(most) => Some(Spread::of(&self.samples[0][metric]).median <= most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_samples() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(Spread::of(&[]).median, 0.0);
    }
}
