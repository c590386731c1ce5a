//! How far transfers are: a bar for people, lines for machines.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
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
    styled(total)
}

fn styled(total: Option<u64>) -> ProgressBar {
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
    let (bars, output) = (Mutex::new(Bars::new(MultiProgress::new())), output.clone());
    Box::new(move |progress: Step| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        bars.show(&progress, || bar(&output, Some(progress.total)));
    })
}

/// The bars of all transfers, by name.
struct Bars {
    all: MultiProgress,
    shown: HashMap<String, (ProgressBar, Phase)>,
}

impl Bars {
    fn new(all: MultiProgress) -> Self {
        Self { all, shown: HashMap::new() }
    }

    fn show(&mut self, step: &Step, make: impl FnOnce() -> ProgressBar) {
        if step.phase == Phase::Done {
            if let Some((bar, _)) = self.shown.remove(&step.name) {
                bar.finish_and_clear();
            }
            return;
        }
        let doing = if step.phase == Phase::Checking { "checking " } else { "" };
        let message = format!("{doing}{} ", printable(&step.name));
        let begin = |bar: &ProgressBar| {
            bar.set_message(message);
            bar.set_position(step.done);
            // What was there before, or was checked and not moved, must not count as speed.
            bar.reset_eta();
        };
        if let Some((bar, phase)) = self.shown.get_mut(&step.name) {
            if std::mem::replace(phase, step.phase) == step.phase {
                bar.set_position(step.done);
            } else {
                begin(bar);
            }
            return;
        }
        // Drawn only when it says whose it is.
        let bar = make();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        begin(&bar);
        self.shown.insert(step.name.clone(), (self.all.add(bar), step.phase));
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use std::{io, thread::sleep};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that remembers what was written.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_transfer_that_goes_on_is_named_at_once_and_counts_only_what_it_moves() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let mut bars = Bars::new(MultiProgress::with_draw_target(target));
        let total = 1_500_000_000;
        let mut show = |phase, done| {
            let step = Step { phase, name: "film".into(), done, total, more: Map::new() };
            bars.show(&step, || styled(Some(total)));
            sleep(Duration::from_millis(60));
        };
        show(Phase::Checking, 900_000_000);
        show(Phase::Checking, 1_000_000_000);
        show(Phase::Moving, 1_001_000_000);
        show(Phase::Moving, 1_002_000_000);
        show(Phase::Moving, 1_003_000_000);
        let drawn = screen.0.lock().unwrap().concat();
        let lines: Vec<&str> = drawn.split_inclusive("left").collect();
        let mut lines: Vec<&str> = lines.into_iter().filter(|line| line.contains('[')).collect();
        assert!(lines.len() >= 3, "{drawn:?}");
        for line in &lines {
            assert!(line.contains("film"), "{line:?}");
        }
        lines.retain(|line| !line.contains("checking"));
        assert!(!lines.is_empty(), "{drawn:?}");
        for line in lines {
            let speed = line.split("MB  ").nth(1).or_else(|| line.split("GB  ").nth(1)).unwrap();
            let number: f64 = speed.split(' ').next().unwrap().parse().unwrap();
            assert!(number < 200.0 || speed.contains("kB/s"), "{line:?}");
        }
    }
}
