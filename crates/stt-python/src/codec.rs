//! Sealed segments over any carrier.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict},
};
use stc::Key;
use stt::{
    SessionId,
    codec::{Arrival, CodecConfig, CodecError, CodecMode, CodecRole, Credit, Segment},
};

use crate::{failure::OrRaise, value};

/// Sequence number and sealed bytes.
type Sealed<'py> = (u64, Bound<'py, PyBytes>);

fn sealed<'py>(py: Python<'py>, segments: Vec<Segment>) -> Vec<Sealed<'py>> {
    let one = |segment: Segment| (segment.sequence, PyBytes::new(py, &segment.bytes));
    segments.into_iter().map(one).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(segment_size: usize, window: u32, role: Option<&str>) -> PyResult<CodecConfig> {
    let config = CodecConfig::new().segment_size(segment_size).window(window);
    Ok(match role {
        None => config,
        Some("initiator") => config.role(CodecRole::Initiator),
        Some("responder") => config.role(CodecRole::Responder),
        Some(_) => return Err(PyValueError::new_err("role is 'initiator', 'responder' or None")),
    })
}

/// Cuts bytes into sealed segments.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Encoder {
    inner: Mutex<stt::StreamEncoder>,
}

#[pymethods]
impl Encoder {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn new(
        py: Python<'_>,
        root: [u8; 32],
        session_id: [u8; 8],
        stream_id: u32,
        length: Option<u64>,
        segment_size: usize,
        window: u32,
        role: Option<&str>,
        flow_control: bool,
    ) -> PyResult<Self> {
        let mode = length.map_or(CodecMode::Live, |length| CodecMode::Bounded { length });
        let config = config(segment_size, window, role)?.mode(mode);
        let config = config.flow_control(flow_control);
        let (root, session) = (Key::from_bytes(root), SessionId::from_bytes(session_id));
        let encoder = stt::StreamEncoder::new(&root, session, stream_id, config).or_raise(py)?;
        Ok(Self { inner: Mutex::new(encoder) })
    }

    /// Takes bytes and gives what credit allows, and whether more waits for credit.
    fn send<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<(Vec<Sealed<'py>>, bool)> {
        let (py, data) = (data.py(), Bytes::from(value::buffer(data)?));
        self.after(py, |encoder| encoder.push(data))
    }

    /// What waited for credit and has it now.
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<(Vec<Sealed<'py>>, bool)> {
        self.after(py, |_| Ok(()))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<(Vec<Sealed<'py>>, bool)> {
        self.after(py, stt::StreamEncoder::end)
    }

    fn grant(&self, generation: u32, limit: u64) {
        lock(&self.inner).grant(Credit { generation, limit });
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        lock(&self.inner).reset().or_raise(py)
    }

    #[getter]
    fn credit_left(&self) -> u64 {
        lock(&self.inner).credit_left()
    }

    #[getter]
    fn is_finished(&self) -> bool {
        lock(&self.inner).is_finished()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = lock(&self.inner).stats();
        let out = PyDict::new(py);
        out.set_item("segments", stats.segments)?;
        out.set_item("bytes", stats.bytes)?;
        out.set_item("waiting", stats.waiting)?;
        out.set_item("resets", stats.resets)?;
        Ok(out)
    }
}

impl Encoder {
    /// All segments that credit allows once `change` is made, and whether more waits for credit:
    /// asked later, the answer would be of other credit.
    fn after<'py>(
        &self,
        py: Python<'py>,
        change: impl FnOnce(&mut stt::StreamEncoder) -> Result<(), CodecError> + Send,
    ) -> PyResult<(Vec<Sealed<'py>>, bool)> {
        let made = py.detach(|| {
            let mut encoder = lock(&self.inner);
            change(&mut encoder)?;
            let mut segments = Vec::new();
            loop {
                match encoder.poll_segment() {
                    Ok(Some(segment)) => segments.push(segment),
                    Ok(None) | Err(CodecError::Blocked { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok((segments, encoder.is_blocked()))
        });
        let (segments, blocked) = made.or_raise(py)?;
        Ok((sealed(py, segments), blocked))
    }
}

/// Opens segments and puts them in order.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Decoder {
    inner: Mutex<stt::StreamDecoder>,
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(
        py: Python<'_>,
        root: [u8; 32],
        session_id: [u8; 8],
        stream_id: u32,
        segment_size: usize,
        window: u32,
        role: Option<&str>,
    ) -> PyResult<Self> {
        let config = config(segment_size, window, role)?;
        let (root, session) = (Key::from_bytes(root), SessionId::from_bytes(session_id));
        let decoder = stt::StreamDecoder::new(&root, session, stream_id, config).or_raise(py)?;
        Ok(Self { inner: Mutex::new(decoder) })
    }

    /// `new`, `duplicate` or `reset`.
    fn receive_segment(&self, segment: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        let (py, segment) = (segment.py(), Bytes::from(value::buffer(segment)?));
        let received = py.detach(|| lock(&self.inner).receive_segment(segment));
        Ok(match received.or_raise(py)? {
            Arrival::New => "new",
            Arrival::Duplicate => "duplicate",
            Arrival::Reset => "reset",
        })
    }

    fn receive_all<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| lock(&self.inner).receive_all());
        PyBytes::new(py, &bytes)
    }

    fn next_bytes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        lock(&self.inner).next_bytes().map(|bytes| PyBytes::new(py, &bytes))
    }

    fn skip_missing(&self) -> u64 {
        lock(&self.inner).skip_missing()
    }

    fn credit(&self) -> (u32, u64) {
        let credit = lock(&self.inner).credit();
        (credit.generation, credit.limit)
    }

    #[getter]
    fn is_finished(&self) -> bool {
        lock(&self.inner).is_finished()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = lock(&self.inner).stats();
        let out = PyDict::new(py);
        out.set_item("segments", stats.segments)?;
        out.set_item("bytes", stats.bytes)?;
        out.set_item("duplicates", stats.duplicates)?;
        out.set_item("out_of_order", stats.out_of_order)?;
        out.set_item("refused", stats.refused)?;
        out.set_item("skipped", stats.skipped)?;
        out.set_item("resets", stats.resets)?;
        out.set_item("held", stats.held)?;
        out.set_item("held_bytes", stats.held_bytes)?;
        Ok(out)
    }
}
