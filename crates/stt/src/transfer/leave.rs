//! Leaving a transfer's stream as its sender: on every way out, also when its future is dropped.

use crate::ProtocolSender;

/// Stream code: the sender could not or need not go on.
const GAVE_UP: u32 = 0x10;
/// Stream code: the sender's file changed, so what was sent of it is of no use.
pub(super) const CHANGED: u32 = 0x11;

/// A sender's direction, which is given up when this is dropped (docs/streams.md, FILE-4). That of a
/// receiver is simply closed.
pub(super) struct Leave {
    pub(super) sender: ProtocolSender,
    code: Option<u32>,
}

impl Leave {
    pub(super) const fn new(sender: ProtocolSender) -> Self {
        Self { sender, code: Some(GAVE_UP) }
    }

    /// It gives up because its file changed.
    pub(super) const fn changed(&mut self) {
        self.code = Some(CHANGED);
    }

    /// The direction was closed and the peer has all of it.
    pub(super) const fn in_good_order(&mut self) {
        self.code = None;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(code) = self.code {
            self.sender.reset(code);
        }
    }
}
