//! STC's streams of chunks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use stc::{StreamingConfig, streaming::StreamMetadata};

use crate::{
    blocking,
    failure::OrRaise,
    value::{self, TextOrBytes},
};

/// From this length on, other Python threads run while a chunk is worked on.
const LONG: usize = 64 * 1024;

/// The 16 bytes before a chunk.
#[pyclass(frozen, eq, hash, from_py_object, module = "seigr_toolset_transmissions._native")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkHeader {
    inner: stc::ChunkHeader,
}

#[pymethods]
impl ChunkHeader {
    /// Bytes of a header.
    #[classattr]
    const SIZE: usize = stc::streaming::HEADER_LEN;

    /// Reads what `to_bytes` wrote: exactly 16 bytes.
    #[staticmethod]
    fn from_bytes(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes = value::buffer(data)?;
        let inner = stc::ChunkHeader::from_bytes(&bytes).or_raise(data.py())?;
        Ok(Self { inner })
    }

    /// The 16 bytes on the wire.
    #[pyo3(name = "to_bytes")]
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.to_bytes())
    }

    /// Number of the chunk.
    #[getter]
    fn sequence(&self) -> u32 {
        self.inner.sequence
    }

    /// The sender's nonce.
    #[getter]
    fn nonce(&self) -> u64 {
        self.inner.nonce
    }

    /// Bytes of plaintext.
    #[getter]
    fn data_length(&self) -> u32 {
        self.inner.data_length
    }

    /// Bit 0: split into sub-chunks.
    #[getter]
    fn flags(&self) -> u8 {
        self.inner.flags
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.bytes(py)
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let bytes = slf.get().bytes(slf.py());
        Ok((slf.get_type().getattr("from_bytes")?, (bytes,)))
    }

    fn __repr__(&self) -> String {
        let stc::ChunkHeader { sequence, nonce, data_length, flags } = self.inner;
        format!(
            "ChunkHeader(sequence={sequence}, nonce={nonce:#018x}, data_length={data_length}, \
             flags={flags:#06x})"
        )
    }
}

/// Seals chunks, and opens those of everybody with the same seed.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct StreamingContext {
    inner: Mutex<stc::StreamingContext>,
}

impl StreamingContext {
    fn lock(&self) -> MutexGuard<'_, stc::StreamingContext> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the context, detached when it is `long` or another thread is at it.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        long: bool,
        work: impl FnOnce(&mut stc::StreamingContext) -> T + Send,
    ) -> T {
        if !long && let Ok(mut free) = self.inner.try_lock() {
            return work(&mut free);
        }
        py.detach(|| work(&mut self.lock()))
    }
}

