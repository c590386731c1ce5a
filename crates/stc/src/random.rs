//! Random bytes from the operating system.

/// The operating system gave no random bytes. Nothing that needs a secret can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

impl crate::Coded for RandomError {
    fn code(&self) -> &'static str {
        "random.unavailable"
    }

    fn retry_helps(&self) -> bool {
        true
    }
}

/// Fills `out` with random bytes.
///
/// # Errors
/// [`RandomError`] when the operating system refuses.
pub fn fill(out: &mut [u8]) -> Result<(), RandomError> {
    aws_lc_rs::rand::fill(out).map_err(|_| RandomError)
}

/// `N` random bytes.
///
/// # Errors
/// [`RandomError`] when the operating system refuses.
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}
