//! One call, no context: a password is the only secret, and every call costs a stretch of 96 MiB.
//! Whoever does it more than once is better off with a [`Context`].

use super::{Content, Context, ContextError, OpenOptions, Plaintext, SealOptions};
use crate::{Coded, OpenError, SealError};

/// Why a quick call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuickError {
    /// There was no context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Nothing was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Nothing was opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl QuickError {
    fn inner(&self) -> &dyn Coded {
        match self {
            Self::Context(error) => error,
            Self::Seal(error) => error,
            Self::Open(error) => error,
        }
    }
}

impl Coded for QuickError {
    fn code(&self) -> &'static str {
        self.inner().code()
    }

    fn retry_helps(&self) -> bool {
        self.inner().retry_helps()
    }

    fn hint(&self) -> Option<&'static str> {
        self.inner().hint()
    }
}

/// Encrypts `content` under `password` into one blob, with decoy slots.
///
/// # Errors
/// [`QuickError`].
pub fn encrypt<'a>(
    content: impl Into<Plaintext<'a>>,
    password: &(impl AsRef<[u8]> + ?Sized),
) -> Result<Vec<u8>, QuickError> {
    let options = SealOptions::new().password(password.as_ref());
    Ok(Context::seedless().build()?.make(content.into(), &options, true)?.0)
}

/// Opens what [`encrypt`] made.
///
/// # Errors
/// [`QuickError`].
pub fn decrypt(blob: &[u8], password: &(impl AsRef<[u8]> + ?Sized)) -> Result<Content, QuickError> {
    let options = OpenOptions::new().password(password.as_ref());
    Ok(Context::seedless().build()?.open(blob, &options)?)
}
