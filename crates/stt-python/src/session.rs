//! Sessions and their streams.

use std::{
    future::Future,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stt::{CloseReason, Priority, RawStream, RouteKind, StreamError, StreamOptions};

use crate::{
    bridge::{self, Held, Reactor},
    delivery,
    failure::OrRaise,
    protocol::Labelled,
    value::{self, TextOrBytes},
};

/// A sealed session with one peer.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Session {
    inner: Held<stt::Session>,
}

impl Session {
    pub(crate) const fn new(session: stt::Session) -> Self {
        Self { inner: Held::new(session) }
    }
}

/// The stable word and the sentence.
fn reason(reason: &CloseReason) -> (&'static str, String) {
    (reason.as_str(), reason.to_string())
}

const fn kind(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::WebSocket => "websocket",
        _ => "udp",
    }
}

#[pymethods]
impl Session {
    #[getter]
    fn session_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.inner.get()?.id().as_bytes()))
    }

    #[getter]
    fn peer_node_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.inner.get()?.peer_node_id().as_bytes()))
    }

    #[getter]
    fn is_initiator(&self) -> PyResult<bool> {
        Ok(self.inner.get()?.is_initiator())
    }

    /// Host, port, and `udp` or `websocket`.
    #[getter]
    fn route(&self) -> PyResult<(String, u16, &'static str)> {
        let route = self.inner.get()?.route();
        Ok((route.remote.ip().to_string(), route.remote.port(), kind(route.kind)))
    }

    /// Why it ended: a stable word and a sentence. None while it lives.
    #[getter]
    fn close_reason(&self) -> PyResult<Option<(&'static str, String)>> {
        Ok(self.inner.get()?.close_reason().as_ref().map(reason))
    }

    /// 32 bytes that only the two ends know, for `label`.
    fn export<'py>(&self, py: Python<'py>, label: &str) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.inner.get()?.export(label).as_bytes()))
    }

    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn open_stream(
        &self,
        py: Python<'_>,
        id: Option<u32>,
        max_frame_size: Option<u64>,
        priority: Option<u16>,
        adaptive_priority: bool,
        delivery: Option<delivery::Mode>,
        overhead_cap: Option<f64>,
    ) -> PyResult<Stream> {
        let mut options = StreamOptions::new();
        if let Some(id) = id {
            options = options.id(id);
        }
        if let Some(bytes) = max_frame_size {
            options = options.max_frame_size(bytes);
        }
        if let Some(number) = priority {
            options = options.priority(priority_of(number)?);
        }
        if adaptive_priority {
            options = options.adaptive_priority();
        }
        let options = delivery::options(py, options, delivery, overhead_cap)?;
        let _inside = bridge::engine()?.enter();
        let stream = self.inner.get()?.open_stream_with(&options).or_raise(py)?;
        Ok(Stream::new(stream))
    }

    /// Opens a stream of a protocol.
    fn open_protocol(&self, py: Python<'_>, label: &Bound<'_, PyAny>) -> PyResult<Labelled> {
        let label = TextOrBytes::take(label)?;
        let _inside = bridge::engine()?.enter();
        Ok(Labelled::new(self.inner.get()?.open_protocol(label.as_bytes()).or_raise(py)?))
    }

    fn accept_stream(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let session = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { session.accept_stream().await }, |py, stream| {
            Ok(Py::new(py, Stream::new(stream.or_raise(py)?))?.into_any())
        })
    }

    /// Seconds that an answer took.
    fn ping(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let session = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { session.ping().await }, |py, time| {
            Ok(time.or_raise(py)?.as_secs_f64().into_pyobject(py)?.into_any().unbind())
        })
    }

    fn move_to(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        target: String,
    ) -> PyResult<Py<PyAny>> {
        let session = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { session.move_to(&target).await }, |py, route| {
            let route = route.or_raise(py)?;
            let parts = (route.remote.ip().to_string(), route.remote.port(), kind(route.kind));
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Waits for the end: a stable word and a sentence.
    fn closed(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let session = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { session.closed().await }, |py, why| {
            Ok(reason(&why).into_pyobject(py)?.into_any().unbind())
        })
    }

    fn close(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        text: String,
    ) -> PyResult<Py<PyAny>> {
        let session = self.inner.get()?.clone();
        let closing = async move { session.close(&text).await };
        bridge::begin_detached(py, reactor, closing, |py, ()| Ok(py.None()))
    }

    fn abort(&self, text: &str) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.inner.get()?.abort(text);
        Ok(())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inner.get()?.stats();
        let dict = PyDict::new(py);
        dict.set_item("age", stats.age.as_secs_f64())?;
        dict.set_item("handshake_time", stats.handshake_time.as_secs_f64())?;
        dict.set_item("round_trip", stats.round_trip.as_secs_f64())?;
        dict.set_item("bytes_sent", stats.bytes_sent)?;
        dict.set_item("bytes_received", stats.bytes_received)?;
        dict.set_item("packets_sent", stats.datagrams_sent)?;
        dict.set_item("packets_received", stats.datagrams_received)?;
        dict.set_item("packets_lost", stats.packets_lost)?;
        dict.set_item("path_mtu", stats.path_mtu)?;
        dict.set_item("active_streams", stats.active_streams)?;
        dict.set_item("dropped_messages", stats.dropped_messages)?;
        Ok(dict)
    }
}

