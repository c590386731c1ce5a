//! Durable logs and their consumers.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stc::Key;
use stt_store::{
    ChamberKey,
    log::{
        Consumer as Inner, ConsumerOptions, ConsumerRecord as Given, ConsumerStart, DeadLetter,
        DurableLog, Lease, Log as Records, LogError, LogOptions, Position, Record,
    },
};

use crate::{
    bridge::{self, Held, Reactor},
    failure::OrRaise,
    node::seconds,
    value,
};

/// A position as Python has it: epoch and offset.
type At = (u64, u64);

const fn at(position: Position) -> At {
    (position.epoch, position.offset)
}

const fn position((epoch, offset): At) -> Position {
    Position { epoch, offset }
}

/// Epoch, offset, time, bytes.
fn record<'py>(py: Python<'py>, one: &Record) -> PyResult<Bound<'py, PyAny>> {
    let (epoch, offset) = at(one.position);
    Ok((epoch, offset, one.time, PyBytes::new(py, &one.data)).into_pyobject(py)?.into_any())
}

fn nothing(py: Python<'_>, done: Result<(), LogError>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

fn put(py: Python<'_>, appended: Result<Position, LogError>) -> PyResult<Py<PyAny>> {
    Ok(at(appended.or_raise(py)?).into_pyobject(py)?.into_any().unbind())
}

fn opened(py: Python<'_>, opened: Result<Records, LogError>) -> PyResult<Py<PyAny>> {
    let inner = Held::new(Mutex::new(Some(opened.or_raise(py)?)));
    Ok(Py::new(py, Log { inner })?.into_any())
}

/// An open log.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Log {
    inner: Held<Mutex<Option<Records>>>,
}

/// Opens a log, or makes it.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
pub fn open_log(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    key: [u8; 32],
    path: PathBuf,
    segment_bytes: u64,
    record_max: usize,
    keep_bytes: Option<u64>,
    keep_age: Option<f64>,
) -> PyResult<Py<PyAny>> {
    let key = ChamberKey::from_key(&Key::from_bytes(key));
    let mut options = LogOptions::new().segment_bytes(segment_bytes).record_max(record_max);
    if let Some(bytes) = keep_bytes {
        options = options.keep_bytes(bytes);
    }
    if let Some(age) = keep_age {
        options = options.keep_age(seconds(age)?);
    }
    let opening = async move { Records::open(&key, path, options).await };
    bridge::begin_detached(py, reactor, opening, opened)
}

impl Log {
    fn records(&self) -> PyResult<Records> {
        let inner = self.inner.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyRuntimeError::new_err("the log was closed"))
    }
}

// What is begun is also finished, as in a store.
#[pymethods]
impl Log {
    fn append_all(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        records: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let records = records.iter().map(|one| value::buffer(one).map(Bytes::from));
        let records = records.collect::<PyResult<Vec<_>>>()?;
        let appending = async move { log.append_all(records).await };
        bridge::begin_detached(py, reactor, appending, put)
    }

