//! Contents of a store piece by piece.

use std::sync::Arc;

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};
use stt_store::{Bytes, Chamber, ContentId, ContentReader, Keep, StoreError};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    sync::Mutex,
    task::JoinHandle,
};

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    value,
};

/// Bytes between who gives pieces and who stores them.
const PIPE: usize = 1 << 20;

/// An open content.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct StoreReader {
    inner: Held<Arc<ContentReader>>,
}

impl StoreReader {
    pub(crate) fn new(reader: ContentReader) -> Self {
        Self { inner: Held::new(Arc::new(reader)) }
    }
}

#[pymethods]
impl StoreReader {
    #[getter]
    fn length(&self) -> PyResult<u64> {
        Ok(self.inner.get()?.len())
    }

    /// The bytes from `start` to before `end`.
    fn read_range(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        start: u64,
        end: u64,
    ) -> PyResult<Py<PyAny>> {
        let inner = Arc::clone(self.inner.get()?);
        let reading = async move { inner.read_range(start..end).await };
        bridge::begin_detached(py, reactor, reading, |py, data: Result<Bytes, StoreError>| {
            Ok(PyBytes::new(py, &data.or_raise(py)?).into_any().unbind())
        })
    }
}

type Storing = JoinHandle<Result<ContentId, StoreError>>;

struct Pipe {
    /// Gone once all was given.
    into: Option<DuplexStream>,
    storing: Option<Storing>,
}

impl Pipe {
    /// Stores nothing. The pipe stays open until nobody reads from it: its end would be taken for
    /// that of the content.
    fn give_up(&mut self) {
        let (into, storing) = (self.into.take(), self.storing.take());
        if let (Some(storing), Ok(engine)) = (storing, bridge::engine()) {
            storing.abort();
            engine.spawn(async move {
                let _ = storing.await;
                drop(into);
            });
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Stores what comes piece by piece. Dropped before the end, it stores nothing.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct StoreWriter {
    pipe: Held<Arc<Mutex<Pipe>>>,
}

impl StoreWriter {
    pub(crate) fn begin(chamber: Chamber, keep: Keep) -> Self {
        let (into, from) = tokio::io::duplex(PIPE);
        let storing = tokio::spawn(async move { chamber.put_reader(from, keep).await });
        let pipe = Pipe { into: Some(into), storing: Some(storing) };
        Self { pipe: Held::new(Arc::new(Mutex::new(pipe))) }
    }
}

/// What became of it.
async fn outcome(pipe: &mut Pipe) -> Result<ContentId, Failure> {
    let over = || Failure::internal(&std::io::Error::other("the content was stored or given up"));
    let storing = pipe.storing.as_mut().ok_or_else(over)?;
    let stored = storing.await.map_err(|error| Failure::internal(&error));
    pipe.storing = None;
    Ok(stored??)
}

#[pymethods]
impl StoreWriter {
    /// Gives the next piece; waits while the store is slower.
    fn feed(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let (pipe, data) = (Arc::clone(self.pipe.get()?), value::buffer(data)?);
        let feeding = async move {
            let mut pipe = pipe.lock().await;
            let Some(into) = pipe.into.as_mut() else { return outcome(&mut pipe).await.map(drop) };
            match into.write_all(&data).await {
                Ok(()) => Ok(()),
                // Who stores it ended before: with an error.
                Err(_) => outcome(&mut pipe).await.map(drop),
            }
        };
        bridge::begin_detached(py, reactor, feeding, |py, fed: Result<(), Failure>| {
            fed.map_err(|failure| failure.raise(py)).map(|()| py.None())
        })
    }

    /// That was all; gives the address.
    fn finish(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let pipe = Arc::clone(self.pipe.get()?);
        let finishing = async move {
            let mut pipe = pipe.lock().await;
            pipe.into = None;
            outcome(&mut pipe).await
        };
        bridge::begin_detached(py, reactor, finishing, |py, id: Result<ContentId, Failure>| {
            let id = id.map_err(|failure| failure.raise(py))?;
            Ok(PyBytes::new(py, id.as_bytes()).into_any().unbind())
        })
    }

    /// Gives it up.
    fn abort(&self) -> PyResult<()> {
        let pipe = self.pipe.get()?;
        match pipe.try_lock() {
            Ok(mut pipe) => {
                pipe.give_up();
                Ok(())
            }
            Err(_) => Err(PyRuntimeError::new_err("a piece is being stored")),
        }
    }
}
