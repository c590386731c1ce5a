//! Work for which the calling thread waits, and can be interrupted by Ctrl-C.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};

/// How often a calling thread looks for Ctrl-C.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Bytes that take long enough to be worth a thread.
const LONG: usize = 8 << 20;

/// Whether work on so many bytes may take long, or a secret is stretched for it.
pub(crate) const fn is_long(bytes: usize, stretches: bool) -> bool {
    stretches || bytes >= LONG
}

/// Does `work` without the interpreter's lock; with `long`, on a thread of its own.
///
/// Ctrl-C then raises at once. A stretch cannot be stopped halfway: it goes on to its end, and
/// nobody gets what comes of it.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    if !long {
        return Ok(py.detach(work));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let run = move || {
        // Fails when the caller gave up.
        let _ = sender.send(work());
    };
    thread::Builder::new().name("stc work".to_owned()).spawn(run)?;
    wait(py, receiver, |done| Ok(Some(done)))
}

/// Takes what a thread of work says until `take` gives the result. Ctrl-C is looked for after each
/// piece of news, and while there is none.
pub(crate) fn wait<N: Send, T>(
    py: Python<'_>,
    news: Receiver<N>,
    mut take: impl FnMut(N) -> PyResult<Option<T>>,
) -> PyResult<T> {
    // A receiver cannot be shared with a detached closure, but it can be moved through it.
    let mut waiting = Some(news);
    while let Some(news) = waiting.take() {
        let (news, next) = py.detach(move || {
            let next = news.recv_timeout(LOOK);
            (news, next)
        });
        match next {
            Ok(next) => {
                if let Some(result) = take(next)? {
                    return Ok(result);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        py.check_signals()?;
        waiting = Some(news);
    }
    Err(PyRuntimeError::new_err("a worker thread ended without a result"))
}
