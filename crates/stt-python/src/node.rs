//! Nodes.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stt::{
    Admission, ConnectError, ConnectOptions, Event, EventEmitter, EventFilter, EventKind, Identity,
    Mode, NodeId, SendReport, SessionId, SharedSeed, StartError, Subscription,
    events::EmitterConfig,
};
use tokio::sync::{Mutex, mpsc};
use zeroize::Zeroizing;

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    session::Session,
    value,
};

/// Events that wait for Python. Beyond them the engine's own queues fill, which are bounded, too.
const EVENTS: usize = 1024;
/// Events that Python takes at once.
const EVENTS_AT_ONCE: usize = 64;
/// Events that are always forwarded. Messages are only if somebody wants to hear of them.
const FORWARDED: [EventFilter<'static>; 11] = [
    EventFilter::Kind(EventKind::SessionCreated),
    EventFilter::Kind(EventKind::SessionClosed),
    EventFilter::Kind(EventKind::PeerConnected),
    EventFilter::Kind(EventKind::PeerDisconnected),
    EventFilter::Kind(EventKind::RouteChanged),
    EventFilter::Kind(EventKind::HeartbeatMissed),
    EventFilter::Kind(EventKind::Error),
    EventFilter::Kind(EventKind::Warning),
    EventFilter::Named("session_suspended"),
    EventFilter::Named("session_resumed"),
    EventFilter::Named("session_given_up"),
];

/// A running node.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Node {
    inner: Held<Running>,
}

struct Running {
    node: stt::Node,
    events: Arc<Mutex<mpsc::Receiver<Arc<Event>>>>,
    sender: mpsc::Sender<Arc<Event>>,
    /// Dropped, nothing is forwarded any more.
    _forwarded: Vec<Subscription>,
    data: std::sync::Mutex<Option<Subscription>>,
}

/// Forwards these events.
fn forward<'a>(
    emitter: &EventEmitter,
    events: impl Into<EventFilter<'a>>,
    sender: &mpsc::Sender<Arc<Event>>,
) -> PyResult<Subscription> {
    let sender = sender.clone();
    let handler = move |event: Arc<Event>| {
        let sender = sender.clone();
        async move {
            // Nobody listens any more once the node is gone.
            let _ = sender.send(event).await;
        }
    };
    emitter.on(events, handler).map_err(|error| PyValueError::new_err(error.to_string()))
}

pub(crate) fn node_id(bytes: &[u8]) -> PyResult<NodeId> {
    let bytes = <[u8; NodeId::LEN]>::try_from(bytes)
        .map_err(|_| PyValueError::new_err(format!("a node id has {} bytes", NodeId::LEN)))?;
    Ok(NodeId::from_bytes(bytes))
}

pub(crate) fn session_id(bytes: &[u8]) -> PyResult<SessionId> {
    let bytes = <[u8; SessionId::LEN]>::try_from(bytes)
        .map_err(|_| PyValueError::new_err(format!("a session id has {} bytes", SessionId::LEN)))?;
    Ok(SessionId::from_bytes(bytes))
}

/// Seconds, as Python has them.
pub(crate) fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err("a time is a number of seconds, 0 or more"))
}

