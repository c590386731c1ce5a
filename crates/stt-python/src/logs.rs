//! What the engine logs, on its way to Python's `logging`.
//!
//! The engine's threads put it into a bounded queue and wake an event loop, which hands it on: no
//! thread ever waits for the interpreter's lock while it logs.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::bridge;

/// Records that may wait; beyond them the oldest are dropped, and counted.
const MOST: usize = 1024;
/// Longest text, in bytes.
const LONGEST: usize = 4096;

static WAITING: Mutex<VecDeque<Record>> = Mutex::new(VecDeque::new());
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Python's number of the level, where it comes from, and the text.
type Record = (u8, &'static str, String);

/// Collects what an event says.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.len() > LONGEST {
            return;
        }
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

struct Forward;

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::INFO
            && metadata.target().starts_with("stt")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            _ => 20,
        };
        {
            let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() == MOST {
                waiting.pop_front();
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            waiting.push_back((level, event.metadata().target(), text.0));
        }
        bridge::logged();
    }
}

/// Begins to forward. Called when the engine starts.
pub(crate) fn begin() {
    // It fails only if this was called before.
    let _ = tracing::subscriber::set_global_default(Forward);
}

/// What was logged since the last call, and how many records were dropped.
#[pyfunction]
pub(crate) fn take_logs() -> (Vec<Record>, u64) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    (std::mem::take(&mut *waiting).into(), DROPPED.swap(0, Ordering::Relaxed))
}

/// Logs a text from a thread of the engine, and waits for it without giving the interpreter's lock
/// away. For the tests: it would never return if logging needed that lock.
#[pyfunction]
pub(crate) fn log_from_the_engine(text: String, times: usize) -> PyResult<()> {
    let (done, finished) = mpsc::channel();
    bridge::engine()?.spawn(async move {
        for number in 0..times {
            tracing::warn!(target: "stt_python", number, "{text}");
        }
        // The caller waits.
        let _ = done.send(());
    });
    finished.recv().map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
