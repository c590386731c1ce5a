//! What must be true of the hand-over in whatever order its threads run: a bookkeeper in place of
//! QUIC, those who bring it work, and the laws at the end.

mod book;
mod cases;
mod task;

pub(crate) use cases::*;
