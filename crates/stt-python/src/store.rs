//! Encrypted storage addressed by hash.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};
use stc::Key;
use stt_store::{Chamber, ChamberKey, ChamberOptions, ContentId, Keep, Protection, StoreError};

use crate::{
    bridge::{self, Held, Reactor},
    failure::OrRaise,
    node::Node,
    store_io::{StoreReader, StoreWriter},
    value,
};

/// An open chamber.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Store {
    chamber: Held<Chamber>,
}

/// Keeps a content while it is held.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct ContentGuard {
    guard: Held<Mutex<Option<Protection>>>,
}

#[pymethods]
impl ContentGuard {
    fn close(&self) -> PyResult<()> {
        let mut guard = self.guard.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = guard.take();
        let _inside = bridge::engine()?.enter();
        drop(guard);
        Ok(())
    }
}

/// How long a content stays.
fn keep(name: Option<String>, cached: bool) -> Keep {
    match name {
        Some(name) => Keep::Named(name),
        None if cached => Keep::Cached,
        None => Keep::Pinned,
    }
}

fn opened(py: Python<'_>, chamber: Result<Chamber, StoreError>) -> PyResult<Py<PyAny>> {
    let chamber = Held::new(chamber.or_raise(py)?);
    Ok(Py::new(py, Store { chamber })?.into_any())
}

fn address(py: Python<'_>, id: Result<ContentId, StoreError>) -> PyResult<Py<PyAny>> {
    Ok(PyBytes::new(py, id.or_raise(py)?.as_bytes()).into_any().unbind())
}

fn content(py: Python<'_>, data: Result<Bytes, StoreError>) -> PyResult<Py<PyAny>> {
    Ok(PyBytes::new(py, &data.or_raise(py)?).into_any().unbind())
}

fn nothing(py: Python<'_>, done: Result<(), StoreError>) -> PyResult<Py<PyAny>> {
    done.or_raise(py).map(|()| py.None())
}

fn yes_or_no(py: Python<'_>, answer: Result<bool, StoreError>) -> PyResult<Py<PyAny>> {
    Ok(answer.or_raise(py)?.into_pyobject(py)?.to_owned().into_any().unbind())
}

/// Opens a chamber on disk, or in memory without a path.
#[pyfunction]
pub fn open_store(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    key: [u8; 32],
    path: Option<PathBuf>,
    quota: Option<u64>,
) -> PyResult<Py<PyAny>> {
    let key = ChamberKey::from_key(&Key::from_bytes(key));
    let opening = async move {
        match path {
            Some(path) => {
                let options = ChamberOptions::default().quota(quota);
                Chamber::open(&key, path, options).await
            }
            None => {
                let chamber = Chamber::in_memory(&key).await?;
                chamber.set_quota(quota);
                Ok(chamber)
            }
        }
    };
    bridge::begin_detached(py, reactor, opening, opened)
}

/// Opens a node's chamber.
#[pyfunction]
pub fn open_chamber(
    py: Python<'_>,
    reactor: &Bound<'_, Reactor>,
    node: &Node,
) -> PyResult<Py<PyAny>> {
    let node = node.node()?.clone();
    bridge::begin_detached(py, reactor, async move { node.chamber().await }, opened)
}

// Whatever is begun is also finished: it runs on the engine's threads, and giving up waiting leaves
// nothing half done.
#[pymethods]
impl Store {
    fn put(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        data: &Bound<'_, PyAny>,
        name: Option<String>,
        cached: bool,
    ) -> PyResult<Py<PyAny>> {
        let (chamber, data) = (self.chamber.get()?.clone(), Bytes::from(value::buffer(data)?));
        let storing = async move { chamber.put_with(data, keep(name, cached)).await };
        bridge::begin_detached(py, reactor, storing, address)
    }

