//! Endpoints: the peers that a node knows, and the messages of each.

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use stt::{
    EndpointManager, Value,
    endpoints::{EndpointAddress, EndpointId, ManagerConfig},
};

use crate::{
    bridge::{self, Held, Reactor},
    failure::OrRaise,
    value,
};

/// The table of endpoints and their queues. What is sent to them goes through a callback in Python.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Endpoints {
    inner: Held<EndpointManager>,
}

fn id(py: Python<'_>, bytes: &[u8]) -> PyResult<EndpointId> {
    EndpointId::new(bytes).or_raise(py)
}

#[pymethods]
impl Endpoints {
    #[new]
    fn new(py: Python<'_>, max_endpoints: Option<usize>) -> PyResult<Self> {
        let mut config = ManagerConfig::default();
        if let Some(max) = max_endpoints {
            config = config.max_endpoints(max);
        }
        let manager = EndpointManager::with_config(config, None).or_raise(py)?;
        Ok(Self { inner: Held::new(manager) })
    }

    /// Adds one, with a name besides its id if there is one.
    fn add(&self, py: Python<'_>, endpoint: &[u8], name: Option<&str>) -> PyResult<()> {
        let fields = name.map(|name| ("name".into(), Value::from(name))).into_iter().collect();
        let address = EndpointAddress::from(("", 0));
        self.inner.get()?.add_endpoint(id(py, endpoint)?, address, fields).or_raise(py)
    }

    fn remove(&self, py: Python<'_>, endpoint: &[u8]) -> PyResult<bool> {
        Ok(self.inner.get()?.remove_endpoint(&id(py, endpoint)?))
    }

    fn contains(&self, py: Python<'_>, endpoint: &[u8]) -> PyResult<bool> {
        Ok(self.inner.get()?.contains(&id(py, endpoint)?))
    }

    /// The id of the endpoint with this id or name.
    fn find<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let found = self.inner.get()?.find_by_name(name);
        Ok(found.map(|id| PyBytes::new(py, id.as_bytes())))
    }

    /// Hands over what came from an endpoint; waits while its queue is full.
    fn deliver(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        endpoint: &[u8],
        data: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let manager = self.inner.get()?.clone();
        let (endpoint, data) = (id(py, endpoint)?, Bytes::from(value::buffer(data)?));
        let delivering = async move { manager.deliver(&endpoint, data).await };
        bridge::begin(py, reactor, delivering, |py, done| done.or_raise(py).map(|()| py.None()))
    }

    fn receive_from(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        endpoint: &[u8],
    ) -> PyResult<Py<PyAny>> {
        let manager = self.inner.get()?.clone();
        let endpoint = id(py, endpoint)?;
        let receiving = async move { manager.receive_from(&endpoint).await };
        bridge::begin(py, reactor, receiving, |py, next| {
            Ok(PyBytes::new(py, &next.or_raise(py)?.data).into_any().unbind())
        })
    }

    /// Bytes, and the endpoint that they came from.
    fn receive_any(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let manager = self.inner.get()?.clone();
        bridge::begin(py, reactor, async move { manager.receive_any().await }, |py, next| {
            let parts = (PyBytes::new(py, &next.data), PyBytes::new(py, next.id.as_bytes()));
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// How many messages wait.
    fn waiting(&self) -> PyResult<usize> {
        Ok(self.inner.get()?.inbox_stats().waiting)
    }
}