    fn read(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        start: At,
        max_records: usize,
        max_bytes: usize,
    ) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let reading = async move { log.read(position(start), max_records, max_bytes).await };
        bridge::begin_detached(py, reactor, reading, |py, records| {
            let list = PyList::empty(py);
            for one in records.or_raise(py)? {
                list.append(record(py, &one)?)?;
            }
            Ok(list.into_any().unbind())
        })
    }

    /// Waits until there is a record at a position.
    fn wait_for(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        start: At,
    ) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let waiting = async move { log.wait_for(position(start)).await };
        bridge::begin(py, reactor, waiting, nothing)
    }

    /// The log of records that nobody could handle.
    fn dead_letters(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let opening = async move { log.dead_letters().await };
        bridge::begin_detached(py, reactor, opening, opened)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.records()?.stats();
        let dict = PyDict::new(py);
        dict.set_item("start", at(stats.start))?;
        dict.set_item("end", at(stats.end))?;
        dict.set_item("segments", stats.segments)?;
        dict.set_item("bytes", stats.bytes)?;
        Ok(dict)
    }

    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn consumer(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
        start: Option<At>,
        from_end: bool,
        ack_wait: f64,
        handler_max: Option<f64>,
        max_deliveries: Option<u32>,
        outstanding: usize,
        outstanding_bytes: usize,
    ) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let mut options = ConsumerOptions::new()
            .ack_wait(seconds(ack_wait)?)
            .max_deliveries(max_deliveries)
            .outstanding(outstanding)
            .outstanding_bytes(outstanding_bytes);
        if let Some(max) = handler_max {
            options = options.handler_max(seconds(max)?);
        }
        options = match start {
            Some(from) => options.start(ConsumerStart::At(position(from))),
            None if from_end => options.start(ConsumerStart::End),
            None => options,
        };
        let opening = async move { log.consumer(&name, options).await };
        bridge::begin_detached(py, reactor, opening, |py, consumer| {
            let inner = Held::new(Mutex::new(Some(Arc::new(consumer.or_raise(py)?))));
            Ok(Py::new(py, Consumer { inner })?.into_any())
        })
    }

    /// Name, position, unsettled records and whether it is open, of each consumer.
    fn consumers(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let listing = async move { log.consumers().await };
        bridge::begin_detached(py, reactor, listing, |py, found| {
            let list = PyList::empty(py);
            for one in found.or_raise(py)? {
                list.append((one.name, at(one.next), one.unsettled, one.is_open))?;
            }
            Ok(list.into_any().unbind())
        })
    }

    fn reset_consumer(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
        to: At,
    ) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let moving = async move { log.reset_consumer(&name, position(to)).await };
        bridge::begin_detached(py, reactor, moving, nothing)
    }

    fn remove_consumer(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
    ) -> PyResult<Py<PyAny>> {
        let log = self.records()?;
        let removing = async move { log.remove_consumer(&name).await };
        bridge::begin_detached(py, reactor, removing, nothing)
    }

    /// Closes it, unless a consumer has it open.
    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let mut inner = self.inner.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let log = inner.take();
        drop(inner);
        // The last owner waits for the log's threads.
        let closing = async move { tokio::task::spawn_blocking(move || drop(log)).await };
        bridge::begin_detached(py, reactor, closing, |py, _| Ok(py.None()))
    }
}

/// A named reader of a log.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Consumer {
    inner: Held<Mutex<Option<Arc<Inner>>>>,
}

fn lease(bytes: [u8; 16]) -> Lease {
    Lease::from_bytes(bytes)
}

impl Consumer {
    fn consumer(&self) -> PyResult<Arc<Inner>> {
        let inner = self.inner.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyRuntimeError::new_err("the consumer was closed"))
    }
}

#[pymethods]
impl Consumer {
    /// Up to `max` deliveries, at least one.
    fn next_batch(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        max: usize,
    ) -> PyResult<Py<PyAny>> {
        let consumer = self.consumer()?;
        let taking = async move { consumer.next_batch(max).await };
        bridge::begin(py, reactor, taking, |py, given| {
            let list = PyList::empty(py);
            for one in given.or_raise(py)? {
                list.append(Delivery::new(one))?;
            }
            Ok(list.into_any().unbind())
        })
    }

    fn ack(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        lease: [u8; 16],
    ) -> PyResult<Py<PyAny>> {
        let (consumer, lease) = (self.consumer()?, self::lease(lease));
        bridge::begin_detached(py, reactor, async move { consumer.ack(lease).await }, nothing)
    }

    fn extend(&self, py: Python<'_>, lease: [u8; 16]) -> PyResult<()> {
        self.consumer()?.extend(self::lease(lease)).or_raise(py)
    }

    fn retry(&self, py: Python<'_>, lease: [u8; 16], pause: f64, reason: &str) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.consumer()?.retry(self::lease(lease), seconds(pause)?, reason).or_raise(py)
    }

