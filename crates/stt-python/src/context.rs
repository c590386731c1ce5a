//! STC's context: messages, hashes, states. Files are in [`crate::files`].

use std::{path::PathBuf, sync::Arc};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};
use stc::{Content, ContextData, Hash, Header, OpenOptions, SealOptions, State};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    blocking,
    failure::OrRaise,
    files::{self, Work},
    pieces::{self, Pieces},
    value::{self, TextOrBytes},
};

/// What `encrypt` gives beside the ciphertext.
#[pyclass(frozen, eq, hash, module = "seigr_toolset_transmissions._native")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    bytes: Vec<u8>,
}

impl Metadata {
    pub(crate) fn of(header: &Header) -> Self {
        Self { bytes: header.to_bytes() }
    }

    pub(crate) fn header(&self, py: Python<'_>) -> PyResult<Header> {
        Header::parse_exact(&self.bytes).or_raise(py)
    }
}

#[pymethods]
impl Metadata {
    #[new]
    fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let metadata = Self { bytes: value::buffer(data)? };
        metadata.header(data.py()).map(|_| metadata)
    }

    /// The header's bytes, as docs/formats.md has them.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    /// Slots, decoys included.
    #[getter]
    fn slots(&self, py: Python<'_>) -> PyResult<usize> {
        self.header(py).map(|header| header.slot_count())
    }

    /// Bytes of a chunk.
    #[getter]
    fn chunk_size(&self, py: Python<'_>) -> PyResult<u32> {
        self.header(py).map(|header| header.chunk_len())
    }

    /// Epoch of the context that made it.
    #[getter]
    fn epoch(&self, py: Python<'_>) -> PyResult<u32> {
        self.header(py).map(|header| header.epoch())
    }

    fn __len__(&self) -> usize {
        self.bytes.len()
    }
}

/// A secret, and what is done with it.
#[pyclass(frozen, module = "seigr_toolset_transmissions._native")]
pub struct Context {
    inner: Arc<stc::Context>,
}

/// Secrets and bindings of one call.
pub(crate) struct Secrets {
    password: Option<Zeroizing<Vec<u8>>>,
    context_data: Option<ContextData>,
}

impl Secrets {
    /// Whether using them may cost a stretch.
    fn stretch(&self) -> bool {
        self.password.is_some()
    }

    fn take(
        password: Option<&Bound<'_, PyAny>>,
        context_data: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let context_data = value::context_data(context_data)?;
        Ok(Self { password: value::secret(password)?, context_data })
    }

    pub(crate) fn open_options(&self) -> OpenOptions<'_> {
        let mut options = OpenOptions::new();
        if let Some(password) = &self.password {
            options = options.password(password.as_slice());
        }
        if let Some(data) = &self.context_data {
            options = options.context_data(data);
        }
        options
    }

    pub(crate) fn seal_options(&self) -> SealOptions<'_> {
        let mut options = SealOptions::new();
        if let Some(password) = &self.password {
            options = options.password(password.as_slice());
        }
        if let Some(data) = &self.context_data {
            options = options.context_data(data);
        }
        options
    }
}

type Decoys = Vec<(Zeroizing<Vec<u8>>, TextOrBytes)>;

/// Decoys: pairs of a password and a content.
fn decoys(value: Option<Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>>) -> PyResult<Decoys> {
    let one = |(password, content): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let password = value::secret(Some(&password))?.unwrap_or_default();
        Ok((password, TextOrBytes::take(&content)?))
    };
    value.unwrap_or_default().into_iter().map(one).collect()
}

#[pymethods]
impl Context {
    #[new]
    #[pyo3(signature = (seed, lattice_size, depth, realm, max_stretch_kib))]
    fn new(
        py: Python<'_>,
        seed: Option<&Bound<'_, PyAny>>,
        lattice_size: u16,
        depth: u8,
        realm: &Bound<'_, PyAny>,
        max_stretch_kib: Option<u64>,
    ) -> PyResult<Self> {
        let mut builder = match seed {
            Some(seed) => stc::Context::builder(value::seed(seed)?),
            None => stc::Context::seedless(),
        };
        builder = builder.lattice(lattice_size, depth).realm(TextOrBytes::take(realm)?.as_bytes());
        if let Some(kib) = max_stretch_kib {
            builder = builder.max_stretch_kib(kib);
        }
        let inner = blocking::run(py, true, move || builder.build())?.or_raise(py)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    #[pyo3(signature = (data, password, context_data, use_decoys, decoys))]
    fn encrypt<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        password: Option<&Bound<'py, PyAny>>,
        context_data: Option<&Bound<'py, PyAny>>,
        use_decoys: Option<bool>,
        decoys: Option<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>,
    ) -> PyResult<(Bound<'py, PyBytes>, Metadata)> {
        let mut data = TextOrBytes::take(data)?;
        let secrets = Secrets::take(password, context_data)?;
        let decoys = self::decoys(decoys)?;
        let long = blocking::is_long(data.as_bytes().len(), secrets.stretch());
        let context = Arc::clone(&self.inner);
        let sealed = blocking::run(py, long || !decoys.is_empty(), move || {
            let mut options = secrets.seal_options();
            if let Some(yes) = use_decoys {
                options = options.use_decoys(yes);
            }
            for (password, content) in &decoys {
                options = match content {
                    TextOrBytes::Text(text) => options.decoy(password.as_slice(), text.as_str()),
                    TextOrBytes::Bytes(bytes) => {
                        options.decoy(password.as_slice(), bytes.as_slice())
                    }
                };
            }
            let sealed = match &data {
                TextOrBytes::Text(text) => context.encrypt(text.as_str(), &options),
                TextOrBytes::Bytes(bytes) => context.encrypt(bytes.as_slice(), &options),
            };
            data.wipe();
            sealed
        })?;
        let (ciphertext, header) = sealed.or_raise(py)?;
        Ok((PyBytes::new(py, &ciphertext), Metadata::of(&header)))
    }