pub(crate) fn priority_of(number: u16) -> PyResult<Priority> {
    Priority::new(number).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// One of the numbered streams of a session.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Stream {
    inner: Held<stt::Stream>,
}

impl Stream {
    const fn new(stream: stt::Stream) -> Self {
        Self { inner: Held::new(stream) }
    }

    pub(crate) fn stream(&self) -> PyResult<&stt::Stream> {
        self.inner.get()
    }
}

/// Bytes, or None at the end.
fn taken(py: Python<'_>, taken: Result<Option<Bytes>, StreamError>) -> PyResult<Py<PyAny>> {
    Ok(match taken.or_raise(py)? {
        Some(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
        None => py.None(),
    })
}

fn nothing(py: Python<'_>, done: Result<(), StreamError>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

#[pymethods]
impl Stream {
    #[getter]
    fn stream_id(&self) -> PyResult<u32> {
        Ok(self.inner.get()?.id())
    }

    #[getter]
    fn is_closed(&self) -> PyResult<bool> {
        Ok(self.inner.get()?.is_closed())
    }

    #[getter]
    fn max_frame_size(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.max_frame_size())
    }

    #[getter]
    fn priority(&self) -> PyResult<u16> {
        Ok(self.inner.get()?.priority().get())
    }

    fn set_priority(&self, number: u16) -> PyResult<()> {
        self.inner.get()?.set_priority(priority_of(number)?);
        Ok(())
    }

    /// How the priority of the last message came about, if it is adaptive.
    fn priority_report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let report = self.inner.get()?.priority_report();
        report.map(|report| delivery::priority(py, &report)).transpose()
    }

    /// The delivery mode and its number.
    #[getter]
    fn delivery(&self) -> PyResult<(&'static str, f64)> {
        Ok(delivery::mode(self.inner.get()?.delivery()))
    }

    fn delivery_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        delivery::stats(py, &self.inner.get()?.delivery_stats())
    }

    /// Queues one message.
    fn send(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        let data = Bytes::from(value::buffer(data)?);
        bridge::begin(py, reactor, async move { stream.send(data).await }, nothing)
    }

    /// Queues messages in order.
    fn send_many(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        messages: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        let messages = messages.iter().map(|one| value::buffer(one).map(Bytes::from));
        let messages = messages.collect::<PyResult<Vec<_>>>()?;
        let sending = async move {
            for message in messages {
                stream.send(message).await?;
            }
            Ok(())
        };
        bridge::begin(py, reactor, sending, nothing)
    }

    /// The next message and those that are there behind it, `most` in all; empty at the end.
    fn receive_many(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        most: usize,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        let receiving = async move {
            let Some(first) = stream.receive().await? else { return Ok(Vec::new()) };
            let mut messages = vec![first];
            // What is there is taken without waiting, so giving up loses nothing. The end, and what
            // went wrong, are for the next call, which finds them again.
            let mut waker = Context::from_waker(Waker::noop());
            while messages.len() < most {
                match std::pin::pin!(stream.receive()).poll(&mut waker) {
                    Poll::Ready(Ok(Some(message))) => messages.push(message),
                    Poll::Ready(_) | Poll::Pending => break,
                }
            }
            Ok(messages)
        };
        bridge::begin(py, reactor, receiving, |py, messages: Result<Vec<Bytes>, StreamError>| {
            let messages = messages.or_raise(py)?;
            let list = PyList::new(py, messages.iter().map(|one| PyBytes::new(py, one)))?;
            Ok(list.into_any().unbind())
        })
    }

    /// The next message, or None at the end.
    fn receive(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { stream.receive().await }, taken)
    }

    /// At most `max` raw bytes, or None at the end.
    fn read(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        max: usize,
    ) -> PyResult<Py<PyAny>> {
        let mut raw: RawStream = self.inner.get()?.clone().into_raw();
        bridge::begin(py, reactor, async move { raw.read_chunk(max).await }, taken)
    }

    /// Queues raw bytes.
    fn write(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let mut raw: RawStream = self.inner.get()?.clone().into_raw();
        let data = Bytes::from(value::buffer(data)?);
        bridge::begin(py, reactor, async move { raw.write_chunk(data).await }, nothing)
    }

    /// Waits until all that was sent is on its way.
    fn flush(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { stream.flush().await }, nothing)
    }

    /// Closes this side's direction and waits until the peer's machine has all of it.
    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let stream = self.inner.get()?.clone();
        bridge::begin_detached(py, reactor, async move { stream.close().await }, nothing)
    }

    fn reset(&self, code: u32) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.inner.get()?.reset(code);
        Ok(())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inner.get()?.stats();
        let dict = PyDict::new(py);
        dict.set_item("messages_sent", stats.messages_sent)?;
        dict.set_item("bytes_sent", stats.bytes_sent)?;
        dict.set_item("messages_received", stats.messages_received)?;
        dict.set_item("bytes_received", stats.bytes_received)?;
        Ok(dict)
    }
}