    fn put_file(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        path: PathBuf,
        name: Option<String>,
        cached: bool,
    ) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let storing = async move { chamber.put_file(path, keep(name, cached)).await };
        bridge::begin_detached(py, reactor, storing, address)
    }

    /// Begins to store what comes piece by piece.
    fn writer(&self, name: Option<String>, cached: bool) -> PyResult<StoreWriter> {
        let _inside = bridge::engine()?.enter();
        Ok(StoreWriter::begin(self.chamber.get()?.clone(), keep(name, cached)))
    }

    fn reader(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        let opening = async move { chamber.reader(&id).await };
        bridge::begin_detached(py, reactor, opening, |py, opened| {
            Ok(Py::new(py, StoreReader::new(opened.or_raise(py)?))?.into_any())
        })
    }

    /// Gives a content another name.
    fn set_name(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
        id: [u8; 32],
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        let naming = async move { chamber.set_name(&name, &id).await };
        bridge::begin_detached(py, reactor, naming, nothing)
    }

    /// Keeps a content, or does no longer.
    fn pin(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
        yes: bool,
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        let pinning =
            async move { if yes { chamber.pin(&id).await } else { chamber.unpin(&id).await } };
        bridge::begin_detached(py, reactor, pinning, nothing)
    }

    /// Keeps a content while the guard lives.
    fn protect(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        let protecting = async move { chamber.protect(&id).await };
        bridge::begin_detached(py, reactor, protecting, |py, guard| {
            let guard = Held::new(Mutex::new(Some(guard.or_raise(py)?)));
            Ok(Py::new(py, ContentGuard { guard })?.into_any())
        })
    }

    /// Removes what nothing keeps, or counts it.
    fn collect(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        dry_run: bool,
    ) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let collecting = async move { chamber.collect(dry_run).await };
        bridge::begin_detached(py, reactor, collecting, |py, done| {
            let done = done.or_raise(py)?;
            let out = PyDict::new(py);
            out.set_item("contents", done.contents)?;
            out.set_item("bytes", done.bytes)?;
            out.set_item("leftover_files", done.leftovers.files)?;
            out.set_item("leftover_bytes", done.leftovers.bytes)?;
            Ok(out.into_any().unbind())
        })
    }

    /// Reads and verifies everything.
    fn verify(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let verifying = async move { chamber.verify(|_, _| {}).await };
        bridge::begin_detached(py, reactor, verifying, |py, report| {
            let report = report.or_raise(py)?;
            let problems = PyList::empty(py);
            for one in &report.problems {
                let id = one.id.map(|id| PyBytes::new(py, id.as_bytes()));
                problems.append((one.to_string(), id, &one.names, &one.blob))?;
            }
            let out = PyDict::new(py);
            out.set_item("contents", report.contents)?;
            out.set_item("damaged", report.damaged)?;
            out.set_item("bytes", report.bytes)?;
            out.set_item("names", report.names)?;
            out.set_item("problems", problems)?;
            out.set_item("problems_found", report.problems_found)?;
            out.set_item("leftover_files", report.leftovers.files)?;
            out.set_item("leftover_bytes", report.leftovers.bytes)?;
            Ok(out.into_any().unbind())
        })
    }

    /// Removes a content whose id is not known any more.
    fn remove_unreadable(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        blob: String,
    ) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let removing = async move { chamber.remove_unreadable(&blob).await };
        bridge::begin_detached(py, reactor, removing, nothing)
    }

    fn set_quota(&self, bytes: Option<u64>) -> PyResult<()> {
        self.chamber.get()?.set_quota(bytes);
        Ok(())
    }

    fn get(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        bridge::begin_detached(py, reactor, async move { chamber.get(&id).await }, content)
    }

    fn get_range(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
        start: u64,
        end: u64,
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        let reading = async move { chamber.get_range(&id, start..end).await };
        bridge::begin_detached(py, reactor, reading, content)
    }

    fn get_named(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
    ) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        bridge::begin_detached(py, reactor, async move { chamber.get_named(&name).await }, content)
    }

    fn resolve(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
    ) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        bridge::begin_detached(py, reactor, async move { chamber.resolve(&name).await }, address)
    }

    fn contains(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        bridge::begin_detached(py, reactor, async move { chamber.contains(&id).await }, yes_or_no)
    }

    fn remove(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        id: [u8; 32],
    ) -> PyResult<Py<PyAny>> {
        let (chamber, id) = (self.chamber.get()?.clone(), ContentId::from_bytes(id));
        bridge::begin_detached(py, reactor, async move { chamber.remove(&id).await }, nothing)
    }

    fn remove_name(
        &self,
        py: Python<'_>,
        reactor: &Bound<'_, Reactor>,
        name: String,
    ) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let removing = async move { chamber.remove_name(&name).await };
        bridge::begin_detached(py, reactor, removing, yes_or_no)
    }

    /// Names and the addresses that they stand for.
    fn names(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let listing = async move {
            let (mut found, mut failed) = (Vec::new(), None);
            let visit = |entry: Result<stt_store::NamedEntry, StoreError>| match entry {
                Ok(entry) => {
                    found.push((entry.name, entry.id));
                    true
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            };
            chamber.names(visit).await?;
            failed.map_or(Ok(found), Err)
        };
        bridge::begin_detached(py, reactor, listing, |py, found: Result<_, StoreError>| {
            let out = PyDict::new(py);
            for (name, id) in found.or_raise(py)? {
                out.set_item(name, PyBytes::new(py, id.as_bytes()))?;
            }
            Ok(out.into_any().unbind())
        })
    }

    /// Address, length, stored bytes, whether it is pinned, and names of all contents.
    fn contents(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let listing = async move {
            let (mut found, mut failed) = (Vec::new(), None);
            let visit = |info: Result<stt_store::ContentInfo, stt_store::Problem>| match info {
                Ok(info) => {
                    found.push(info);
                    true
                }
                Err(problem) => {
                    failed = Some(problem.error);
                    false
                }
            };
            chamber.contents(visit).await?;
            failed.map_or(Ok(found), Err)
        };
        bridge::begin_detached(py, reactor, listing, |py, found: Result<_, StoreError>| {
            let list = PyList::empty(py);
            for one in found.or_raise(py)? {
                let one: stt_store::ContentInfo = one;
                let id = PyBytes::new(py, one.id.as_bytes());
                list.append((id, one.len, one.stored, one.pinned, one.names))?;
            }
            Ok(list.into_any().unbind())
        })
    }

    fn stats(&self, py: Python<'_>, reactor: &Bound<'_, Reactor>) -> PyResult<Py<PyAny>> {
        let chamber = self.chamber.get()?.clone();
        let counting = async move { chamber.stats().await };
        bridge::begin_detached(py, reactor, counting, |py, stats| {
            let stats = stats.or_raise(py)?;
            let out = PyDict::new(py);
            out.set_item("contents", stats.contents)?;
            out.set_item("content_bytes", stats.content_bytes)?;
            out.set_item("names", stats.names)?;
            out.set_item("stored_bytes", stats.stored_bytes)?;
            Ok(out.into_any().unbind())
        })
    }

    #[getter]
    fn place(&self) -> PyResult<String> {
        Ok(self.chamber.get()?.place())
    }
}