fn field(py: Python<'_>, value: &stt::Value) -> PyResult<Py<PyAny>> {
    Ok(match value {
        stt::Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any().unbind(),
        other => match (other.as_text(), other.as_int()) {
            (Some(text), _) => text.into_pyobject(py)?.into_any().unbind(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any().unbind(),
            (None, None) => py.None(),
        },
    })
}

/// What is given back for a message to many: how many took it, and why the others did not.
fn report(py: Python<'_>, report: SendReport) -> PyResult<Py<PyAny>> {
    let failed = PyList::empty(py);
    for (id, error) in report.failed {
        let error = Failure::from(error).raise(py).into_value(py);
        failed.append((PyBytes::new(py, id.as_bytes()), error))?;
    }
    let full: Vec<_> = report.full.iter().map(|id| PyBytes::new(py, id.as_bytes())).collect();
    Ok((report.sent, failed, full).into_pyobject(py)?.into_any().unbind())
}

fn connected(py: Python<'_>, made: Result<stt::Session, ConnectError>) -> PyResult<Py<PyAny>> {
    let session = made.or_raise(py)?;
    Ok(Py::new(py, Session::new(session))?.into_any())
}

/// What a node is started with.
struct Settings {
    seed: Zeroizing<Vec<u8>>,
    node_seed: Option<Zeroizing<Vec<u8>>>,
    identity_key: Option<stc::Key>,
    strict_seed: bool,
    emitter: EventEmitter,
    mode: Mode,
}

impl Settings {
    async fn start(
        self,
        with: impl FnOnce(stt::NodeBuilder) -> Result<stt::NodeBuilder, StartError>,
    ) -> Result<stt::Node, Failure> {
        let seed = self.seed;
        let seed = tokio::task::spawn_blocking(move || SharedSeed::from_bytes(&seed)).await;
        let seed = seed.map_err(|error| Failure::internal(&error))??;
        let mut builder =
            stt::Node::builder(seed).events(self.emitter).strict_seed(self.strict_seed);
        if let Some(node_seed) = &self.node_seed {
            builder = builder.node_seed(node_seed);
        }
        if let Some(key) = &self.identity_key {
            builder = builder.identity(Identity::from_key(key)?);
        }
        Ok(with(builder)?.start(self.mode).await?)
    }
}

/// Starts a node; gives it when it listens.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "Python names them")]
#[pyo3(signature = (
    reactor, seed, node_seed, identity_key, host, port, server_mode, chamber_path, websocket,
    persistent_identity, strict_seed, heartbeat, idle_timeout, max_sessions, max_streams,
    max_frame_size, low_memory, knock_log
))]
pub(crate) fn start_node(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    seed: &Bound<'_, PyAny>,
    node_seed: Option<&Bound<'_, PyAny>>,
    identity_key: Option<&Bound<'_, PyAny>>,
    host: String,
    port: u16,
    server_mode: bool,
    chamber_path: Option<PathBuf>,
    websocket: Option<&str>,
    persistent_identity: bool,
    strict_seed: bool,
    heartbeat: Option<f64>,
    idle_timeout: Option<f64>,
    max_sessions: Option<usize>,
    max_streams: Option<usize>,
    max_frame_size: Option<u64>,
    low_memory: bool,
    knock_log: Option<PathBuf>,
) -> PyResult<Py<PyAny>> {
    let runtime = bridge::engine()?;
    let seed = value::secret(Some(seed))?
        .ok_or_else(|| PyValueError::new_err("a shared seed is needed"))?;
    let node_seed = value::secret(node_seed)?;
    let identity_key = value::secret(identity_key)?
        .map(|key| {
            let key = Zeroizing::new(<[u8; 32]>::try_from(key.as_slice()).map_err(|_| {
                PyValueError::new_err("an identity_key is 32 random bytes, kept secret")
            })?);
            PyResult::Ok(stc::Key::from_bytes(*key))
        })
        .transpose()?;
    let websocket = websocket.map(SocketAddr::from_str).transpose().map_err(|_| {
        PyValueError::new_err("websocket is an address with a port: '0.0.0.0:9337'")
    })?;
    let (heartbeat, idle_timeout) =
        (heartbeat.map(seconds).transpose()?, idle_timeout.map(seconds).transpose()?);
    let emitter =
        EventEmitter::with_runtime(EmitterConfig::new(), runtime.handle().clone()).or_raise(py)?;
    let (sender, receiver) = mpsc::channel(EVENTS);
    let forwarded = FORWARDED
        .into_iter()
        .map(|events| forward(&emitter, events, &sender))
        .collect::<PyResult<Vec<_>>>()?;
    let mode = if server_mode { Mode::Server } else { Mode::Client };
    let settings = Settings { seed, node_seed, identity_key, strict_seed, emitter, mode };
    let with = move |mut builder: stt::NodeBuilder| {
        if low_memory {
            builder = builder.low_memory();
        }
        builder = builder.host(host).port(port).persistent_identity(persistent_identity);
        if let Some(path) = chamber_path {
            builder = builder.chamber_path(path);
        }
        if let Some(address) = websocket {
            builder = builder.websocket(address);
        }
        if let Some(path) = knock_log {
            builder = builder.knock_log(path);
        }
        if let Some(time) = heartbeat {
            builder = builder.heartbeat(time);
        }
        if let Some(time) = idle_timeout {
            builder = builder.idle_timeout(time);
        }
        if let Some(max) = max_sessions {
            builder = builder.max_sessions(max);
        }
        if let Some(max) = max_streams {
            builder = builder.max_streams(max);
        }
        if let Some(bytes) = max_frame_size {
            builder = builder.max_frame_size(bytes);
        }
        Ok(builder)
    };
    bridge::begin_detached(py, reactor, settings.start(with), move |py, started| {
        let node = started.map_err(|failure| failure.raise(py))?;
        let events = Arc::new(Mutex::new(receiver));
        let (_forwarded, data) = (forwarded, std::sync::Mutex::default());
        let inner = Held::new(Running { node, events, sender, _forwarded, data });
        Ok(Py::new(py, Node { inner })?.into_any())
    })
}

/// Whether a node signed this message for this purpose.
#[pyfunction]
pub(crate) fn verify_signature(
    node: &[u8],
    context: &str,
    message: &Bound<'_, PyAny>,
    signature: &[u8],
) -> PyResult<bool> {
    Ok(node_id(node)?.verifies(context, &value::buffer(message)?, signature))
}

