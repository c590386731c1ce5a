//! What every error of the project can say about itself.

/// An error with a stable name.
///
/// The code is shared by Rust, the command line's `--json`, and everything that reports errors over
/// a wire. It is never renamed and never reused; `docs/errors.md` lists all of them.
pub trait Coded: std::error::Error {
    /// `area.what_happened`, in lower case.
    fn code(&self) -> &'static str;

    /// Whether the same call may succeed later without anything being changed.
    fn retry_helps(&self) -> bool;

    /// What a person can do about it, if that is known.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}
