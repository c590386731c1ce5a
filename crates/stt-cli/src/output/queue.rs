//! Lines on their way to stdout and stderr.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use stt::transfer::printable;
use zeroize::Zeroizing;

/// Bytes that wait at most, give or take one line.
const ROOM: usize = 1 << 20;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// A line, or several; a seed may be among them.
pub(super) struct Line {
    to: Stream,
    text: Zeroizing<String>,
}

impl Line {
    /// For people. What a terminal could take for a command is replaced, wherever it came from.
    pub(super) fn new(to: Stream, text: &str) -> Self {
        let mut line = Zeroizing::new(String::with_capacity(text.len() + 1));
        for row in text.split('\n') {
            line.push_str(&Zeroizing::new(printable(row)));
            line.push('\n');
        }
        Self { to, text: line }
    }

    /// For machines: one JSON object.
    pub(super) fn json(text: &str) -> Self {
        let mut line = Zeroizing::new(String::with_capacity(text.len() + 1));
        line.push_str(text);
        line.push('\n');
        Self { to: Stream::Out, text: line }
    }

    fn write(&self) -> io::Result<()> {
        fn write(mut to: impl Write, text: &str) -> io::Result<()> {
            to.write_all(text.as_bytes())?;
            to.flush()
        }
        match self.to {
            Stream::Out => write(io::stdout().lock(), &self.text),
            Stream::Err => write(io::stderr().lock(), &self.text),
        }
    }
}

/// Lines, and the thread that writes them in their order.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// The system gave no thread; who prints writes.
    threadless: bool,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    /// Of `lines` and of the line that is being written.
    bytes: usize,
    /// The first failure of stdout, but for a reader that went away.
    failed: Option<io::Error>,
}

impl Queue {
    /// An empty queue and its thread.
    pub(super) fn start() -> Arc<Self> {
        let make = |threadless| {
            let (state, changed) = (Mutex::default(), Condvar::new());
            Arc::new(Self { state, changed, threadless })
        };
        let queue = make(false);
        let writing = Arc::clone(&queue);
        match thread::Builder::new().name("output".to_owned()).spawn(move || writing.write()) {
            Ok(_) => queue,
            Err(_) => make(true),
        }
    }

    /// Appends a line, after waiting for room.
    pub(super) fn push(&self, line: Line) {
        let mut state = self.state();
        while state.bytes >= ROOM {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.push_at_once(line);
    }

    /// Appends a line unless there is no room.
    pub(super) fn push_if_room(&self, line: Line) {
        if self.state().bytes < ROOM {
            self.push_at_once(line);
        }
    }

    /// Appends a line, room or no room.
    pub(super) fn push_at_once(&self, line: Line) {
        if self.threadless {
            let done = line.write();
            self.state().note(line.to, done);
            return;
        }
        let mut state = self.state();
        state.bytes += line.text.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Whether all is written.
    pub(super) fn is_idle(&self) -> bool {
        self.state().bytes == 0
    }

    /// Waits until all is written, or for so long; takes the first failure.
    pub(super) fn drain(&self, patience: Option<Duration>) -> Option<io::Error> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state();
        while state.bytes > 0 {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.failed.take()
    }

    /// What the thread does, until the process ends.
    fn write(&self) {
        let mut state = self.state();
        loop {
            let Some(line) = state.lines.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let done = line.write();
            state = self.state();
            state.bytes = state.bytes.saturating_sub(line.text.len());
            state.note(line.to, done);
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, to: Stream, done: io::Result<()>) {
        if let Err(error) = done
            && to == Stream::Out
            && error.kind() != ErrorKind::BrokenPipe
        {
            self.failed.get_or_insert(error);
        }
    }
}
