//! Tables for people, JSON for programs.

use serde_json::{Value, json};

use crate::compare::{Comparison, Spread, Target};

/// Takes comparisons as they are done.
pub struct Report {
    /// Instead of tables.
    json: Option<Vec<Value>>,
}

impl Report {
    pub fn new(json: bool) -> Self {
        let report = Self { json: json.then(Vec::new) };
        if report.json.is_none() {
            println!("STT against quinn {QUINN} + rustls {RUSTLS}, AES-256-GCM of aws-lc-rs");
            println!("median [quartiles]; ratio = STT / peer, median [quartiles] of the rounds");
        }
        report
    }

    pub fn add(&mut self, comparison: &Comparison) {
        match &mut self.json {
            Some(all) => all.push(as_json(comparison)),
            None => print(comparison),
        }
    }

    /// Something worth knowing beside the figures.
    pub fn note(&mut self, note: &str) {
        if self.json.is_none() {
            println!("  {note}");
        }
    }

    pub fn finish(self) {
        if let Some(all) = self.json {
            println!("{}", json!({ "quinn": QUINN, "rustls": RUSTLS, "comparisons": all }));
        }
    }
}

/// The peer's version, as Cargo.toml pins it.
const QUINN: &str = "0.11.12";
/// Its TLS.
const RUSTLS: &str = "0.23";

fn print(comparison: &Comparison) {
    println!("\n{} ({} rounds)", comparison.title, rounds(comparison));
    for (at, metric) in comparison.metrics.iter().enumerate() {
        for (contender, name) in comparison.names.iter().enumerate() {
            let spread = Spread::of(&comparison.samples[contender][at]);
            let figure = format!(
                "{:>9} [{} to {}] {}",
                number(spread.median),
                number(spread.low),
                number(spread.high),
                metric.unit
            );
            let ratio = if contender == 0 {
                verdict(comparison, at)
            } else {
                let ratio = Spread::of(&comparison.ratios(contender, at));
                format!("ratio {:.2} [{:.2} to {:.2}]", ratio.median, ratio.low, ratio.high)
            };
            let label = if contender == 0 { metric.name.as_str() } else { "" };
            println!("  {label:<28} {name:<26} {figure:<44} {ratio}");
        }
    }
}

fn verdict(comparison: &Comparison, metric: usize) -> String {
    let Some(met) = comparison.met(metric) else { return String::new() };
    let wanted = match comparison.metrics[metric].target {
        Some(Target::RatioAtLeast(least)) => format!("ratio at least {least}"),
        Some(Target::RatioAtMost(most)) => format!("ratio at most {most}"),
        Some(Target::AtMost(most)) => format!("at most {most}"),
        None => return String::new(),
    };
    format!("target {wanted}: {}", if met { "met" } else { "NOT met" })
}

fn rounds(comparison: &Comparison) -> usize {
    comparison.samples.first().and_then(|series| series.first()).map_or(0, Vec::len)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000_000.0 => format!("{:.2} M", value / 1_000_000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn as_json(comparison: &Comparison) -> Value {
    let metrics = comparison.metrics.iter().enumerate().map(|(at, metric)| {
        let contenders = comparison.names.iter().enumerate().map(|(contender, name)| {
            let samples = &comparison.samples[contender][at];
            let spread = Spread::of(samples);
            json!({
                "name": name,
                "median": spread.median,
                "quartiles": [spread.low, spread.high],
                "ratio": (contender > 0)
                    .then(|| Spread::of(&comparison.ratios(contender, at)).median),
                "samples": samples,
            })
        });
        json!({
            "name": metric.name,
            "unit": metric.unit,
            "met": comparison.met(at),
            "contenders": contenders.collect::<Vec<_>>(),
        })
    });
    json!({ "title": comparison.title, "metrics": metrics.collect::<Vec<_>>() })
}