#[pymethods]
impl StreamingContext {
    #[new]
    #[pyo3(signature = (
        seed, metadata, optimal_chunk_size, enable_adaptive_chunking, lattice_size, initial_depth,
        max_depth, key_schedule_size, entropy_pool_size, key_rotation_mb, realm
    ))]
    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn new(
        seed: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        optimal_chunk_size: usize,
        enable_adaptive_chunking: bool,
        lattice_size: u16,
        initial_depth: u8,
        max_depth: u8,
        key_schedule_size: usize,
        entropy_pool_size: usize,
        key_rotation_mb: u32,
        realm: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let py = seed.py();
        let seed = value::seed(seed)?;
        let metadata = metadata
            .map(|bytes| StreamMetadata::from_bytes(&value::buffer(bytes)?).or_raise(py))
            .transpose()?;
        let config = StreamingConfig::new()
            .optimal_chunk_size(optimal_chunk_size)
            .enable_adaptive_chunking(enable_adaptive_chunking)
            .lattice_size(lattice_size)
            .max_depth(max_depth)
            .initial_depth(initial_depth)
            .key_schedule_size(key_schedule_size)
            .entropy_pool_size(entropy_pool_size)
            .key_rotation_mb(key_rotation_mb)
            .realm(TextOrBytes::take(realm)?.as_bytes());
        let made = blocking::run(py, true, move || match &metadata {
            Some(metadata) => stc::StreamingContext::join(seed, metadata, config),
            None => stc::StreamingContext::with_config(seed, config),
        })?;
        Ok(Self { inner: Mutex::new(made.or_raise(py)?) })
    }

    fn encrypt_chunk<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<(ChunkHeader, Bound<'py, PyBytes>)> {
        let sealed = match data.cast::<PyBytes>() {
            // `bytes` do not change, so they are read where they are.
            Ok(data) => {
                let data = data.as_bytes();
                self.with(py, data.len() >= LONG, |stream| stream.encrypt_chunk(data))
            }
            Err(_) => {
                let mut data = value::buffer(data)?;
                self.with(py, data.len() >= LONG, |stream| {
                    let header = stream.encrypt_in_place(&mut data)?;
                    Ok((header, data))
                })
            }
        };
        let (inner, sealed) = sealed.or_raise(py)?;
        Ok((ChunkHeader { inner }, PyBytes::new(py, &sealed)))
    }

    fn decrypt_chunk<'py>(
        &self,
        py: Python<'py>,
        header: ChunkHeader,
        sealed: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let opened = match sealed.cast::<PyBytes>() {
            Ok(sealed) => {
                let sealed = sealed.as_bytes();
                let long = sealed.len() >= LONG;
                self.with(py, long, |stream| stream.decrypt_chunk(&header.inner, sealed))
            }
            Err(_) => {
                let sealed = value::buffer(sealed)?;
                let long = sealed.len() >= LONG;
                self.with(py, long, |stream| stream.decrypt_chunk(&header.inner, &sealed))
            }
        };
        Ok(PyBytes::new(py, &opened.or_raise(py)?))
    }

    fn get_stream_metadata<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let metadata = self.with(py, false, |stream| stream.stream_metadata());
        PyBytes::new(py, &metadata.to_bytes())
    }

    fn listen_to(&self, py: Python<'_>, nonce: u64) {
        self.with(py, false, |stream| stream.listen_to(nonce));
    }

    fn rotate_key(&self, py: Python<'_>) {
        self.with(py, false, stc::StreamingContext::rotate_key);
    }

    fn save_marks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let marks = self.with(py, false, |stream| stream.save_marks()).or_raise(py)?;
        Ok(PyBytes::new(py, &marks))
    }

    fn load_marks(&self, py: Python<'_>, saved: &Bound<'_, PyAny>) -> PyResult<()> {
        let saved = value::buffer(saved)?;
        self.with(py, false, |stream| stream.load_marks(&saved)).or_raise(py)
    }

    fn get_performance_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.with(py, false, |stream| stream.performance_stats());
        let out = PyDict::new(py);
        out.set_item("chunks_encrypted", stats.chunks_encrypted)?;
        out.set_item("chunks_decrypted", stats.chunks_decrypted)?;
        out.set_item("bytes_encrypted", stats.bytes_encrypted)?;
        out.set_item("bytes_decrypted", stats.bytes_decrypted)?;
        out.set_item("encrypt_throughput_mbps", stats.encrypt_throughput_mbps)?;
        out.set_item("decrypt_throughput_mbps", stats.decrypt_throughput_mbps)?;
        out.set_item("avg_encrypt_ms", stats.avg_encrypt_ms)?;
        out.set_item("avg_decrypt_ms", stats.avg_decrypt_ms)?;
        out.set_item("subchunks_created", stats.subchunks_created)?;
        out.set_item("key_rotations", stats.key_rotations)?;
        out.set_item("epochs_remembered", stats.epochs_remembered)?;
        out.set_item("forged", stats.forged)?;
        out.set_item("replayed", stats.replayed)?;
        out.set_item("too_old", stats.too_old)?;
        out.set_item("cel_depth", stats.cel_depth)?;
        Ok(out)
    }
}
