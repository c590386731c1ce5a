//! Sealing and opening piece by piece, for generators.
//!
//! The work runs on a thread that reads what it is fed and writes what it makes. The caller takes
//! turns with it: nothing happens ahead of who iterates but one piece.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::PyBytes,
};
use stc::{FileOptions, Header};
use zeroize::Zeroizing;

use crate::{
    blocking::LOOK,
    context::{Metadata, Secrets},
    failure::Failure,
    value,
};

#[derive(Default)]
struct State {
    /// What was fed and is not read, and how much of it is.
    input: Zeroizing<Vec<u8>>,
    read: usize,
    /// Somebody waits for input.
    hungry: bool,
    no_more: bool,
    output: Zeroizing<Vec<u8>>,
    stopped: bool,
    done: Option<Result<Header, Failure>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped() -> io::Error {
    io::Error::other("nobody iterates any more")
}

struct Input(Arc<Shared>);

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        loop {
            if state.stopped {
                return Err(stopped());
            }
            let rest = state.input.get(state.read..).unwrap_or_default();
            if !rest.is_empty() {
                let take = rest.len().min(into.len());
                let (from, to) = (rest.get(..take), into.get_mut(..take));
                if let (Some(from), Some(to)) = (from, to) {
                    to.copy_from_slice(from);
                }
                state.read += take;
                return Ok(take);
            }
            if state.no_more {
                return Ok(0);
            }
            state.hungry = true;
            self.0.changed.notify_all();
            state = self.0.wait(state);
        }
    }
}

struct Output(Arc<Shared>);

impl Write for Output {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        // What was made before is taken first.
        while !state.output.is_empty() && !state.stopped {
            state = self.0.wait(state);
        }
        if state.stopped {
            return Err(stopped());
        }
        state.output.extend_from_slice(from);
        self.0.changed.notify_all();
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Work on pieces. Dropped, it ends.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Pieces {
    shared: Arc<Shared>,
    /// A fork has no thread that works.
    process: u32,
}

impl Pieces {
    fn start(
        work: impl FnOnce(Input, Output) -> Result<Header, Failure> + Send + 'static,
    ) -> PyResult<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let run = move || {
            let done = work(Input(Arc::clone(&theirs)), Output(Arc::clone(&theirs)));
            theirs.lock().done = Some(done);
            theirs.changed.notify_all();
        };
        thread::Builder::new().name("stc pieces".to_owned()).spawn(run)?;
        Ok(Self { shared, process: std::process::id() })
    }

    pub(crate) fn seal(
        context: Arc<stc::Context>,
        secrets: Secrets,
        use_decoys: Option<bool>,
        chunk_len: u32,
    ) -> PyResult<Self> {
        Self::start(move |input, output| {
            let mut options = secrets.seal_options();
            if let Some(yes) = use_decoys {
                options = options.use_decoys(yes);
            }
            let files = FileOptions::new().chunk_len(chunk_len);
            Ok(context.encrypt_stream(input, None, output, &options, &files)?.metadata)
        })
    }

    pub(crate) fn open(
        context: Arc<stc::Context>,
        secrets: Secrets,
        header: Option<Header>,
    ) -> PyResult<Self> {
        Self::start(move |mut input, output| {
            let mut options = secrets.open_options();
            // With a header, what comes may or may not begin with that header.
            let expected = header.as_ref().map(Header::to_bytes).unwrap_or_default();
            let mut begun = vec![0; expected.len()];
            let got = read_up_to(&mut input, &mut begun)
                .map_err(|source| stc::OpenError::Io { what: "read the envelope", source })?;
            begun.truncate(got);
            if let Some(header) = &header {
                options = options.metadata(header);
                if begun == expected {
                    begun.clear();
                }
            }
            let all = io::Cursor::new(begun).chain(input);
            Ok(context.decrypt_stream(all, None, output, &options, &FileOptions::new())?.metadata)
        })
    }
}

/// Fills `into` unless the end comes first; how much there was.
fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

#[pymethods]
impl Pieces {
    /// What was made: bytes; None if it needs to be fed; the metadata at the end.
    fn pull(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if std::process::id() != self.process {
            return Err(PyRuntimeError::new_err("this was begun before the process was forked"));
        }
        loop {
            let shared = &self.shared;
            let ready = py.detach(|| {
                let mut state = shared.lock();
                if state.output.is_empty() && !state.hungry && state.done.is_none() {
                    let waited = shared.changed.wait_timeout(state, LOOK);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                !state.output.is_empty() || state.hungry || state.done.is_some()
            });
            if !ready {
                py.check_signals()?;
                continue;
            }
            let mut state = self.shared.lock();
            if !state.output.is_empty() {
                let output = std::mem::take(&mut state.output);
                drop(state);
                self.shared.changed.notify_all();
                return Ok(PyBytes::new(py, &output).into_any().unbind());
            }
            if let Some(done) = state.done.take() {
                drop(state);
                let header = done.map_err(|failure| failure.raise(py))?;
                return Ok(Py::new(py, Metadata::of(&header))?.into_any());
            }
            if state.hungry {
                return Ok(py.None());
            }
        }
    }

    /// Feeds it, after `pull` gave None: a piece, or None at the end.
    fn feed(&self, piece: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let piece = piece.map(value::buffer).transpose()?;
        let mut state = self.shared.lock();
        if state.done.is_some() {
            return Ok(());
        }
        if !state.hungry {
            return Err(PyRuntimeError::new_err("it is not hungry"));
        }
        match piece {
            Some(piece) if piece.is_empty() => return Ok(()),
            Some(piece) => {
                state.input = Zeroizing::new(piece);
                state.read = 0;
            }
            None => state.no_more = true,
        }
        state.hungry = false;
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }
}

/// Refuses a length that no chunk has, before anything starts.
pub(crate) fn check_chunk_len(chunk_len: u32) -> PyResult<u32> {
    if (1 << 16..=1 << 22).contains(&chunk_len) {
        return Ok(chunk_len);
    }
    Err(PyValueError::new_err("chunk_size is 65,536 to 4,194,304 bytes"))
}
