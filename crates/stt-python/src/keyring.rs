//! The seeds by which a node knows its peers.

use std::sync::Arc;

use pyo3::{exceptions::PyValueError, prelude::*};
use stt::{KeyringError, SeedId, SharedSeed};

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    node::Node,
    value,
};

/// The keyring of a node.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Keyring {
    inner: Held<Arc<stt::Keyring>>,
}

impl Keyring {
    fn named(&self, py: Python<'_>, name: &str) -> PyResult<SeedId> {
        let mut seeds = self.inner.get()?.seeds().into_iter();
        seeds.find(|id| id.to_string() == name).ok_or(KeyringError::Unknown).or_raise(py)
    }
}

#[pymethods]
impl Keyring {
    #[new]
    fn new(node: &Node) -> PyResult<Self> {
        Ok(Self { inner: Held::new(Arc::clone(node.node()?.keyring())) })
    }

    /// Accepts a seed from now on; gives its id, hexadecimal.
    fn add(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        seed: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let ring = Arc::clone(self.inner.get()?);
        let seed =
            value::secret(Some(seed))?.ok_or_else(|| PyValueError::new_err("a seed is needed"))?;
        let adding = async move {
            let seed = tokio::task::spawn_blocking(move || SharedSeed::from_bytes(&seed)).await;
            let seed = seed.map_err(|error| Failure::internal(&error))??;
            Ok::<_, Failure>(ring.add(&seed)?)
        };
        bridge::begin_detached(py, reactor, adding, |py, id| {
            let id = id.map_err(|failure| failure.raise(py))?;
            Ok(id.to_string().into_pyobject(py)?.into_any().unbind())
        })
    }

    fn make_current(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        let id = self.named(py, id)?;
        self.inner.get()?.make_current(id).or_raise(py)
    }

    fn retire(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        let id = self.named(py, id)?;
        self.inner.get()?.retire(id).or_raise(py)
    }

    /// Ids, the current one first.
    fn seeds(&self) -> PyResult<Vec<String>> {
        Ok(self.inner.get()?.seeds().iter().map(ToString::to_string).collect())
    }
}
