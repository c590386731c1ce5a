//! Managed streams.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stt_streams::{
    BidirectionalStream, ErrorClass, ManagedStats, ManagerLimits, StreamConfig, StreamEvent,
    StreamEventKind, StreamManager, StreamMultiplexer, StreamsError, SttConnector, SttTransport,
};
use tokio::sync::{Mutex, broadcast};

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    node::{Node, seconds},
    session, value,
};

/// Events that Python takes at once.
const EVENTS_AT_ONCE: usize = 64;

type Done<T> = Result<T, StreamsError>;

fn nothing(py: Python<'_>, done: Done<()>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

/// An error that is handed out, not raised.
fn as_value(py: Python<'_>, error: StreamsError) -> Py<PyAny> {
    Failure::from(error).raise(py).into_value(py).into_any()
}

const fn class(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "transient",
        ErrorClass::Permanent => "permanent",
        ErrorClass::Timeout => "timeout",
        ErrorClass::ResourceExhausted => "resource_exhausted",
    }
}

/// The fields that the documents print.
pub(crate) fn stats<'py>(py: Python<'py>, stats: &ManagedStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", &stats.id)?;
    dict.set_item("buffer_size", stats.buffer_size)?;
    dict.set_item("max_buffer", stats.max_buffer)?;
    dict.set_item("retry_count", stats.retry_count)?;
    dict.set_item("last_activity", &stats.last_activity)?;
    dict.set_item("backpressure", stats.backpressure)?;
    dict.set_item("healthy", stats.healthy)?;
    dict.set_item("uptime", &stats.uptime)?;
    Ok(dict)
}

/// Makes streams and ends them.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Manager {
    inner: Held<StreamManager>,
}

impl Manager {
    pub(crate) fn manager(&self) -> PyResult<&StreamManager> {
        self.inner.get()
    }
}

#[pymethods]
impl Manager {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn new(
        py: Python<'_>,
        buffer_size: usize,
        max_retries: u32,
        retry_delay: f64,
        backpressure_limit: usize,
        heartbeat_interval: f64,
        timeout: f64,
        memory_limit: usize,
        max_message_size: usize,
        auto_acknowledge: bool,
        lossy: bool,
        max_streams: usize,
        total_memory_limit: usize,
    ) -> PyResult<Self> {
        let config = StreamConfig::new()
            .buffer_size(buffer_size)
            .max_retries(max_retries)
            .retry_delay(seconds(retry_delay)?)
            .backpressure_limit(backpressure_limit)
            .heartbeat_interval(seconds(heartbeat_interval)?)
            .timeout(seconds(timeout)?)
            .memory_limit(memory_limit)
            .max_message_size(max_message_size)
            .auto_acknowledge(auto_acknowledge)
            .lossy(lossy);
        let limits = ManagerLimits::new().max_streams(max_streams).memory_limit(total_memory_limit);
        let inner = Held::new(StreamManager::with_limits(config, limits).or_raise(py)?);
        Ok(Self { inner })
    }

    /// A stream inside this process, or over one of a session.
    fn create(
        &self,
        py: Python<'_>,
        id: &str,
        over: Option<&session::Stream>,
    ) -> PyResult<Managed> {
        let manager = self.manager()?;
        let _inside = bridge::engine()?.enter();
        let stream = match over {
            Some(over) => manager.create_stream_over(id, SttTransport::new(over.stream()?.clone())),
            None => manager.create_stream(id),
        };
        Ok(Managed::new(stream.or_raise(py)?))
    }

    /// A stream that connects a node to an address by itself.
    fn connect(&self, py: Python<'_>, id: &str, node: &Node, address: String) -> PyResult<Managed> {
        let connector = SttConnector::new(node.node()?.clone(), address);
        let _inside = bridge::engine()?.enter();
        Ok(Managed::new(self.manager()?.connect_stream(id, connector).or_raise(py)?))
    }

    /// A peer's stream, or None if it goes on with one that is here.
    fn accept(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        over: &session::Stream,
        prefix: String,
    ) -> PyResult<Py<PyAny>> {
        let manager = self.manager()?.clone();
        let transport = SttTransport::new(over.stream()?.clone());
        let accepting = async move { manager.accept_under(&prefix, transport).await };
        bridge::begin(py, reactor, accepting, |py, taken| {
            let Some(stream) = taken.or_raise(py)? else { return Ok(py.None()) };
            Ok(Py::new(py, Managed::new(stream.stream().clone()))?.into_any())
        })
    }

    fn get(&self, py: Python<'_>, id: &str) -> PyResult<Managed> {
        Ok(Managed::new(self.manager()?.get_stream(id).or_raise(py)?))
    }

    fn list(&self) -> PyResult<Vec<Managed>> {
        Ok(self.manager()?.list_streams().into_iter().map(Managed::new).collect())
    }

