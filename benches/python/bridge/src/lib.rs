//! The same two futures over both bridges: one that is ready, and one that a task of the runtime
//! finishes.

// The bridge itself, not a copy.
#[allow(dead_code, unreachable_pub, reason = "what the package uses beyond this")]
#[path = "../../../../crates/stt-python/src/bridge.rs"]
mod bridge;

mod logs {
    pub(crate) fn begin() {}
}

use pyo3::prelude::*;

async fn ready() -> u32 {
    1
}

async fn elsewhere() -> u32 {
    tokio::task::spawn(async { 1 }).await.unwrap_or(0)
}

/// The measured module.
#[pyo3::pymodule]
mod bridges {
    use super::*;

    #[pymodule_export]
    use crate::bridge::{Op, Reactor};

    /// Ours, ready.
    #[pyfunction]
    fn ours_ready(py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        bridge::begin(py, reactor, ready(), |py, one| {
            Ok(one.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Ours, finished by a task.
    #[pyfunction]
    fn ours_elsewhere(py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let convert = |py: Python<'_>, one: u32| Ok(one.into_pyobject(py)?.into_any().unbind());
        bridge::begin(py, reactor, elsewhere(), convert)
    }

    /// Theirs, ready.
    #[pyfunction]
    fn theirs_ready(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        pyo3_async_runtimes::tokio::future_into_py(py, async { Ok(ready().await) })
    }

    /// Theirs, finished by a task.
    #[pyfunction]
    fn theirs_elsewhere(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        pyo3_async_runtimes::tokio::future_into_py(py, async { Ok(elsewhere().await) })
    }
}
