//! From a sealed blob to its value.

use std::ops::Range;

use stc::{
    Key,
    aead::{AeadKey, TAG_LEN},
};

use super::{FOOTER_LEN, Layout, Role, footer, nonce};
use crate::{ContentId, Damage, DamagedPart};

/// A blob whose footer was verified: any part of it can be read.
#[derive(Debug)]
pub(crate) struct Opened {
    key: AeadKey,
    layout: Layout,
    len: u64,
    id: ContentId,
}

impl Opened {
    /// Reads the footer, the last [`FOOTER_LEN`] of the blob's `blob_len` bytes.
    ///
    /// The error says what is wrong, as the end of a sentence.
    pub(crate) fn new(root: &Key, footer: &[u8], blob_len: u64) -> Result<Self, Damage> {
        let (clear, sealed) = footer::parse(footer)?;
        let key = clear.key(root).ok_or(Damage::Unknown(DamagedPart::Cipher))?;
        let (inner, layout) = footer::unseal(&clear, &key, sealed, blob_len)?;
        Ok(Self { key, layout, len: inner.len, id: inner.id })
    }

    /// Bytes of the value.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// What the value's hash was when it was stored.
    pub(crate) const fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of a whole chunk's plaintext.
    pub(crate) const fn chunk_len(&self) -> u64 {
        self.layout.chunk_len()
    }

    /// The chunks that hold the plaintext `range`, which lies inside the padded value.
    pub(crate) const fn chunks_of(&self, range: &Range<u64>) -> Range<u64> {
        let chunk = self.chunk_len();
        range.start / chunk..range.end.div_ceil(chunk)
    }

    /// Where `chunks` lie in the blob.
    pub(crate) fn blob_range(&self, chunks: &Range<u64>) -> Range<u64> {
        let stride = self.chunk_len() + TAG_LEN as u64;
        let end = self.layout.sealed_len() - FOOTER_LEN as u64;
        (chunks.start * stride).min(end)..(chunks.end * stride).min(end)
    }

    /// All chunks, those of padding included.
    pub(crate) const fn all_chunks(&self) -> Range<u64> {
        0..self.layout.chunks()
    }

    /// Opens consecutive chunks that begin with number `first`, and leaves the plaintext, padding
    /// included, in `data`: in place, because fresh memory costs more than the cipher.
    ///
    /// The error is the number of the chunk that did not verify; `data` then holds nothing of use.
    pub(crate) fn open_chunks(&self, first: u64, data: &mut Vec<u8>) -> Result<(), u64> {
        let chunk = usize::try_from(self.chunk_len()).unwrap_or(usize::MAX - TAG_LEN);
        let (mut from, mut to, mut index) = (0, 0, first);
        while from < data.len() {
            let end = data.len().min(from + chunk + TAG_LEN);
            let sealed = data.get_mut(from..end).unwrap_or_default();
            let nonce = nonce(Role::Chunk, index);
            let plain = self.key.open(nonce, &[], sealed).map_err(|_| index)?.len();
            data.copy_within(from..from + plain, to);
            to += plain;
            from = end;
            index += 1;
        }
        data.truncate(to);
        Ok(())
    }
}

/// Opens a whole blob that is in memory.
pub(crate) fn open_small(root: &Key, mut blob: Vec<u8>) -> Result<(ContentId, Vec<u8>), Damage> {
    let at = blob.len().checked_sub(FOOTER_LEN).ok_or(Damage::TooShort(DamagedPart::Whole))?;
    let footer = blob.split_off(at);
    let opened = Opened::new(root, &footer, (at + FOOTER_LEN) as u64)?;
    opened.open_chunks(0, &mut blob).map_err(|_| Damage::Unverified(DamagedPart::Whole))?;
    blob.truncate(usize::try_from(opened.len()).unwrap_or(usize::MAX));
    Ok((opened.id(), blob))
}
