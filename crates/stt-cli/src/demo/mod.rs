//! What `stt demo` needs besides the commands that it runs.

pub(crate) mod child;
pub(crate) mod stranger;
