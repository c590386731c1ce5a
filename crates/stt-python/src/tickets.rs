//! Files and folders of a swarm, by tickets.

use std::{
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex as Lock, PoisonError},
    time::Duration,
};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stt::{ContentId, transfer::Phase};
use stt_swarm::{ContentTicket, FetchOptions, FetchProgress, Fetched, fetch};
use tokio::sync::{Mutex, watch};

use crate::{
    bridge::{self, Reactor},
    content::{Content, address},
    failure::{Failure, OrRaise},
    node::{Node, seconds},
    swarm::Swarm,
};

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Checking => "checking",
        Phase::Moving => "moving",
        Phase::Done => "done",
        _ => "other",
    }
}

/// How far a fetch is: the newest state, for whoever asks.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Progress {
    sender: Lock<Option<watch::Sender<Option<FetchProgress>>>>,
    state: Arc<Mutex<watch::Receiver<Option<FetchProgress>>>>,
}

#[pymethods]
impl Progress {
    #[new]
    fn new() -> Self {
        let (sender, state) = watch::channel(None);
        Self { sender: Lock::new(Some(sender)), state: Arc::new(Mutex::new(state)) }
    }

    /// Phase, verified bytes, all bytes; None after the end.
    fn next(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let state = Arc::clone(&self.state);
        let next = async move {
            let mut state = state.lock().await;
            state.changed().await.ok()?;
            state.borrow_and_update().clone()
        };
        bridge::begin(py, reactor, next, |py, progress| {
            let Some(progress) = progress else { return Ok(py.None()) };
            let parts = (phase(progress.phase), progress.done, progress.total);
            Ok(parts.into_pyobject(py)?.into_any().unbind())
        })
    }
}

/// Id, length, name, and of a folder files and bytes.
fn shared<'py>(py: Python<'py>, one: &stt_swarm::Shared) -> PyResult<Bound<'py, PyAny>> {
    let folder = one.folder.map(|folder| (folder.files, folder.bytes));
    let id = PyBytes::new(py, one.root.as_bytes());
    Ok((id, one.size, &one.name, folder).into_pyobject(py)?.into_any())
}

/// Offers a file or folder, and with a swarm says so in its table.
#[pyfunction]
pub fn share_path(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    content: &Content,
    path: PathBuf,
    swarm: Option<&Swarm>,
) -> PyResult<Py<PyAny>> {
    let content = content.content()?;
    let dht = swarm.map(Swarm::dht).transpose()?;
    let sharing = async move {
        let offered = content.publish_file(path).await?;
        if let Some(dht) = dht {
            dht.provide_content(&offered.root).await?;
        }
        Ok::<_, Failure>(offered)
    };
    bridge::begin_detached(py, reactor, sharing, |py, offered| {
        let offered = offered.map_err(|failure| failure.raise(py))?;
        Ok(shared(py, &offered)?.unbind())
    })
}

/// All that a node offers.
#[pyfunction]
pub fn shared_contents<'py>(py: Python<'py>, content: &Content) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for one in content.content()?.library().contents() {
        list.append(shared(py, &one)?)?;
    }
    Ok(list)
}

/// The ticket of what a node offers, for others that reach it at these addresses. None if it does
/// not offer it.
#[pyfunction]
pub fn make_ticket(
    py: Python<'_>,
    content: &Content,
    id: [u8; 32],
    addresses: Vec<(String, u16)>,
) -> PyResult<Option<String>> {
    let content = content.content()?;
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|(host, port)| address(host, *port)).collect::<PyResult<_>>()?;
    let root = ContentId::from_bytes(id);
    let offered = content.library().contents().into_iter().find(|one| one.root == root);
    let Some(offered) = offered else { return Ok(None) };
    Ok(Some(content.library().ticket(&offered, &addresses).or_raise(py)?.to_string()))
}

/// What a ticket says: id, length, name, whether it is a folder, and providers with addresses.
#[pyfunction]
pub fn read_ticket<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let ticket = ContentTicket::from_str(text).or_raise(py)?;
    let providers = PyList::empty(py);
    for one in ticket.providers() {
        let addresses = one.addresses.iter().map(|at| (at.ip().to_string(), at.port()));
        let addresses: Vec<_> = addresses.collect();
        providers.append((PyBytes::new(py, one.node_id.as_bytes()), addresses))?;
    }
    let root = ticket.root();
    let id = PyBytes::new(py, root.as_bytes());
    let parts = (id, ticket.size(), ticket.name(), ticket.is_folder(), providers);
    Ok(parts.into_pyobject(py)?.into_any())
}

fn arrived(py: Python<'_>, done: Fetched) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    dict.set_item("path", done.path)?;
    dict.set_item("name", done.name)?;
    dict.set_item("size", done.size)?;
    dict.set_item("files", done.files)?;
    dict.set_item("resumed", done.resumed)?;
    dict.set_item("elapsed", done.elapsed.as_secs_f64())?;
    let providers = PyDict::new(py);
    for one in &done.providers {
        providers.set_item(PyBytes::new(py, one.node_id.as_bytes()), one.bytes)?;
    }
    dict.set_item("providers", providers)?;
    Ok(dict.into_any().unbind())
}

/// Fetches what a ticket is for into a directory, from its providers and those that the swarm's
/// table names within `patience` seconds.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
pub fn fetch_ticket(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    node: &Node,
    ticket: &str,
    directory: PathBuf,
    name: Option<String>,
    progress: Option<&Progress>,
    swarm: Option<&Swarm>,
    patience: f64,
) -> PyResult<Py<PyAny>> {
    let mut ticket = ContentTicket::from_str(ticket).or_raise(py)?;
    let node = node.node()?.clone();
    let dht = swarm.map(Swarm::dht).transpose()?;
    let patience: Duration = seconds(patience)?;
    let mut options = FetchOptions::new().name(name);
    let sender = progress
        .and_then(|progress| progress.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    if let Some(sender) = sender {
        options = options.progress(move |state| {
            sender.send_replace(Some(state));
        });
    }
    let fetching = async move {
        if let Some(dht) = dht {
            // Those that the ticket names may do without.
            let found = dht.add_providers(&mut ticket, patience).await;
            if ticket.providers().is_empty() {
                found?;
            }
        }
        Ok::<_, Failure>(fetch(&node, &ticket, directory, &options).await?)
    };
    bridge::begin(py, reactor, fetching, |py, done| {
        arrived(py, done.map_err(|failure| failure.raise(py))?)
    })
}
