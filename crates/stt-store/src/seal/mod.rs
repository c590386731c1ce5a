//! The sealed form of a value: chunks, padding and a footer (`docs/storage.md`, "Sealed blobs").
//!
//! No I/O: bytes in, bytes out.

mod footer;
mod open;
mod padding;
mod write;

pub(crate) use footer::FOOTER_LEN;
pub(crate) use open::{Opened, open_small};
pub(crate) use padding::padded_len;
pub(crate) use write::{Sealer, seal_small};

use stc::aead::TAG_LEN;

/// Longest value: 256 TiB. Up to there the probability that AES-GCM under one key can be told from
/// random stays below 2^-40.
pub(crate) const MAX_LEN: u64 = 1 << 48;

/// log2 of the plaintext bytes of a chunk as we write it: 64 KiB. A range read fetches at most this
/// much too much on either side, and tags add 0.02 %.
pub(crate) const CHUNK_LOG2: u8 = 16;

/// [`TAG_LEN`] as a file size.
const TAG: u64 = TAG_LEN as u64;

/// How `padded` plaintext bytes lie in chunks of `1 << chunk_log2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    padded: u64,
    chunk_log2: u8,
}

impl Layout {
    pub(crate) const fn new(padded: u64, chunk_log2: u8) -> Self {
        Self { padded, chunk_log2 }
    }

    pub(crate) const fn chunk_len(self) -> u64 {
        1 << self.chunk_log2
    }

    pub(crate) const fn chunks(self) -> u64 {
        self.padded.div_ceil(self.chunk_len())
    }

    /// Bytes of the sealed blob, footer included.
    pub(crate) const fn sealed_len(self) -> u64 {
        self.padded + self.chunks() * TAG + FOOTER_LEN as u64
    }
}

/// Bytes that a value of `len` bytes takes when sealed.
pub(crate) fn sealed_len(len: u64) -> u64 {
    Layout::new(padded_len(len), CHUNK_LOG2).sealed_len()
}

/// What a nonce is for; under one key, chunk `n` and the footer never meet.
fn nonce(role: Role, index: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (head, tail) = nonce.split_at_mut(4);
    head.copy_from_slice(&[role as u8, 0, 0, 0]);
    tail.copy_from_slice(&index.to_be_bytes());
    nonce
}

#[derive(Clone, Copy)]
enum Role {
    Chunk = 1,
    Footer = 2,
}

#[cfg(test)]
mod tests;
