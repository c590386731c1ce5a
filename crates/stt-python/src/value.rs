//! Python values on their way in.

use std::collections::BTreeMap;

use pyo3::{
    buffer::PyBuffer,
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use stc::{ContextData, ContextValue, MAX_DEPTH, Seed};
use zeroize::{Zeroize, Zeroizing};

/// The bytes of any object with a buffer.
pub(crate) fn buffer(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let buffer = PyBuffer::<u8>::get(value).map_err(|_| {
        let name = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
        PyTypeError::new_err(format!("a bytes-like object is needed, not {name}"))
    })?;
    buffer.to_vec(value.py())
}

/// A text, or bytes.
pub(crate) enum TextOrBytes {
    /// It was a `str`.
    Text(String),
    /// It had a buffer.
    Bytes(Vec<u8>),
}

impl TextOrBytes {
    pub(crate) fn take(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        match value.cast::<PyString>() {
            Ok(text) => Ok(Self::Text(text.to_cow()?.into_owned())),
            Err(_) => buffer(value).map(Self::Bytes),
        }
    }

    /// Overwrites it.
    pub(crate) fn wipe(&mut self) {
        match self {
            Self::Text(text) => text.zeroize(),
            Self::Bytes(bytes) => bytes.zeroize(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A secret text or secret bytes, wiped after use.
pub(crate) fn secret(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Zeroizing<Vec<u8>>>> {
    value
        .map(|value| match TextOrBytes::take(value)? {
            TextOrBytes::Text(text) => Ok(Zeroizing::new(text.into_bytes())),
            TextOrBytes::Bytes(bytes) => Ok(Zeroizing::new(bytes)),
        })
        .transpose()
}

/// A seed: a text, bytes or a whole number.
pub(crate) fn seed(value: &Bound<'_, PyAny>) -> PyResult<Seed> {
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        let digits = Zeroizing::new(value.str()?.to_cow()?.into_owned());
        return Seed::integer(&digits)
            .map_err(|error| crate::failure::Failure::from(error).raise(value.py()));
    }
    Ok(match TextOrBytes::take(value)? {
        TextOrBytes::Text(text) => Seed::from(text.as_str()),
        TextOrBytes::Bytes(bytes) => Seed::from(bytes.as_slice()),
    })
}

/// Context data: `None`, or what JSON knows, and bytes.
pub(crate) fn context_data(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<ContextData>> {
    let Some(value) = value else { return Ok(None) };
    let value = plain(value, MAX_DEPTH)?;
    let too_deep = || PyValueError::new_err("context_data nests too deep");
    ContextData::from_value(value).map(Some).ok_or_else(too_deep)
}

fn plain(value: &Bound<'_, PyAny>, left: usize) -> PyResult<ContextValue> {
    let deeper = || {
        let text = format!("context_data may nest at most {MAX_DEPTH} deep");
        left.checked_sub(1).ok_or_else(|| PyValueError::new_err(text))
    };
    if value.is_none() {
        return Ok(ContextValue::Null);
    }
    if let Ok(yes) = value.cast::<PyBool>() {
        return Ok(ContextValue::Bool(yes.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        let out_of_range = || {
            PyValueError::new_err("a whole number in context_data lies within -2**64 to 2**64-1")
        };
        let number: i128 = value.extract().map_err(|_| out_of_range())?;
        return ContextValue::integer(number).ok_or_else(out_of_range);
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return Ok(ContextValue::Float(number.value()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(ContextValue::Text(text.to_cow()?.into_owned()));
    }
    if let Ok(map) = value.cast::<PyDict>() {
        let left = deeper()?;
        let mut out = BTreeMap::new();
        for (name, item) in map {
            let not_text = || PyTypeError::new_err("names in context_data are str");
            let name = name.cast::<PyString>().map_err(|_| not_text())?.to_cow()?.into_owned();
            out.insert(name, plain(&item, left)?);
        }
        return Ok(ContextValue::Map(out));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let left = deeper()?;
        return value
            .try_iter()?
            .map(|item| plain(&item?, left))
            .collect::<PyResult<_>>()
            .map(ContextValue::List);
    }
    buffer(value).map(ContextValue::Bytes).map_err(|_| {
        PyTypeError::new_err("context_data holds None, bool, int, float, str, bytes, list and dict")
    })
}
