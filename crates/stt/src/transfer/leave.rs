//! Leaving a transfer's stream: on every way out, also when its future is dropped.

use crate::{RawStream, Stream};

/// Stream code: the sender could not or need not go on.
const GAVE_UP: u32 = 0x10;
/// Stream code: the sender's file changed, so what was sent of it is of no use.
pub(super) const CHANGED: u32 = 0x11;

/// How a side ends its direction (docs/streams.md, FILE-2).
pub(super) enum Parting {
    /// A sender that gives up.
    Reset(u32),
    /// A receiver. A reset could get lost: a stream whose header is not out yet has none.
    Close,
}

/// Ends this side's direction and throws away what still comes, when dropped.
pub(super) struct Leave {
    stream: Stream,
    parting: Option<Parting>,
}

impl Leave {
    pub(super) fn new(stream: &RawStream, parting: Parting) -> Self {
        Self { stream: stream.stream().clone(), parting: Some(parting) }
    }

    /// A sender that gives up.
    pub(super) fn sender(stream: &RawStream) -> Self {
        Self::new(stream, Parting::Reset(GAVE_UP))
    }

    /// It gives up because its file changed.
    pub(super) const fn changed(&mut self) {
        self.parting = Some(Parting::Reset(CHANGED));
    }

    /// The direction was closed and the peer has all of it.
    pub(super) const fn in_good_order(&mut self) {
        self.parting = None;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        match self.parting {
            Some(Parting::Reset(code)) => self.stream.reset(code),
            Some(Parting::Close) => self.stream.start_close(),
            None => {}
        }
        self.stream.ignore();
    }
}