    #[pyo3(signature = (ciphertext, metadata, password, context_data))]
    fn decrypt<'py>(
        &self,
        py: Python<'py>,
        ciphertext: &Bound<'py, PyAny>,
        metadata: Option<&Metadata>,
        password: Option<&Bound<'py, PyAny>>,
        context_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ciphertext = value::buffer(ciphertext)?;
        let secrets = Secrets::take(password, context_data)?;
        let header = metadata.map(|metadata| metadata.header(py)).transpose()?;
        let long = blocking::is_long(ciphertext.len(), secrets.stretch());
        let context = Arc::clone(&self.inner);
        let content = blocking::run(py, long, move || {
            let options = secrets.open_options();
            match &header {
                Some(header) if !ciphertext.starts_with(&header.to_bytes()) => {
                    context.decrypt(&ciphertext, header, &options)
                }
                _ => context.open(&ciphertext, &options),
            }
        })?;
        Ok(match content.or_raise(py)? {
            Content::Text(mut text) => {
                let out = PyString::new(py, &text).into_any();
                text.zeroize();
                out
            }
            Content::Bytes(mut bytes) => {
                let out = PyBytes::new(py, &bytes).into_any();
                bytes.zeroize();
                out
            }
        })
    }

    #[pyo3(signature = (chunk, metadata, password, context_data))]
    fn find_slot<'py>(
        &self,
        py: Python<'py>,
        chunk: &Bound<'py, PyAny>,
        metadata: Option<&Metadata>,
        password: Option<&Bound<'py, PyAny>>,
        context_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(usize, usize, f64)> {
        let chunk = value::buffer(chunk)?;
        let secrets = Secrets::take(password, context_data)?;
        let header = metadata.map(|metadata| metadata.header(py)).transpose()?;
        let context = Arc::clone(&self.inner);
        let found = blocking::run(py, secrets.stretch(), move || {
            let mut options = secrets.open_options();
            if let Some(header) = &header {
                options = options.metadata(header);
            }
            context.find_slot(&chunk, &options)
        })?;
        let found = found.or_raise(py)?;
        Ok((found.index, found.slots, found.elapsed.as_secs_f64()))
    }

    #[pyo3(signature = (input, output, password, context_data, use_decoys, chunk_len, overwrite, progress))]
    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn encrypt_file<'py>(
        &self,
        py: Python<'py>,
        input: PathBuf,
        output: PathBuf,
        password: Option<&Bound<'py, PyAny>>,
        context_data: Option<&Bound<'py, PyAny>>,
        use_decoys: Option<bool>,
        chunk_len: u32,
        overwrite: bool,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Metadata, Bound<'py, PyDict>)> {
        let secrets = Secrets::take(password, context_data)?;
        let work = Work { input, output, chunk_len, overwrite };
        let context = Arc::clone(&self.inner);
        let report = files::encrypt(py, context, secrets, use_decoys, work, progress)?;
        Ok((Metadata::of(&report.metadata), files::figures(py, &report)?))
    }

    #[pyo3(signature = (input, metadata, output, password, context_data, overwrite, progress))]
    #[expect(clippy::too_many_arguments, reason = "the Python side passes all of them")]
    fn decrypt_file<'py>(
        &self,
        py: Python<'py>,
        input: PathBuf,
        metadata: Option<&Metadata>,
        output: PathBuf,
        password: Option<&Bound<'py, PyAny>>,
        context_data: Option<&Bound<'py, PyAny>>,
        overwrite: bool,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let secrets = Secrets::take(password, context_data)?;
        let header = metadata.map(|metadata| metadata.header(py)).transpose()?;
        let work = Work { input, output, chunk_len: 0, overwrite };
        let context = Arc::clone(&self.inner);
        let report = files::decrypt(py, context, secrets, header, work, progress)?;
        files::figures(py, &report)
    }

    /// Begins to encrypt pieces.
    #[pyo3(signature = (password, context_data, use_decoys, chunk_len))]
    fn seal_pieces(
        &self,
        password: Option<&Bound<'_, PyAny>>,
        context_data: Option<&Bound<'_, PyAny>>,
        use_decoys: Option<bool>,
        chunk_len: u32,
    ) -> PyResult<Pieces> {
        let secrets = Secrets::take(password, context_data)?;
        let chunk_len = pieces::check_chunk_len(chunk_len)?;
        Pieces::seal(Arc::clone(&self.inner), secrets, use_decoys, chunk_len)
    }

    /// Begins to decrypt pieces.
    #[pyo3(signature = (metadata, password, context_data))]
    fn open_pieces(
        &self,
        py: Python<'_>,
        metadata: Option<&Metadata>,
        password: Option<&Bound<'_, PyAny>>,
        context_data: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Pieces> {
        let secrets = Secrets::take(password, context_data)?;
        let header = metadata.map(|metadata| metadata.header(py)).transpose()?;
        Pieces::open(Arc::clone(&self.inner), secrets, header)
    }

    /// Digest, epoch and position.
    fn hash<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        context_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyBytes>, u32, u64)> {
        let (py, data) = (data.py(), TextOrBytes::take(data)?);
        let context_data = value::context_data(context_data)?;
        let context = Arc::clone(&self.inner);
        let long = blocking::is_long(data.as_bytes().len(), false);
        let hash =
            blocking::run(py, long, move || context.hash(data.as_bytes(), context_data.as_ref()))?;
        Ok((PyBytes::new(py, &hash.digest), hash.epoch, hash.position))
    }

    fn verify(
        &self,
        digest: [u8; 32],
        epoch: u32,
        position: u64,
        data: &Bound<'_, PyAny>,
        context_data: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let (py, data) = (data.py(), TextOrBytes::take(data)?);
        let context_data = value::context_data(context_data)?;
        let hash = Hash { epoch, position, digest };
        let context = Arc::clone(&self.inner);
        let long = blocking::is_long(data.as_bytes().len(), false);
        blocking::run(py, long, move || {
            context.verify(&hash, data.as_bytes(), context_data.as_ref())
        })
    }

    fn derive_key<'py>(
        &self,
        py: Python<'py>,
        purpose: &str,
        context_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let context_data = value::context_data(context_data)?;
        let key = self.inner.derive_key(purpose, context_data.as_ref());
        Ok(PyBytes::new(py, key.as_bytes()))
    }

    fn save_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.inner.save_state().or_raise(py)?;
        let out = PyDict::new(py);
        out.set_item("cel_state", PyBytes::new(py, &state.cel_state))?;
        out.set_item("phe_state", PyBytes::new(py, &state.phe_state))?;
        out.set_item("pcf_state", PyBytes::new(py, &state.pcf_state))?;
        Ok(out)
    }

    fn load_state(
        &self,
        py: Python<'_>,
        cel_state: Vec<u8>,
        phe_state: Vec<u8>,
        pcf_state: Vec<u8>,
    ) -> PyResult<()> {
        self.inner.load_state(&State { cel_state, phe_state, pcf_state }).or_raise(py)
    }

    fn entropy_health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let health = py.detach(|| self.inner.entropy_health());
        let out = PyDict::new(py);
        out.set_item("quality_score", health.quality_score)?;
        out.set_item("status", health.status.as_str())?;
        out.set_item("strength", health.strength)?;
        out.set_item("freshness", health.freshness)?;
        out.set_item("password_strength", health.password_strength)?;
        out.set_item("random_source_ok", health.random_source_ok)?;
        out.set_item("envelopes", health.envelopes)?;
        out.set_item("bytes", health.bytes)?;
        out.set_item("advice", health.advice)?;
        Ok(out)
    }

    fn update(&self) {
        self.inner.update();
    }

    fn forget_passwords(&self) {
        self.inner.forget_passwords();
    }

    #[getter]
    fn epoch(&self) -> u32 {
        self.inner.epoch()
    }

    #[getter]
    fn lattice_size(&self) -> u16 {
        self.inner.cost().lattice_size()
    }

    #[getter]
    fn depth(&self) -> u8 {
        self.inner.cost().depth()
    }

    #[getter]
    fn suite(&self) -> String {
        format!("{:?}", self.inner.suite())
    }
}

/// Plain BLAKE3 of `data`.
#[pyfunction]
pub fn content_hash<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let (py, data) = (data.py(), TextOrBytes::take(data)?);
    let long = blocking::is_long(data.as_bytes().len(), false);
    let id = blocking::run(py, long, move || stc::ContentId::of(data.as_bytes()))?;
    Ok(PyBytes::new(py, id.as_bytes()))
}

/// A random key in its printable form, as `stt seed new` makes it.
#[pyfunction]
pub fn new_seed(py: Python<'_>) -> PyResult<Bound<'_, PyString>> {
    let key = stc::Key::generate().or_raise(py)?;
    Ok(PyString::new(py, &key.to_printable()))
}
