//! Events, health and statistics of managed streams.

use std::sync::Arc;

use pyo3::{IntoPyObjectExt, exceptions::PyValueError, prelude::*, types::PyDict};
use stt_streams::{
    EventSubscription, FileOperation, FileOperationEvent, HealthEvent, PeerChange, PeerEvent,
    ServiceEvent, StreamingService, StreamsError, StreamsHealth, SystemChange, SystemEvent,
};
use tokio::sync::Mutex;

use crate::{
    bridge::{self, Held, Reactor},
    failure::OrRaise,
    managed::{self, Manager},
    node::seconds,
};

/// Words of a kind of event, and back.
trait Word: Copy + Sized + 'static {
    const ALL: &'static [(&'static str, Self)];

    fn word(self) -> &'static str;

    fn from_word(word: &str) -> PyResult<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            PyValueError::new_err(format!("it is one of {}", names.join(", ")))
        })
    }
}

macro_rules! words {
    ($($kind:ident { $($variant:ident $word:literal)* })*) => {
        $(impl Word for $kind {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),*];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        })*
    };
}

words! {
    FileOperation { Upload "upload" Download "download" Delete "delete" Update "update" }
    PeerChange {
        Connected "connected" Disconnected "disconnected" HealthChanged "health_changed"
    }
    SystemChange { Startup "startup" Shutdown "shutdown" Error "error" Warning "warning" }
    StreamsHealth {
        Healthy "healthy" Degraded "degraded" Unhealthy "unhealthy" Unknown "unknown"
    }
}

type Waiting<K> = Arc<Mutex<EventSubscription<ServiceEvent<K>>>>;

#[derive(Clone)]
enum Waits {
    Files(Waiting<FileOperation>),
    Peers(Waiting<PeerChange>),
    System(Waiting<SystemChange>),
    Health(Waiting<StreamsHealth>),
}

/// Word, subject, message, time, and how many were missed so far.
type Told = Option<(&'static str, String, String, String, u64)>;

async fn told<K: Word + Send + Sync>(waiting: Waiting<K>) -> Told {
    let mut waiting = waiting.lock().await;
    let event = waiting.next().await?;
    let (subject, message) = (event.subject.clone(), event.message.clone());
    Some((event.kind.word(), subject, message, event.timestamp.clone(), waiting.missed()))
}

/// Events for one subscriber. Dropped, it is none any more.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct ServiceEvents {
    waits: Held<Waits>,
}

#[pymethods]
impl ServiceEvents {
    /// The next one, or None once it was unsubscribed.
    fn next(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let waits = self.waits.get()?.clone();
        let next = async move {
            match waits {
                Waits::Files(waiting) => told(waiting).await,
                Waits::Peers(waiting) => told(waiting).await,
                Waits::System(waiting) => told(waiting).await,
                Waits::Health(waiting) => told(waiting).await,
            }
        };
        bridge::begin(py, reactor, next, |py, told| told.into_py_any(py))
    }
}

/// Events, health and statistics of a manager's streams.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Service {
    inner: Held<StreamingService>,
}

fn unknown_kind() -> PyErr {
    PyValueError::new_err("events are about file_operation, peer, system or health")
}

fn waiting<K>(subscription: EventSubscription<ServiceEvent<K>>) -> Waiting<K> {
    Arc::new(Mutex::new(subscription))
}

#[pymethods]
impl Service {
    #[new]
    fn new(manager: &Manager) -> PyResult<Self> {
        Ok(Self { inner: Held::new(StreamingService::new(manager.manager()?.clone())) })
    }

    fn subscribe(&self, py: Python<'_>, kind: &str, id: &str) -> PyResult<ServiceEvents> {
        let service = self.inner.get()?;
        let waits = match kind {
            "file_operation" => service
                .subscribe_to_file_operation_events(id)
                .map(|events| Waits::Files(waiting(events))),
            "peer" => {
                service.subscribe_to_peer_events(id).map(|events| Waits::Peers(waiting(events)))
            }
            "system" => {
                service.subscribe_to_system_events(id).map(|events| Waits::System(waiting(events)))
            }
            "health" => {
                service.subscribe_to_health_events(id).map(|events| Waits::Health(waiting(events)))
            }
            _ => return Err(unknown_kind()),
        };
        Ok(ServiceEvents { waits: Held::new(waits.or_raise(py)?) })
    }

    fn unsubscribe(&self, py: Python<'_>, kind: &str, id: &str) -> PyResult<()> {
        let service = self.inner.get()?;
        let done: Result<(), StreamsError> = match kind {
            "file_operation" => service.unsubscribe_from_file_operation_events(id),
            "peer" => service.unsubscribe_from_peer_events(id),
            "system" => service.unsubscribe_from_system_events(id),
            "health" => service.unsubscribe_from_health_events(id),
            _ => return Err(unknown_kind()),
        };
        done.or_raise(py)
    }

    /// How many were told.
    fn emit(&self, kind: &str, what: &str, subject: &str, message: &str) -> PyResult<usize> {
        let service = self.inner.get()?;
        Ok(match kind {
            "file_operation" => {
                let what = FileOperation::from_word(what)?;
                service.emit_file_operation(FileOperationEvent::new(what, subject, message))
            }
            "peer" => {
                service.emit_peer(PeerEvent::new(PeerChange::from_word(what)?, subject, message))
            }
            "system" => service.emit_system(SystemEvent::new(
                SystemChange::from_word(what)?,
                subject,
                message,
            )),
            "health" => service.emit_health(HealthEvent::new(
                StreamsHealth::from_word(what)?,
                subject,
                message,
            )),
            _ => return Err(unknown_kind()),
        })
    }

    fn health_check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.inner.get()?.health_check();
        let dict = PyDict::new(py);
        dict.set_item("status", report.status.word())?;
        dict.set_item("total_streams", report.total_streams)?;
        dict.set_item("healthy_streams", report.healthy_streams)?;
        dict.set_item("subscribers", report.subscribers)?;
        dict.set_item("timestamp", report.timestamp)?;
        Ok(dict)
    }

    fn stream_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inner.get()?.get_stream_stats();
        let streams = PyDict::new(py);
        for (id, one) in &stats.streams {
            streams.set_item(id, managed::stats(py, one)?)?;
        }
        let dict = PyDict::new(py);
        dict.set_item("active_streams", stats.active_streams)?;
        dict.set_item("subscribers", stats.subscribers)?;
        dict.set_item("streams", streams)?;
        Ok(dict)
    }

    /// Whether everything ended in order.
    fn shutdown(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        within: f64,
    ) -> PyResult<Py<PyAny>> {
        let (service, within) = (self.inner.get()?.clone(), seconds(within)?);
        let ending = async move { service.shutdown(within).await };
        bridge::begin_detached(py, reactor, ending, |py, orderly| orderly.into_py_any(py))
    }
}