    fn close_stream(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: String,
    ) -> PyResult<Py<PyAny>> {
        let manager = self.manager()?.clone();
        let closing = async move { manager.close_stream(&id).await };
        bridge::begin_detached(py, reactor, closing, nothing)
    }

    /// How many did not confirm.
    fn close_all(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let manager = self.manager()?.clone();
        let closing = async move { manager.close_all_streams().await };
        bridge::begin_detached(py, reactor, closing, |py, left| left.into_py_any(py))
    }

    /// Whether everything ended in order.
    fn shutdown(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        within: f64,
    ) -> PyResult<Py<PyAny>> {
        let (manager, within) = (self.manager()?.clone(), seconds(within)?);
        let ending = async move { manager.shutdown(within).await };
        bridge::begin_detached(py, reactor, ending, |py, orderly| orderly.into_py_any(py))
    }

    fn events(&self) -> PyResult<ManagedEvents> {
        let events = Arc::new(Mutex::new(self.manager()?.events()));
        Ok(ManagedEvents { events: Held::new(events) })
    }

    /// Bytes that all streams hold.
    #[getter]
    fn memory(&self) -> PyResult<usize> {
        Ok(self.manager()?.memory())
    }
}

/// What happens to the streams of a manager.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct ManagedEvents {
    events: Held<Arc<Mutex<broadcast::Receiver<StreamEvent>>>>,
}

type Told = Result<StreamEvent, u64>;

