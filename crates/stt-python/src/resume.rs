//! Sessions that go on after a cut, and after the end of a process.

use std::path::PathBuf;

use bytes::Bytes;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};
use stt::resume::{
    Continuity as Inner, ResumableSession, ResumeError, ResumeOptions, ResumeState, ResumedMessage,
};

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    node::{Node, node_id, seconds},
    session::Session,
    value,
};

/// Resumable sessions of a node.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Continuity {
    inner: Held<Inner>,
}

fn session(py: Python<'_>, session: ResumableSession) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Resumable { inner: Held::new(session) })?.into_any())
}

/// Position, stream and bytes.
fn message<'py>(py: Python<'py>, one: &ResumedMessage) -> PyResult<Bound<'py, PyAny>> {
    Ok((one.position, one.stream, PyBytes::new(py, &one.data)).into_pyobject(py)?.into_any())
}

/// Lifetime in seconds, unacknowledged and unread bytes, longest message, sessions, those of a
/// peer.
type Settings = (f64, usize, usize, usize, usize, usize);

fn options(settings: Settings) -> PyResult<ResumeOptions> {
    let (lifetime, unacknowledged, unread, max_message, sessions, sessions_per_peer) = settings;
    Ok(ResumeOptions::new()
        .lifetime(seconds(lifetime)?)
        .unacknowledged_bytes(unacknowledged)
        .unread_bytes(unread)
        .max_message(max_message)
        .max_sessions(sessions)
        .max_sessions_per_peer(sessions_per_peer))
}

fn made(py: Python<'_>, opened: Result<Inner, ResumeError>) -> PyResult<Py<PyAny>> {
    let inner = Held::new(opened.or_raise(py)?);
    Ok(Py::new(py, Continuity { inner })?.into_any())
}

/// Opens the resumable sessions that a directory keeps, or begins to keep them there.
#[pyfunction]
pub fn open_continuity(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    node: &Node,
    path: PathBuf,
    settings: Settings,
) -> PyResult<Py<PyAny>> {
    let (node, options) = (node.node()?.clone(), options(settings)?);
    bridge::begin(py, reactor, async move { Inner::open(&node, options, path).await }, made)
}

#[pymethods]
impl Continuity {
    #[new]
    fn new(py: Python<'_>, node: &Node, settings: Settings) -> PyResult<Self> {
        let options = options(settings)?;
        let _inside = bridge::engine()?.enter();
        Ok(Self { inner: Held::new(Inner::new(node.node()?, options).or_raise(py)?) })
    }

    /// The sessions that a process before this one left, once.
    fn restored(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        self.inner.get()?.restored().into_iter().map(|one| session(py, one)).collect()
    }

    /// Lets go of all that a disk keeps, and closes the log.
    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        let closing = async move { inner.close().await };
        bridge::begin_detached(py, reactor, closing, |py, ()| Ok(py.None()))
    }

    /// Begins one with the node `peer` at an address.
    fn connect(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        address: String,
        peer: &[u8],
    ) -> PyResult<Py<PyAny>> {
        let (inner, peer) = (self.inner.get()?.clone(), node_id(peer)?);
        let connecting = async move { inner.connect(&address, peer).await };
        bridge::begin(py, reactor, connecting, |py, made| session(py, made.or_raise(py)?))
    }

    /// The next that a peer began; None once the node stopped.
    fn accept(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { inner.accept().await }, |py, made| {
            made.map_or_else(|| Ok(py.None()), |made| session(py, made))
        })
    }
}

/// A session that survives what carries it.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Resumable {
    inner: Held<ResumableSession>,
}

fn position(py: Python<'_>, sent: Result<u64, ResumeError>) -> PyResult<Py<PyAny>> {
    Ok(sent.or_raise(py)?.into_pyobject(py)?.into_any().unbind())
}

fn nothing(py: Python<'_>, done: Result<(), ResumeError>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

#[pymethods]
impl Resumable {
    #[getter]
    fn session_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.inner.get()?.id().as_bytes()))
    }

    #[getter]
    fn peer_node_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.inner.get()?.peer_node_id().as_bytes()))
    }

    /// The sealed session that carries it, if one does.
    fn session(&self) -> PyResult<Option<Session>> {
        Ok(self.inner.get()?.session().map(Session::new))
    }

    /// `connected`, `suspended` or `ended`.
    #[getter]
    fn state(&self) -> PyResult<&'static str> {
        Ok(match &*self.inner.get()?.state().borrow() {
            ResumeState::Connected => "connected",
            ResumeState::Suspended => "suspended",
            _ => "ended",
        })
    }

    /// Keeps a message for the peer; gives its position.
    fn send(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
        stream: u32,
    ) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        let data = Bytes::from(value::buffer(data)?);
        let sending = async move { inner.send_on(stream, data).await };
        bridge::begin(py, reactor, sending, position)
    }

    /// As `send`, or an error at once.
    fn try_send(&self, py: Python<'_>, data: &Bound<'_, PyAny>, stream: u32) -> PyResult<u64> {
        let data = Bytes::from(value::buffer(data)?);
        let _inside = bridge::engine()?.enter();
        self.inner.get()?.try_send_on(stream, data).or_raise(py)
    }

    /// Waits until the peer's application dealt with it.
    fn acknowledged(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        position: u64,
    ) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        let waiting = async move { inner.acknowledged(position).await };
        bridge::begin(py, reactor, waiting, nothing)
    }

    /// Waits until the disk has the message at `position` and all before.
    fn durable(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        position: u64,
    ) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { inner.durable(position).await }, nothing)
    }

    /// Waits until the disk has the commit of the message at `position`.
    fn committed(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        position: u64,
    ) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { inner.committed(position).await }, nothing)
    }

    /// The position that the next message gets.
    #[getter]
    fn next_sent(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.next_sent())
    }

    /// The position of the message that is received next.
    #[getter]
    fn next_received(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.next_received())
    }

    /// Dials the peer there from the next attempt on.
    fn dial_at(&self, py: Python<'_>, address: &str) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.inner.get()?.dial_at(address).or_raise(py)
    }

    /// Gives it up, on the disk as well.
    fn give_up(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin_detached(py, reactor, async move { inner.give_up().await }, nothing)
    }

    /// The next message, or None at the end.
    fn receive(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { inner.receive().await }, |py, taken| {
            match taken.or_raise(py)? {
                Some(taken) => Ok(message(py, &taken)?.unbind()),
                None => Ok(py.None()),
            }
        })
    }

    /// The application dealt with the message at `position` and all before.
    fn commit(&self, py: Python<'_>, position: u64) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.inner.get()?.commit(position).or_raise(py)
    }

    /// Says that nothing follows, and waits until the peer dealt with all.
    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin_detached(py, reactor, async move { inner.close().await }, nothing)
    }

    /// Waits for the end: the exception that says why.
    fn ended(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let inner = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { inner.ended().await }, |py, why| {
            Ok(Failure::from(why).raise(py).into_value(py).into_any())
        })
    }

    /// What the peer did not deal with, once it is over.
    fn take_unacknowledged(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(kept) = self.inner.get()?.take_unacknowledged() else { return Ok(None) };
        let list = PyList::empty(py);
        for one in &kept {
            list.append(message(py, one)?)?;
        }
        Ok(Some(list.into_any().unbind()))
    }
}