    fn reject(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        lease: [u8; 16],
        reason: String,
    ) -> PyResult<Py<PyAny>> {
        let (consumer, lease) = (self.consumer()?, self::lease(lease));
        let rejecting = async move { consumer.reject(lease, &reason).await };
        bridge::begin_detached(py, reactor, rejecting, nothing)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.consumer()?.stats();
        let dict = PyDict::new(py);
        dict.set_item("settled_to", stats.settled_to)?;
        dict.set_item("next", at(stats.next))?;
        dict.set_item("lag", stats.lag)?;
        dict.set_item("unsettled", stats.unsettled)?;
        dict.set_item("delivered", stats.delivered)?;
        dict.set_item("redelivered", stats.redelivered)?;
        dict.set_item("acknowledged", stats.acknowledged)?;
        dict.set_item("expired", stats.expired)?;
        dict.set_item("dead", stats.dead)?;
        dict.set_item("trimmed", stats.trimmed)?;
        Ok(dict)
    }

    /// Gives what it holds to others; acknowledgements are durable when it returns.
    fn close(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let mut inner = self.inner.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = inner.take();
        drop(inner);
        let closing = async move {
            match consumer.map(Arc::try_unwrap) {
                Some(Ok(consumer)) => consumer.close().await,
                // A call that still waits closes it when it ends.
                Some(Err(_)) | None => Ok(()),
            }
        };
        bridge::begin_detached(py, reactor, closing, nothing)
    }
}

/// A record that was handed out.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Delivery {
    record: Record,
    deliveries: u32,
    given: Held<Mutex<Option<Given>>>,
}

impl Delivery {
    fn new(given: Given) -> Self {
        let (record, deliveries) = (given.record().clone(), given.deliveries());
        Self { record, deliveries, given: Held::new(Mutex::new(Some(given))) }
    }

    fn take(&self) -> PyResult<Given> {
        let mut given = self.given.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        given.take().ok_or_else(|| PyRuntimeError::new_err("the delivery was settled before"))
    }
}

#[pymethods]
impl Delivery {
    /// Epoch, offset, time, bytes.
    fn record<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        record(py, &self.record)
    }

    #[getter]
    const fn deliveries(&self) -> u32 {
        self.deliveries
    }

    fn ack(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let given = self.take()?;
        bridge::begin_detached(py, reactor, async move { given.ack().await }, nothing)
    }

    fn ack_soon(&self, py: Python<'_>) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.take()?.ack_soon().or_raise(py)
    }

    fn retry(&self, py: Python<'_>, pause: f64, reason: &str) -> PyResult<()> {
        let _inside = bridge::engine()?.enter();
        self.take()?.retry(seconds(pause)?, reason).or_raise(py)
    }

    fn reject(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        reason: String,
    ) -> PyResult<Py<PyAny>> {
        let given = self.take()?;
        let rejecting = async move { given.reject(&reason).await };
        bridge::begin_detached(py, reactor, rejecting, nothing)
    }

    /// The lease, 16 bytes, for a handler elsewhere.
    fn detach<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (_, lease) = self.take()?.detach().or_raise(py)?;
        Ok(PyBytes::new(py, &lease.to_bytes()))
    }
}

/// Reads a record of a log of dead letters: consumer, epoch and offset, time, deliveries, reason,
/// bytes.
#[pyfunction]
pub fn dead_letter<'py>(
    py: Python<'py>,
    position: At,
    time: u64,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let data = Bytes::from(value::buffer(data)?);
    let one = DeadLetter::from_record(&Record { position: self::position(position), time, data });
    let one = one.or_raise(py)?;
    let data = PyBytes::new(py, &one.data);
    let parts = (one.consumer, at(one.position), one.time, one.deliveries, one.reason, data);
    Ok(parts.into_pyobject(py)?.into_any())
}
