//! From a value to a sealed blob.

use stc::{
    Key,
    aead::{AeadKey, Suite, TAG_LEN},
    random,
};

use super::{
    CHUNK_LOG2, FOOTER_LEN, MAX_LEN, Role,
    footer::{self, Clear, Inner},
    nonce,
    padding::padded_len,
};
use crate::{ContentId, Damage, StoreError};

const CHUNK: usize = 1 << CHUNK_LOG2;
/// Zeros for padding, handed out in pieces.
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Seals one value chunk by chunk, under a key of its own.
pub(crate) struct Sealer {
    clear: Clear,
    key: AeadKey,
    index: u64,
    len: u64,
    padding: u64,
    pending: Vec<u8>,
}

impl Sealer {
    /// Begins a blob.
    pub(crate) fn begin(root: &Key) -> Result<Self, StoreError> {
        let clear =
            Clear { salt: random::bytes()?, suite: Suite::preferred(), chunk_log2: CHUNK_LOG2 };
        let key = clear.key(root).ok_or_else(refused)?;
        Ok(Self { clear, key, index: 0, len: 0, padding: 0, pending: Vec::new() })
    }

    /// Takes `plain`, and appends what is ready to `out`.
    pub(crate) fn update(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.len = self.len.saturating_add(plain.len() as u64);
        if self.len > MAX_LEN {
            return Err(StoreError::TooLarge { item: "the value".to_owned(), limit: MAX_LEN });
        }
        self.absorb(plain, out)
    }

    /// Appends at most `most` bytes of padding to `out`; true when there is no more to come.
    pub(crate) fn pad(&mut self, most: u64, out: &mut Vec<u8>) -> Result<bool, StoreError> {
        let missing = padded_len(self.len) - self.len - self.padding;
        let mut now = missing.min(most);
        self.padding += now;
        while now > 0 {
            let piece = usize::try_from(now).unwrap_or(CHUNK).min(CHUNK);
            self.absorb(ZEROS.get(..piece).unwrap_or_default(), out)?;
            now -= piece as u64;
        }
        Ok(missing <= most)
    }

    /// Appends what padding is missing, the last chunk and the footer to `out`.
    pub(crate) fn finish(mut self, id: ContentId, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.pad(u64::MAX, out)?;
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.seal_chunk(&rest, out)?;
        }
        let inner = Inner { len: self.len, id };
        let footer = footer::encode(&self.clear, &self.key, &inner).ok_or_else(refused)?;
        out.extend(footer);
        Ok(())
    }

    fn absorb(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        if !self.pending.is_empty() {
            let take = plain.len().min(CHUNK - self.pending.len());
            let (head, rest) = plain.split_at(take);
            self.pending.extend_from_slice(head);
            plain = rest;
            if self.pending.len() < CHUNK {
                return Ok(());
            }
            let full = std::mem::take(&mut self.pending);
            self.seal_chunk(&full, out)?;
        }
        let mut chunks = plain.chunks_exact(CHUNK);
        out.reserve(plain.len() + chunks.len() * TAG_LEN + FOOTER_LEN);
        for chunk in chunks.by_ref() {
            self.seal_chunk(chunk, out)?;
        }
        self.pending.extend_from_slice(chunks.remainder());
        Ok(())
    }

    fn seal_chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = out.len();
        out.extend_from_slice(chunk);
        let data = out.get_mut(start..).unwrap_or_default();
        let tag =
            self.key.seal(nonce(Role::Chunk, self.index), &[], data).map_err(|_| refused())?;
        out.extend(tag);
        self.index += 1;
        Ok(())
    }
}

/// A whole value that fits into memory, sealed.
pub(crate) fn seal_small(root: &Key, id: ContentId, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    let len = super::sealed_len(plain.len() as u64);
    let mut out = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    let mut sealer = Sealer::begin(root)?;
    sealer.update(plain, &mut out)?;
    sealer.finish(id, &mut out)?;
    Ok(out)
}

/// The cipher takes any chunk of ours, so this is not seen; it must not become a panic either.
fn refused() -> StoreError {
    StoreError::damaged("the value", Damage::Refused)
}