async fn told(events: Arc<Mutex<broadcast::Receiver<StreamEvent>>>) -> Vec<Told> {
    use broadcast::error::{RecvError, TryRecvError};
    let mut events = events.lock().await;
    let mut some = match events.recv().await {
        Ok(event) => vec![Ok(event)],
        Err(RecvError::Lagged(missed)) => vec![Err(missed)],
        Err(RecvError::Closed) => return Vec::new(),
    };
    while some.len() < EVENTS_AT_ONCE {
        match events.try_recv() {
            Ok(event) => some.push(Ok(event)),
            Err(TryRecvError::Lagged(missed)) => some.push(Err(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    some
}

/// A word, and what belongs to it.
fn event<'py>(
    py: Python<'py>,
    kind: StreamEventKind,
) -> PyResult<(&'static str, Bound<'py, PyDict>)> {
    let fields = PyDict::new(py);
    let word = match kind {
        StreamEventKind::Created => "created",
        StreamEventKind::Connected => "connected",
        StreamEventKind::Disconnected { class: of, cause } => {
            fields.set_item("class", class(of))?;
            fields.set_item("cause", cause)?;
            "disconnected"
        }
        StreamEventKind::Retry { retry, delay, cause } => {
            fields.set_item("retry", retry)?;
            fields.set_item("delay", delay.as_secs_f64())?;
            fields.set_item("cause", cause)?;
            "retry"
        }
        StreamEventKind::Breaker(state) => {
            fields.set_item("state", state.to_string())?;
            "breaker"
        }
        StreamEventKind::BackpressureOn(of) => {
            fields.set_item("trigger", of.to_string())?;
            "backpressure_on"
        }
        StreamEventKind::BackpressureOff => "backpressure_off",
        StreamEventKind::Pace { slower } => {
            fields.set_item("slower", slower)?;
            "pace"
        }
        StreamEventKind::Dropped { messages } => {
            fields.set_item("messages", messages)?;
            "dropped"
        }
        StreamEventKind::HeartbeatMissed { missed } => {
            fields.set_item("missed", missed)?;
            "heartbeat_missed"
        }
        StreamEventKind::Health { healthy } => {
            fields.set_item("healthy", healthy)?;
            "health"
        }
        StreamEventKind::Ended { cause } => {
            fields.set_item("cause", cause)?;
            "ended"
        }
        _ => "other",
    };
    Ok((word, fields))
}

#[pymethods]
impl ManagedEvents {
    /// Stream, word and fields of each, or how many were missed; none at the end.
    fn next(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let events = Arc::clone(self.events.get()?);
        bridge::begin(py, reactor, told(events), |py, some| {
            let list = PyList::empty(py);
            for one in some {
                match one {
                    Ok(StreamEvent { stream, kind, .. }) => {
                        let (word, fields) = event(py, kind)?;
                        list.append((&*stream, word, fields))?;
                    }
                    Err(missed) => list.append(missed)?,
                }
            }
            Ok(list.into_any().unbind())
        })
    }
}

/// A managed stream.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Managed {
    inner: Held<stt_streams::ManagedStream>,
}

impl Managed {
    const fn new(stream: stt_streams::ManagedStream) -> Self {
        Self { inner: Held::new(stream) }
    }
}

fn message(data: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    Ok(Bytes::from(value::buffer(data)?))
}

fn messages(data: Vec<Bound<'_, PyAny>>) -> PyResult<Vec<Bytes>> {
    data.iter().map(message).collect()
}

#[pymethods]
impl Managed {
    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.inner.get()?.id().to_owned())
    }

    /// Queues a message; waits while there is backpressure.
    fn send(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let (stream, data) = (self.inner.get()?.clone(), message(data)?);
        bridge::begin(py, reactor, async move { stream.send_message(data).await }, nothing)
    }

    fn try_send(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner.get()?.try_send_message(message(data)?).or_raise(py)
    }

    fn send_error(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        text: String,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { stream.send_error(&text).await }, nothing)
    }

    fn send_batch(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let (stream, data) = (self.inner.get()?.clone(), messages(data)?);
        bridge::begin(py, reactor, async move { stream.send_batch(&data).await }, nothing)
    }

    /// How many were queued.
    fn try_send_batch(&self, py: Python<'_>, data: Vec<Bound<'_, PyAny>>) -> PyResult<usize> {
        self.inner.get()?.try_send_batch(&messages(data)?).or_raise(py)
    }

    fn receive(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { stream.receive_message().await }, |py, data| {
            Ok(PyBytes::new(py, &data.or_raise(py)?).into_any().unbind())
        })
    }

    /// The next message, or None if none is there.
    fn try_receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let data = self.inner.get()?.try_receive_message().or_raise(py)?;
        Ok(data.map(|data| PyBytes::new(py, &data)))
    }

    fn receive_many(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        most: usize,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { stream.receive_many(most).await }, |py, some| {
            let some = some.or_raise(py)?;
            let some = some.iter().map(|data| PyBytes::new(py, data));
            Ok(PyList::new(py, some.collect::<Vec<_>>())?.into_any().unbind())
        })
    }

    /// Acknowledges the oldest message that was received; whether there was one.
    fn acknowledge(&self) -> PyResult<bool> {
        Ok(BidirectionalStream::from(self.inner.get()?.clone()).acknowledge())
    }

    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin_detached(py, reactor, async move { stream.close().await }, nothing)
    }

    fn abort(&self) -> PyResult<()> {
        self.inner.get()?.abort();
        Ok(())
    }

    /// The exception that says why it ended, or None.
    fn ended(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.inner.get()?.ended().map(|error| as_value(py, error)))
    }

    #[getter]
    fn is_healthy(&self) -> PyResult<bool> {
        Ok(self.inner.get()?.is_healthy())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, &self.inner.get()?.get_stats())
    }

    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metrics = self.inner.get()?.metrics();
        let dict = PyDict::new(py);
        for (name, count) in [
            ("sent", metrics.sent),
            ("received", metrics.received),
            ("consumed", metrics.consumed),
            ("dropped", metrics.dropped),
            ("transient_errors", metrics.transient_errors),
            ("permanent_errors", metrics.permanent_errors),
            ("timeout_errors", metrics.timeout_errors),
            ("resource_errors", metrics.resource_errors),
        ] {
            dict.set_item(name, count)?;
        }
        dict.set_item("outbound_bytes", metrics.outbound_bytes)?;
        dict.set_item("inbound_bytes", metrics.inbound_bytes)?;
        dict.set_item("backpressure", metrics.backpressure.map(|trigger| trigger.to_string()))?;
        dict.set_item("backpressure_time", metrics.backpressure_time.as_secs_f64())?;
        dict.set_item("breaker", metrics.breaker.map(|state| state.to_string()))?;
        Ok(dict)
    }

    /// Messages that may be under way, and that may still be sent.
    fn window(&self) -> PyResult<(usize, usize)> {
        let window = self.inner.get()?.flow_control();
        Ok((window.window_size(), window.current_window()))
    }
}

/// Streams under names.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Multiplexer {
    inner: Held<StreamMultiplexer>,
}

#[pymethods]
impl Multiplexer {
    #[new]
    fn new() -> Self {
        Self { inner: Held::new(StreamMultiplexer::new()) }
    }

    fn add(&self, py: Python<'_>, id: &str, stream: &Managed) -> PyResult<()> {
        self.inner.get()?.add_stream(id, stream.inner.get()?.clone()).or_raise(py)
    }

    fn remove(&self, py: Python<'_>, id: &str) -> PyResult<Managed> {
        Ok(Managed::new(self.inner.get()?.remove_stream(id).or_raise(py)?))
    }

    fn get(&self, py: Python<'_>, id: &str) -> PyResult<Managed> {
        Ok(Managed::new(self.inner.get()?.get_stream(id).or_raise(py)?))
    }

    /// By stream: None, or the exception that says why it did not take it.
    fn broadcast<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (id, sent) in self.inner.get()?.broadcast_message(message(data)?) {
            dict.set_item(id, sent.err().map(|error| as_value(py, error)))?;
        }
        Ok(dict)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (id, one) in &self.inner.get()?.get_stats() {
            dict.set_item(id, stats(py, one)?)?;
        }
        Ok(dict)
    }
}
