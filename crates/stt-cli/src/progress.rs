//! How far transfers are: a bar for people, lines for machines.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use stt::transfer::{Phase, Progress, ProgressHandler, printable};
use stt_gateway::proto::v1;
use stt_swarm::FetchProgress;

use crate::{commands::fetch, output::Output};

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

/// What both kinds of progress have.
struct Step {
    phase: Phase,
    name: String,
    done: u64,
    total: u64,
    /// What only one of them has, for machines.
    more: Map<String, Value>,
}

/// Shows a step.
type Shown = Box<dyn Fn(Step) + Send + Sync>;

/// Shows the progress of any number of transfers at once, each by its name.
pub(crate) fn handler(output: &Output) -> ProgressHandler {
    let show = shown(output);
    Arc::new(move |progress: Progress| {
        let Progress { phase, name, done, total, .. } = progress;
        show(Step { phase, name, done, total, more: Map::new() });
    })
}

/// Shows the progress of a fetch, and to machines the part of each provider.
pub(crate) fn of_fetch(output: &Output) -> impl Fn(FetchProgress) + Send + Sync + use<> {
    let (show, is_json) = (shown(output), output.is_json());
    move |progress: FetchProgress| {
        let FetchProgress { phase, name, done, total, providers, .. } = progress;
        let mut more = Map::new();
        if is_json {
            let providers: Vec<_> = providers.iter().map(fetch::Source::from).collect();
            more.insert("providers".into(), fetch::providers(&providers).into());
        }
        show(Step { phase, name, done, total, more });
    }
}

/// The same for a fetch of a running node.
pub(crate) fn of_fetch_by(output: &Output) -> impl Fn(v1::FetchProgress) + Send + Sync + use<> {
    let (show, is_json) = (shown(output), output.is_json());
    move |progress: v1::FetchProgress| {
        let phase = match progress.phase() {
            v1::FetchPhase::Checking => Phase::Checking,
            v1::FetchPhase::Done => Phase::Done,
            v1::FetchPhase::Moving | v1::FetchPhase::Unspecified => Phase::Moving,
        };
        let v1::FetchProgress { name, done, total, providers, .. } = progress;
        let mut more = Map::new();
        if is_json {
            let providers: Vec<_> = providers.into_iter().map(fetch::Source::from).collect();
            more.insert("providers".into(), fetch::providers(&providers).into());
        }
        show(Step { phase, name, done, total, more });
    }
}

fn shown(output: &Output) -> Shown {
    if output.is_json() {
        return lines(output.clone());
    }
    let all = MultiProgress::new();
    let (bars, output) = (Mutex::new(HashMap::<String, ProgressBar>::new()), output.clone());
    Box::new(move |progress: Step| {
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
        shown.set_message(format!("{doing}{} ", printable(&progress.name)));
        shown.set_position(progress.done);
    })
}

/// One JSON line now and then, and one at the end.
fn lines(output: Output) -> Shown {
    let last = Mutex::new(HashMap::<String, Instant>::new());
    Box::new(move |progress: Step| {
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
        let mut told = progress.more;
        told.insert("name".into(), progress.name.into());
        told.insert("phase".into(), phase.into());
        told.insert("done".into(), progress.done.into());
        told.insert("total".into(), progress.total.into());
        let value = json!({ "progress": told });
        if progress.phase == Phase::Done {
            output.json_line(&value);
        } else {
            output.passing_json_line(&value);
        }
    })
}
