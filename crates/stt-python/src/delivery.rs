//! How sure messages arrive, how urgent they are, and whom to ask for a content.

use std::time::Duration;

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use stt::{
    ContentId, Delivery, SessionId, SessionPool, StreamOptions,
    delivery::{Chance, EntropyThresholds, OverheadCap},
    priority::PriorityReport,
};

use crate::{
    bridge::Held,
    failure::OrRaise,
    node::{Node, seconds, session_id},
    session::Session,
};

/// The mode's name and its numbers, as Python has them.
pub(crate) type Mode = (String, f64, f64);

pub(crate) fn options(
    py: Python<'_>,
    mut options: StreamOptions,
    mode: Option<Mode>,
    cap: Option<f64>,
) -> PyResult<StreamOptions> {
    if let Some((name, first, second)) = mode {
        options = options.delivery(match name.as_str() {
            "reliable" => Delivery::Reliable,
            "datagram" => Delivery::Datagram,
            "deadline" => Delivery::Deadline(seconds(first)?),
            "probabilistic" => Delivery::probabilistic(first).or_raise(py)?,
            "entropy" => {
                let thresholds = EntropyThresholds::new(first, second).or_raise(py)?;
                Delivery::Probabilistic(Chance::FromEntropy(thresholds))
            }
            _ => return Err(PyValueError::new_err(format!("there is no delivery mode {name:?}"))),
        });
    }
    if let Some(share) = cap {
        options = options.overhead_cap(OverheadCap::new(share).or_raise(py)?);
    }
    Ok(options)
}

/// A mode by its name, with the number that it has.
pub(crate) fn mode(delivery: Delivery) -> (&'static str, f64) {
    match delivery {
        Delivery::Deadline(time) => ("deadline", time.as_secs_f64()),
        Delivery::Probabilistic(Chance::Stated(chance)) => ("probabilistic", chance.get()),
        Delivery::Probabilistic(Chance::FromEntropy(_)) => ("entropy", 0.0),
        Delivery::Datagram => ("datagram", 0.0),
        _ => ("reliable", 0.0),
    }
}

pub(crate) fn stats<'py>(
    py: Python<'py>,
    stats: &stt::DeliveryStats,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("messages", stats.messages)?;
    dict.set_item("packets", stats.packets)?;
    dict.set_item("repair_packets", stats.repair_packets)?;
    dict.set_item("shortfalls", stats.shortfalls)?;
    dict.set_item("late", stats.late)?;
    dict.set_item("last_probability", stats.last_plan.map(|plan| plan.probability))?;
    Ok(dict)
}

pub(crate) fn priority<'py>(
    py: Python<'py>,
    report: &PriorityReport,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("priority", report.priority.get())?;
    dict.set_item("uniqueness", report.uniqueness)?;
    dict.set_item("recency", report.recency)?;
    dict.set_item("congestion", report.congestion)?;
    dict.set_item("affinity", report.affinity)?;
    Ok(dict)
}

/// The sessions of a node, by who most likely holds a content.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Pool {
    inner: Held<SessionPool>,
}

#[pymethods]
impl Pool {
    #[new]
    fn new(node: &Node) -> PyResult<Self> {
        Ok(Self { inner: Held::new(SessionPool::new(node.node()?.clone())) })
    }

    fn pick(&self, content: [u8; 32]) -> PyResult<Option<Session>> {
        Ok(self.inner.get()?.pick(&ContentId::from_bytes(content)).map(Session::new))
    }

    fn rank(&self, content: [u8; 32], count: usize) -> PyResult<Vec<Session>> {
        Ok(self
            .inner
            .get()?
            .rank(&ContentId::from_bytes(content), count)
            .into_iter()
            .map(Session::new)
            .collect())
    }

    fn report(&self, content: [u8; 32], session: &[u8], held: bool) -> PyResult<()> {
        let id: SessionId = session_id(session)?;
        self.inner.get()?.report(&ContentId::from_bytes(content), id, held);
        Ok(())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inner.get()?.stats();
        let dict = PyDict::new(py);
        dict.set_item("picked_by_knowledge", stats.picked_by_knowledge)?;
        dict.set_item("picked_by_hash", stats.picked_by_hash)?;
        dict.set_item("hits", stats.hits)?;
        dict.set_item("misses", stats.misses)?;
        Ok(dict)
    }
}

/// Makes priorities from what is sent, and how often it is asked for.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct AdaptivePriority {
    inner: std::sync::Mutex<stt::priority::AdaptivePriority>,
}

#[pymethods]
impl AdaptivePriority {
    #[new]
    fn new(half_life: Option<f64>) -> PyResult<Self> {
        let half_life: Option<Duration> = half_life.map(seconds).transpose()?;
        let made = half_life.map_or_else(
            stt::priority::AdaptivePriority::new,
            stt::priority::AdaptivePriority::with_half_life,
        );
        Ok(Self { inner: std::sync::Mutex::new(made) })
    }

    fn accessed(&self, content: [u8; 32]) {
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.accessed(&ContentId::from_bytes(content), std::time::Instant::now());
    }

    fn assess<'py>(
        &self,
        py: Python<'py>,
        content: [u8; 32],
        congestion: f64,
        affinity: f64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let surroundings = stt::priority::Surroundings { congestion, affinity };
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        priority(
            py,
            &inner.assess(&ContentId::from_bytes(content), surroundings, std::time::Instant::now()),
        )
    }
}