/// The events of a node. They end with it.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Events {
    waiting: Arc<Mutex<mpsc::Receiver<Arc<Event>>>>,
}

#[pymethods]
impl Events {
    /// Names and what they carry, of at least one event; none at the end.
    fn next(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let waiting = Arc::clone(&self.waiting);
        let next = async move {
            let mut some = Vec::new();
            waiting.lock().await.recv_many(&mut some, EVENTS_AT_ONCE).await;
            some
        };
        bridge::begin(py, reactor, next, |py, events| {
            let list = PyList::empty(py);
            for event in events {
                let fields = PyDict::new(py);
                for (name, value) in &event.fields() {
                    fields.set_item(&**name, field(py, value)?)?;
                }
                list.append((event.name(), fields))?;
            }
            Ok(list.into_any().unbind())
        })
    }
}

impl Node {
    pub(crate) fn node(&self) -> PyResult<&stt::Node> {
        Ok(&self.inner.get()?.node)
    }
}

#[pymethods]
impl Node {
    #[getter]
    fn node_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.node()?.node_id().as_bytes()))
    }

    /// Host and port.
    #[getter]
    fn local_address(&self) -> PyResult<(String, u16)> {
        let address = self.node()?.local_addr();
        Ok((address.ip().to_string(), address.port()))
    }

    #[getter]
    fn websocket_address(&self) -> PyResult<Option<(String, u16)>> {
        let address = self.node()?.websocket_addr();
        Ok(address.map(|address| (address.ip().to_string(), address.port())))
    }

    #[getter]
    fn is_running(&self) -> PyResult<bool> {
        Ok(self.node()?.is_running())
    }

    /// Why the seed should be replaced, if it can be guessed.
    #[getter]
    fn seed_warning(&self) -> PyResult<Option<String>> {
        Ok(self.node()?.seed_warning().map(|warning| warning.to_string()))
    }

    fn set_accepting(&self, accepting: bool) -> PyResult<()> {
        self.node()?.set_accepting(accepting);
        Ok(())
    }

    /// Lets only these nodes have sessions, or all, but none of those that are denied.
    fn set_admission(&self, only: Option<Vec<Vec<u8>>>, deny: Vec<Vec<u8>>) -> PyResult<()> {
        let ids =
            |ids: Vec<Vec<u8>>| ids.iter().map(|id| node_id(id)).collect::<PyResult<Vec<_>>>();
        let mut admission = match only {
            Some(only) => Admission::only(ids(only)?),
            None => Admission::everyone(),
        };
        for id in ids(deny)? {
            admission = admission.deny(id);
        }
        let _inside = bridge::engine()?.enter();
        self.node()?.set_admission(admission);
        Ok(())
    }

    /// Whether messages are forwarded as events, too.
    fn want_data(&self, yes: bool) -> PyResult<()> {
        let running = self.inner.get()?;
        let mut data = running.data.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let emitter = running.node.events();
        if yes && data.is_none() {
            *data = Some(forward(emitter, EventKind::DataReceived, &running.sender)?);
        } else if !yes {
            drop(data.take());
        }
        Ok(())
    }

    fn connect_udp(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        host: String,
        port: u16,
        expect: Option<Vec<u8>>,
        timeout: f64,
    ) -> PyResult<Py<PyAny>> {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        self.connect(py, reactor, format!("udp://{host}:{port}"), expect, timeout)
    }

    fn connect(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        address: String,
        expect: Option<Vec<u8>>,
        timeout: f64,
    ) -> PyResult<Py<PyAny>> {
        let node = self.node()?.clone();
        let expect = expect.as_deref().map(node_id).transpose()?;
        let timeout = seconds(timeout)?;
        let dialling = async move {
            node.connect_with(&address, &ConnectOptions::new().expect(expect).timeout(timeout))
                .await
        };
        bridge::begin(py, reactor, dialling, connected)
    }

    /// The next session that a peer began; None once the node stopped.
    fn accept(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let node = self.node()?.clone();
        bridge::begin(py, reactor, async move { node.accept().await }, |py, session| {
            let session = session.map(|session| Py::new(py, Session::new(session))).transpose()?;
            Ok(session.into_pyobject(py)?.into_any().unbind())
        })
    }

    fn session(&self, id: &[u8]) -> PyResult<Option<Session>> {
        let Ok(id) = session_id(id) else { return Ok(None) };
        Ok(self.node()?.session(id).map(Session::new))
    }

    fn sessions(&self) -> PyResult<Vec<Session>> {
        Ok(self.node()?.sessions().into_iter().map(Session::new).collect())
    }

    /// The next message: session, stream, bytes. None once the node stopped.
    fn receive(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let node = self.node()?.clone();
        bridge::begin(py, reactor, async move { node.receive().await }, |py, packet| {
            let Some(packet) = packet else { return Ok(py.None()) };
            let parts = (
                PyBytes::new(py, packet.session_id.as_bytes()),
                packet.stream_id,
                PyBytes::new(py, &packet.data),
            );
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }

    fn send_to_all(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
        stream_id: u32,
    ) -> PyResult<Py<PyAny>> {
        let node = self.node()?.clone();
        let data = Bytes::from(value::buffer(data)?);
        let sending = async move { node.send_to_all_on(stream_id, data).await };
        bridge::begin(py, reactor, sending, report)
    }

    /// As `send_to_all`, but leaves out who does not read.
    fn try_send_to_all(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        stream_id: u32,
    ) -> PyResult<Py<PyAny>> {
        let _inside = bridge::engine()?.enter();
        let data = Bytes::from(value::buffer(data)?);
        report(py, self.node()?.try_send_to_all_on(stream_id, data))
    }

    fn send_to_sessions(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        ids: Vec<Vec<u8>>,
        data: &Bound<'_, PyAny>,
        stream_id: u32,
    ) -> PyResult<Py<PyAny>> {
        let node = self.node()?.clone();
        let data = Bytes::from(value::buffer(data)?);
        let ids = ids.iter().map(|id| session_id(id)).collect::<PyResult<Vec<_>>>()?;
        let sending = async move { node.send_to_sessions_on(&ids, stream_id, data).await };
        bridge::begin(py, reactor, sending, report)
    }

    /// Its events, without the node itself.
    fn events(&self) -> PyResult<Events> {
        Ok(Events { waiting: Arc::clone(&self.inner.get()?.events) })
    }

    /// Figures, with the names that the documents have for them.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.node()?.stats();
        let (wire, limits) = (&stats.udp_transport, &stats.limits);
        let udp = PyDict::new(py);
        for (name, count) in [
            ("bytes_sent", wire.bytes_sent),
            ("bytes_received", wire.bytes_received),
            ("packets_sent", wire.datagrams_sent),
            ("packets_received", wire.datagrams_received),
            ("errors_send", wire.send_errors),
            ("errors_receive", wire.receive_errors),
            ("handshakes_failed", wire.handshakes_failed),
        ] {
            udp.set_item(name, count)?;
        }
        let dropped = PyDict::new(py);
        for (why, count, _) in wire.dropped() {
            dropped.set_item(why, count)?;
        }
        udp.set_item("dropped", dropped)?;
        let sessions = PyDict::new(py);
        sessions.set_item("total", stats.sessions.total)?;
        sessions.set_item("active", stats.sessions.active)?;
        let held = PyDict::new(py);
        held.set_item("sessions_refused", limits.sessions_refused)?;
        held.set_item("streams_refused", limits.streams_refused)?;
        held.set_item("reads_held_up", limits.reads_held_up)?;
        held.set_item("send_windows_held_down", limits.send_windows_held_down)?;
        held.set_item("unread_bytes", limits.unread_bytes)?;
        held.set_item("half_open", limits.half_open)?;
        let dict = PyDict::new(py);
        dict.set_item("node_id", stats.node_id.to_string())?;
        dict.set_item("running", stats.running)?;
        dict.set_item("server_mode", stats.server_mode)?;
        dict.set_item("accepting_connections", stats.accepting_connections)?;
        dict.set_item("udp_transport", udp)?;
        dict.set_item("sessions", sessions)?;
        dict.set_item("websocket_connections", stats.websocket_connections)?;
        dict.set_item("limits", held)?;
        Ok(dict)
    }

    /// Signs with the node key, for a purpose.
    fn sign<'py>(
        &self,
        py: Python<'py>,
        context: &str,
        message: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let signature = self.node()?.sign(context, &value::buffer(message)?).or_raise(py)?;
        Ok(PyBytes::new(py, &signature))
    }

    /// Moves to another address; gives it with the port that it got.
    fn rebind(&self, py: Python<'_>, to: &str) -> PyResult<(String, u16)> {
        let to = SocketAddr::from_str(to)
            .map_err(|_| PyValueError::new_err("an address with a port is needed"))?;
        let _inside = bridge::engine()?.enter();
        let address = self.node()?.rebind(to).or_raise(py)?;
        Ok((address.ip().to_string(), address.port()))
    }

    /// Delivers what was sent for at most `patience` seconds, then closes every session.
    fn stop(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        patience: f64,
    ) -> PyResult<Py<PyAny>> {
        let node = self.node()?.clone();
        let patience = seconds(patience)?;
        let stopping = async move { node.stop_within(patience).await };
        bridge::begin_detached(py, reactor, stopping, |py, ()| Ok(py.None()))
    }
}
