//! What made an operation fail, as the one who noticed it said.

use std::{
    error::Error,
    fmt::{Debug, Display, Formatter, Result},
    ops::Deref,
    sync::Arc,
};

/// What made an operation fail: an error of whatever kind, shared and not copied, or a text.
///
/// Errors of these crates give the error itself as their `source()`, so that it can be downcast.
/// Two causes are equal when they say the same.
///
/// ```
/// use std::io::{Error, ErrorKind};
///
/// let cause = stc::Cause::from(Error::from(ErrorKind::TimedOut));
/// let error = cause.downcast_ref::<Error>().ok_or("another error")?;
/// assert_eq!(error.kind(), ErrorKind::TimedOut);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// What there is no error for.
    #[must_use]
    pub fn text(said: impl Into<String>) -> Self {
        Self(Arc::from(Box::<dyn Error + Send + Sync>::from(said.into())))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl Deref for Cause {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(&self.0, f)
    }
}

impl Debug for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Debug::fmt(&self.0, f)
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}
