//! Content of a swarm, by its hash.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stt::{ContentId, NodeId};
use stt_swarm::{
    ContentDistribution, ContentError, ContentTicket, KademliaDht, Provider, RetrieveOptions,
};

use crate::{
    bridge::{self, Held, Reactor},
    failure::{Failure, OrRaise},
    node::{Node, node_id, seconds},
    swarm::Swarm,
    value,
};

/// As a swarm, a distribution that was left may end beside its last owner.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(50);

/// What a node publishes, and retrieves.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Content {
    inner: Held<Arc<ContentDistribution>>,
}

impl Content {
    pub(crate) fn content(&self) -> PyResult<Arc<ContentDistribution>> {
        self.inner.get().cloned()
    }
}

/// The distribution of a node.
#[pyfunction]
pub fn start_content(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    node: &Node,
) -> PyResult<Py<PyAny>> {
    let node = node.node()?.clone();
    let starting = async move {
        for _ in 1..TRIES {
            match ContentDistribution::new(&node) {
                Err(ContentError::Protocol(_)) => tokio::time::sleep(BETWEEN).await,
                started => return started,
            }
        }
        ContentDistribution::new(&node)
    };
    bridge::begin_detached(py, reactor, starting, |py, started| {
        let inner = Held::new(Arc::new(started.or_raise(py)?));
        Ok(Py::new(py, Content { inner })?.into_any())
    })
}

pub(crate) fn address(host: &str, port: u16) -> PyResult<SocketAddr> {
    let ip = host.parse().map_err(|_| {
        PyValueError::new_err("a provider's host is an IP address, as find_providers gives it")
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// Who provides a content, as the table knows.
async fn providers(
    dht: &KademliaDht,
    id: ContentId,
    patience: Duration,
) -> Result<Vec<Provider>, Failure> {
    // Its length is not known yet, and stands for nothing here.
    let mut ticket = ContentTicket::new(id, 1, "content")?;
    dht.add_providers(&mut ticket, patience).await?;
    Ok(ticket.providers().to_vec())
}

/// Who provides a content, as the table says within `patience` seconds: id, host, port.
#[pyfunction]
pub fn content_providers(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    swarm: &Swarm,
    id: [u8; 32],
    patience: f64,
) -> PyResult<Py<PyAny>> {
    let (dht, patience) = (swarm.dht()?, seconds(patience)?);
    let finding = async move { providers(&dht, ContentId::from_bytes(id), patience).await };
    bridge::begin(py, reactor, finding, |py, found| {
        let list = PyList::empty(py);
        for one in found.map_err(|failure| failure.raise(py))? {
            let (host, port) = one
                .addresses
                .first()
                .map_or_else(|| (String::new(), 0), |at| (at.ip().to_string(), at.port()));
            list.append((PyBytes::new(py, one.node_id.as_bytes()), host, port))?;
        }
        Ok(list.into_any().unbind())
    })
}

#[pymethods]
impl Content {
    /// Publishes bytes, and with a swarm says so in its table; gives their id.
    fn publish(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
        swarm: Option<&Swarm>,
    ) -> PyResult<Py<PyAny>> {
        let content = Arc::clone(self.inner.get()?);
        let data = Bytes::from(value::buffer(data)?);
        let dht = swarm.map(Swarm::dht).transpose()?;
        let publishing = async move {
            let id = content.publish_content(data).await?;
            if let Some(dht) = dht {
                dht.provide_content(&id).await?;
            }
            Ok::<_, Failure>(id)
        };
        bridge::begin_detached(py, reactor, publishing, |py, id| {
            let id = id.map_err(|failure| failure.raise(py))?;
            Ok(PyBytes::new(py, id.as_bytes()).into_any().unbind())
        })
    }

    /// Publishes it no longer; whether it was.
    fn unpublish(&self, id: [u8; 32]) -> PyResult<bool> {
        let _inside = bridge::engine()?.enter();
        Ok(self.inner.get()?.library().unshare(ContentId::from_bytes(id)))
    }

    /// Bytes by their id: from connected members and `providers` (id, host, port). If they do not
    /// have it, from the providers that the swarm's table names within `patience` seconds.
    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn retrieve(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
        parallel_sources: usize,
        max_size: u64,
        providers: Vec<(Vec<u8>, String, u16)>,
        swarm: Option<&Swarm>,
        patience: f64,
    ) -> PyResult<Py<PyAny>> {
        let content = Arc::clone(self.inner.get()?);
        let (id, patience) = (ContentId::from_bytes(id), seconds(patience)?);
        let dht = swarm.map(Swarm::dht).transpose()?;
        let named = |(id, host, port): (Vec<u8>, String, u16)| {
            let node_id: NodeId = node_id(&id)?;
            Ok(Provider { node_id, addresses: vec![address(&host, port)?] })
        };
        let providers = providers.into_iter().map(named).collect::<PyResult<Vec<_>>>()?;
        let options = RetrieveOptions::new()
            .parallel_sources(parallel_sources)
            .max_size(max_size)
            .providers(providers);
        let retrieving = async move {
            match (content.retrieve_content(id, &options).await, dht) {
                (Err(ContentError::NotFound { members }), Some(dht)) => {
                    let found = self::providers(&dht, id, patience).await?;
                    if found.is_empty() {
                        return Err(ContentError::NotFound { members }.into());
                    }
                    let options = options.providers(found);
                    Ok::<_, Failure>(content.retrieve_content(id, &options).await?)
                }
                (retrieved, _) => Ok(retrieved?),
            }
        };
        bridge::begin(py, reactor, retrieving, |py, data| {
            let data = data.map_err(|failure| failure.raise(py))?;
            Ok(PyBytes::new(py, &data).into_any().unbind())
        })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inner.get()?.stats();
        let dict = PyDict::new(py);
        dict.set_item("published", stats.library.contents)?;
        dict.set_item("answers", stats.library.answers)?;
        dict.set_item("bytes_served", stats.library.bytes)?;
        dict.set_item("retrieved", stats.retrieved)?;
        dict.set_item("bytes_retrieved", stats.retrieved_bytes)?;
        dict.set_item("failed", stats.failed)?;
        Ok(dict)
    }
}
