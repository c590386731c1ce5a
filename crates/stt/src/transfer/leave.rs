//! Leaving a transfer's stream: on every way out, also when its future is dropped.

use crate::{RawStream, Stream};

/// Stream code: the sender could not or need not go on.
const GAVE_UP: u32 = 0x10;

/// How a side ends its direction (docs/streams.md, FILE-2).
pub(super) enum Parting {
    /// A sender that gives up.
    Reset,
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

    /// The direction was closed and the peer has all of it.
    pub(super) const fn in_good_order(&mut self) {
        self.parting = None;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        match self.parting {
            Some(Parting::Reset) => self.stream.reset(GAVE_UP),
            Some(Parting::Close) => self.stream.start_close(),
            None => {}
        }
        self.stream.ignore();
    }
}
