//! STT: private byte streams between machines that share a seed.

pub use stc::Coded;
