//! How much of what is sent has arrived: what the progress of a sender counts.
//!
//! QUIC holds what it was given until the peer's machine acknowledged it, and lets go of it then.
//! So each piece of a file counts itself when it is dropped, and nothing has to ask QUIC.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::stream::send_queue::COPY_BELOW;

/// Bytes of a piece: on a path of 4 Mbit/s one is acknowledged four times a second.
const PIECE: usize = 128 << 10;

/// Bytes that have arrived, those of an earlier attempt included.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    bytes: AtomicU64,
    changed: Notify,
}

impl Acknowledged {
    /// So many more bytes are known to be there.
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.changed.notify_one();
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Waits for the next [`Self::add`]. One that nobody waited for counts as the next one.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether pieces of `block` would count themselves. The queue copies what is short, and drops
    /// it at once.
    pub(super) const fn counts(block: &Bytes) -> bool {
        block.len() >= COPY_BELOW
    }

    /// Cuts `block` into pieces that count themselves.
    pub(super) fn pieces(self: &Arc<Self>, mut block: Bytes) -> impl Iterator<Item = Bytes> {
        let sum = Arc::clone(self);
        std::iter::from_fn(move || {
            // No piece is so short that it would be copied.
            let len = if block.len() < PIECE + COPY_BELOW { block.len() } else { PIECE };
            let bytes = block.split_to(len);
            let piece = Piece { bytes, sum: Arc::clone(&sum) };
            (len > 0).then(|| Bytes::from_owner(piece))
        })
    }
}

struct Piece {
    bytes: Bytes,
    sum: Arc<Acknowledged>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sum.add(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_block_and_count_once_all_of_them_went() {
        for len in [COPY_BELOW, PIECE - 1, PIECE, PIECE + 1, PIECE + COPY_BELOW, 1 << 20] {
            let sum = Arc::new(Acknowledged::default());
            let block: Bytes = (0..251).cycle().take(len).collect::<Vec<u8>>().into();
            let mut pieces: Vec<_> = sum.pieces(block.clone()).collect();
            assert_eq!(pieces.concat(), block);
            assert!(pieces.iter().all(Acknowledged::counts), "{len}");
            let kept = pieces[0].split_to(1);
            let first = pieces[0].len() + 1;
            drop(pieces);
            assert_eq!(sum.bytes(), (len - first) as u64);
            drop(kept);
            assert_eq!(sum.bytes(), len as u64);
        }
    }
}
