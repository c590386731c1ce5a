//! Errors on their way to Python.

use pyo3::{intern, prelude::*, sync::PyOnceLock, types::PyModule};
use stc::Coded;

/// What Python is told of an error: enough to choose a class and to fill its attributes.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    text: String,
    hint: Option<&'static str>,
    retry_helps: bool,
}

impl<E: Coded + std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            cause = inner.source();
        }
        let (code, hint, retry_helps) = (error.code(), error.hint(), error.retry_helps());
        Self { code, text, hint, retry_helps }
    }
}

impl Failure {
    /// For what should not happen.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        Self { code: "python.internal", text, hint: Some("report it"), retry_helps: false }
    }

    /// The exception, made by `seigr_toolset_transmissions.errors`, where the classes are.
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let made = ERRORS
            .get_or_try_init(py, || {
                PyModule::import(py, "seigr_toolset_transmissions.errors").map(Bound::unbind)
            })
            .and_then(|errors| {
                errors.bind(py).call_method1(
                    intern!(py, "from_native"),
                    (self.code, self.text, self.hint, self.retry_helps),
                )
            });
        made.map_or_else(|error| error, PyErr::from_value)
    }
}

/// Shortens `map_err` at the border.
pub(crate) trait OrRaise<T> {
    /// The value, or the error as an exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Into<Failure>> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| error.into().raise(py))
    }
}
