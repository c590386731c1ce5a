//! Between the engine's futures and asyncio.
//!
//! A future is polled in the thread of the event loop that awaits it. Its waker puts a number into
//! the loop's [`Reactor`] and makes one end of a socket pair readable, which the loop watches. So
//! no thread of the engine ever touches Python: nothing waits for the interpreter's lock, nothing
//! happens while the interpreter ends, and what was received is taken by the coroutine that asked
//! for it or not at all.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tokio::runtime::{self, Runtime};

use crate::logs;

/// Stands in `Reactor.drain` for what the engine logged.
const LOGGED: u64 = 0;
/// How many calls may find their answer ready before the loop gets a turn.
const READY_AT_ONCE: u32 = 128;

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
static FORKED: AtomicBool = AtomicBool::new(false);
/// The loop that was made last: it hands on what the engine logs.
static LOGGING: Mutex<Weak<Queue>> = Mutex::new(Weak::new());

/// A panic in between leaves nothing half done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process is a fork of one whose engine ran: its threads are not here.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Whether nothing of the engine can be used any more, because this process was forked.
#[pyfunction(name = "is_forked")]
pub(crate) fn is_forked_child() -> bool {
    is_forked()
}

/// Raises in a forked child.
#[pyfunction]
pub(crate) fn check_not_forked() -> PyResult<()> {
    if is_forked() { engine().map(drop) } else { Ok(()) }
}

/// Called in a forked child.
#[pyfunction]
pub(crate) fn after_fork() {
    FORKED.store(RUNTIME.get().is_some(), Ordering::Relaxed);
}

/// The engine's threads, started by the first call that needs them.
pub(crate) fn engine() -> PyResult<&'static Runtime> {
    if is_forked() {
        return Err(PyRuntimeError::new_err(
            "this process was forked from one that used the network, whose threads are not here: use \
             multiprocessing with 'spawn' or 'forkserver', or fork before the first node starts",
        ));
    }
    let built = RUNTIME.get_or_init(|| {
        logs::begin();
        let mut builder = runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("stt").build().map_err(|error| error.to_string())
    });
    built.as_ref().map_err(|error| PyRuntimeError::new_err(error.clone()))
}

/// Something of the engine. In a forked child it is neither used nor dropped, since either may wait
/// for a thread that is not there.
#[derive(Debug)]
pub(crate) struct Held<T>(Option<T>);

impl<T> Held<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, in the process that made it.
    pub(crate) fn get(&self) -> PyResult<&T> {
        if is_forked() {
            engine()?;
        }
        self.0.as_ref().ok_or_else(|| PyRuntimeError::new_err("this object is gone"))
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if is_forked() {
            std::mem::forget(value);
            return;
        }
        let _inside = RUNTIME.get().and_then(|built| built.as_ref().ok()).map(Runtime::enter);
        drop(value);
    }
}

/// What became ready, for one event loop.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Reactor {
    queue: Arc<Queue>,
    reader: UnixStream,
}

struct Queue {
    woken: Mutex<Woken>,
    writer: UnixStream,
    next: AtomicU64,
    ready: AtomicU32,
}

#[derive(Default)]
struct Woken {
    ids: Vec<u64>,
    /// The socket pair holds a byte, or is about to.
    told: bool,
}

/// Tells a loop that something was logged.
pub(crate) fn logged() {
    let queue = lock(&LOGGING).upgrade();
    if let Some(queue) = queue {
        queue.push(LOGGED);
    }
}

impl Queue {
    fn push(&self, id: u64) {
        let first = {
            let mut woken = lock(&self.woken);
            woken.ids.push(id);
            !std::mem::replace(&mut woken.told, true)
        };
        if first {
            // It holds one byte at most, so it is never full.
            let _ = (&self.writer).write(&[1]);
        }
    }
}

#[pymethods]
impl Reactor {
    #[new]
    fn new() -> PyResult<Self> {
        engine()?;
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let queue = Arc::new(Queue {
            woken: Mutex::default(),
            writer,
            next: AtomicU64::new(LOGGED + 1),
            ready: AtomicU32::new(0),
        });
        *lock(&LOGGING) = Arc::downgrade(&queue);
        Ok(Self { queue, reader })
    }

    /// What the loop watches for reading.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Numbers of the operations that can go on; 0 if something was logged.
    fn drain(&self) -> PyResult<Vec<u64>> {
        self.queue.ready.store(0, Ordering::Relaxed);
        let mut woken = lock(&self.queue.woken);
        match (&self.reader).read(&mut [0; 16]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            _ => woken.told = false,
        }
        Ok(std::mem::take(&mut woken.ids))
    }
}

/// Makes what Python gets, in the loop's thread.
type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The waker of an operation.
struct Call {
    id: u64,
    queue: Arc<Queue>,
    /// Its number is in the queue.
    queued: AtomicBool,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(self.id);
        }
    }
}

/// Something that was begun and is not done. Dropping it gives it up.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Op {
    call: Arc<Call>,
    work: Mutex<Option<Held<Mutex<Work>>>>,
}

fn poll(call: &Arc<Call>, work: &mut Work) -> PyResult<Option<Answer>> {
    let _inside = engine()?.enter();
    call.queued.store(false, Ordering::Release);
    let waker = Waker::from(Arc::clone(call));
    match work.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(answer) => Ok(Some(answer)),
        Poll::Pending => Ok(None),
    }
}

#[pymethods]
impl Op {
    /// Its number in `Reactor.drain`.
    #[getter]
    fn id(&self) -> u64 {
        self.call.id
    }

    /// What came of it, or the operation itself while it is not done.
    fn poll(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let op = slf.get();
        let answer = {
            let mut place = lock(&op.work);
            let held = place
                .as_ref()
                .ok_or_else(|| PyRuntimeError::new_err("this operation is done already"))?;
            let polled = poll(&op.call, &mut lock(held.get()?))?;
            if polled.is_some() {
                *place = None;
            }
            polled
        };
        match answer {
            Some(answer) => answer(py),
            None => Ok(slf.clone().into_any().unbind()),
        }
    }

    /// Gives it up: a receiving one has taken nothing.
    fn cancel(&self) {
        *lock(&self.work) = None;
    }
}

/// Begins `future`: gives its answer, made by `convert`, if that is ready, and an [`Op`] otherwise.
pub(crate) fn begin<T: Send + 'static>(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    future: impl Future<Output = T> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    let queue = Arc::clone(&reactor.get().queue);
    let id = queue.next.fetch_add(1, Ordering::Relaxed);
    let call = Arc::new(Call { id, queue, queued: AtomicBool::new(false) });
    let mut work: Work = Box::pin(async move {
        let done = future.await;
        let answer: Answer = Box::new(move |py| convert(py, done));
        answer
    });
    if call.queue.ready.fetch_add(1, Ordering::Relaxed) < READY_AT_ONCE {
        if let Some(answer) = poll(&call, &mut work)? {
            return answer(py);
        }
    } else {
        // Too much was ready in a row: others have a turn first.
        call.wake_by_ref();
    }
    let work = Mutex::new(Some(Held::new(Mutex::new(work))));
    Ok(Py::new(py, Op { call, work })?.into_any())
}

/// As [`begin`], for work that goes on when nobody waits for it any more.
pub(crate) fn begin_detached<T: Send + 'static>(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    future: impl Future<Output = T> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    let task = engine()?.spawn(future);
    begin(py, reactor, task, move |py, done| {
        let done = done.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        convert(py, done)
    })
}
