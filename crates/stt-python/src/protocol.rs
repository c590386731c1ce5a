//! Streams with a label.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use stt::{ProtocolError, ProtocolHandler, ProtocolReceiver, ProtocolSender, ProtocolStream};
use tokio::sync::{Mutex, Notify, RwLock, mpsc};

use crate::{
    bridge::{self, Held, Reactor},
    failure::OrRaise,
    node::Node,
    session::{Session, priority_of},
    value::{self, TextOrBytes},
};

/// Streams that wait for Python. Of more, the handler waits, and peers have a bound of their own.
const WAITING: usize = 64;

type Arrived = (stt::Session, ProtocolStream);

/// Gets the streams that peers open for a label.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Protocol {
    handler: Held<std::sync::Mutex<Option<ProtocolHandler>>>,
    waiting: Arc<Mutex<mpsc::Receiver<Arrived>>>,
}

/// Takes the streams of a label from now on.
#[pyfunction]
pub fn handle_protocol(
    py: Python<'_>,
    node: &Node,
    label: &Bound<'_, PyAny>,
) -> PyResult<Protocol> {
    let label = TextOrBytes::take(label)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let handler = node.node()?.handle_protocol(label.as_bytes(), move |session, stream| {
        let sender = sender.clone();
        async move {
            // Nobody takes it any more: dropping it tells the peer.
            let _ = sender.send((session, stream)).await;
        }
    });
    let handler = Held::new(std::sync::Mutex::new(Some(handler.or_raise(py)?)));
    Ok(Protocol { handler, waiting: Arc::new(Mutex::new(receiver)) })
}

#[pymethods]
impl Protocol {
    /// The next session and stream; None after the end.
    fn next(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let waiting = Arc::clone(&self.waiting);
        let next = async move { waiting.lock().await.recv().await };
        bridge::begin(py, reactor, next, |py, arrived| {
            let Some((session, stream)) = arrived else { return Ok(py.None()) };
            let parts = (Session::new(session), Labelled::new(stream));
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Takes no more streams.
    fn close(&self) -> PyResult<()> {
        let handler = self.handler.get()?;
        let taken = handler.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        drop(taken);
        Ok(())
    }
}

struct Both {
    sender: RwLock<ProtocolSender>,
    receiver: ProtocolReceiver,
    reset: Notify,
    label: Vec<u8>,
    id: u32,
}

/// A stream of a protocol.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Labelled {
    inner: Held<Arc<Both>>,
}

impl Labelled {
    pub(crate) fn new(stream: ProtocolStream) -> Self {
        let (label, id) = (stream.label(), stream.id());
        let (sender, receiver) = stream.into_split();
        let (sender, reset) = (RwLock::new(sender), Notify::new());
        Self { inner: Held::new(Arc::new(Both { sender, receiver, reset, label, id })) }
    }

    fn both(&self) -> PyResult<Arc<Both>> {
        self.inner.get().cloned()
    }
}

fn nothing(py: Python<'_>, done: Result<(), ProtocolError>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

fn taken(py: Python<'_>, taken: Result<Option<Bytes>, ProtocolError>) -> PyResult<Py<PyAny>> {
    Ok(match taken.or_raise(py)? {
        Some(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
        None => py.None(),
    })
}

#[pymethods]
impl Labelled {
    #[getter]
    fn label<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.inner.get()?.label))
    }

    #[getter]
    fn stream_id(&self) -> PyResult<u32> {
        Ok(self.inner.get()?.id)
    }

    /// Queues one message.
    fn send(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let both = self.both()?;
        let data = Bytes::from(value::buffer(data)?);
        let sending = async move { both.sender.read().await.send(data).await };
        bridge::begin(py, reactor, sending, nothing)
    }

    /// The next message, or None at the end.
    fn receive(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let both = self.both()?;
        bridge::begin(py, reactor, async move { both.receiver.receive().await }, taken)
    }

    /// At most `max` raw bytes, or None at the end.
    fn read(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        max: usize,
    ) -> PyResult<Py<PyAny>> {
        let both = self.both()?;
        bridge::begin(py, reactor, async move { both.receiver.read_chunk(max).await }, taken)
    }

    /// Queues raw bytes.
    fn write(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let both = self.both()?;
        let data = Bytes::from(value::buffer(data)?);
        let writing = async move {
            let mut sender = both.sender.write().await;
            // Who resets it does not wait for who writes.
            tokio::select! {
                () = both.reset.notified() => Ok(()),
                written = sender.write_chunk(data) => written,
            }
        };
        bridge::begin(py, reactor, writing, nothing)
    }

    /// Ends this side's direction and waits until the peer's machine has all of it.
    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let both = self.both()?;
        let closing = async move { both.sender.read().await.close().await };
        bridge::begin_detached(py, reactor, closing, nothing)
    }

    fn reset(&self, code: u32) -> PyResult<()> {
        let both = self.both()?;
        both.reset.notify_waiters();
        bridge::engine()?.spawn(async move { both.sender.read().await.reset(code) });
        Ok(())
    }

    fn set_priority(&self, number: u16) -> PyResult<()> {
        let (both, priority) = (self.both()?, priority_of(number)?);
        bridge::engine()?.spawn(async move { both.sender.read().await.set_priority(priority) });
        Ok(())
    }
}
