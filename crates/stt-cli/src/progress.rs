//! How far transfers are: a bar for people, lines for machines.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use stt::transfer::{Phase, Progress, ProgressHandler};

use crate::output::Output;

/// How often machines hear of progress.
const EVERY: Duration = Duration::from_millis(100);

/// A bar for work on so many bytes, a spinner when that is not known, and nothing where no person
/// watches.
pub(crate) fn bar(output: &Output, total: Option<u64>) -> ProgressBar {
    if !output.is_interactive() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{msg}[{bar:30}] {decimal_bytes} of {decimal_total_bytes}  \
             {decimal_bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::no_length(), "{spinner} {decimal_bytes}  {decimal_bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Shows the progress of any number of transfers at once, each by its name.
pub(crate) fn handler(output: &Output) -> ProgressHandler {
    if output.is_json() {
        return lines(output.clone());
    }
    let all = MultiProgress::new();
    let (bars, output) = (Mutex::new(HashMap::<String, ProgressBar>::new()), output.clone());
    Arc::new(move |progress: Progress| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.phase == Phase::Done {
            if let Some(bar) = bars.remove(&progress.name) {
                bar.finish_and_clear();
            }
            return;
        }
        let shown = bars.entry(progress.name.clone()).or_insert_with(|| {
            let bar = all.add(bar(&output, Some(progress.total)));
            // What an earlier attempt did must not count as speed.
            bar.set_position(progress.done);
            bar.reset_eta();
            bar
        });
        let doing = if progress.phase == Phase::Checking { "checking " } else { "" };
        shown.set_message(format!("{doing}{} ", progress.name));
        shown.set_position(progress.done);
    })
}

/// One JSON line now and then, and one at the end.
fn lines(output: Output) -> ProgressHandler {
    let last = Mutex::new(HashMap::<String, Instant>::new());
    Arc::new(move |progress: Progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.phase == Phase::Done {
            last.remove(&progress.name);
        } else {
            let due = last.get(&progress.name).is_none_or(|at| at.elapsed() >= EVERY);
            if !due {
                return;
            }
            last.insert(progress.name.clone(), Instant::now());
        }
        let phase = match progress.phase {
            Phase::Checking => "checking",
            Phase::Done => "done",
            _ => "moving",
        };
        let value = json!({
            "progress": {
                "name": progress.name,
                "phase": phase,
                "done": progress.done,
                "total": progress.total,
            }
        });
        if progress.phase == Phase::Done {
            output.json_line(&value);
        } else {
            output.passing_json_line(&value);
        }
    })
}
