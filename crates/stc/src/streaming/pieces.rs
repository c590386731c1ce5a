//! Keys, nonces, and the sub-chunks of one chunk.

use super::{ChunkError, ChunkHeader, StreamRole};
use crate::{
    Key,
    aead::{AeadKey, Suite},
    kdf,
};

/// The key of a chunk's epoch.
pub(super) fn epoch_key(
    root: &Key,
    suite: Suite,
    nonce: u64,
    role: Option<StreamRole>,
    sequence: u32,
) -> Result<AeadKey, ChunkError> {
    let [high, low, _, _] = sequence.to_be_bytes();
    let key = kdf::derive(
        root,
        "stc v1 stream",
        &[&[suite.id()], &nonce.to_be_bytes(), &[StreamRole::number(role)], &[high, low]],
    );
    AeadKey::new(suite, &key).ok_or(ChunkError::Forged)
}

/// Sequence (4 bytes), then the index of the sub-chunk (8 bytes): unique under the epoch's key.
pub(super) fn chunk_nonce(sequence: u32, index: u32) -> [u8; 12] {
    let [a, b, c, d] = sequence.to_be_bytes();
    let [e, f, g, h] = index.to_be_bytes();
    [a, b, c, d, 0, 0, 0, 0, e, f, g, h]
}

/// Opens the pieces of a chunk one after the other, stopping at the first that does not verify.
pub(super) fn open_pieces(
    key: &AeadKey,
    header: &ChunkHeader,
    sealed: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ChunkError> {
    let associated = header.to_bytes();
    let (data, tags) =
        sealed.split_at_checked(header.data_length as usize).ok_or(ChunkError::Header)?;
    // Zeroing a megabyte for a forgery would be work; each piece makes room for itself.
    for ((piece, tag), index) in header.pieces(data).zip(tags.as_chunks().0).zip(0..) {
        let at = out.len();
        out.resize(at + piece.len(), 0);
        let space = out.get_mut(at..).unwrap_or_default();
        key.open_to(chunk_nonce(header.sequence, index), &associated, piece, tag, space)
            .map_err(|_| ChunkError::Forged)?;
    }
    Ok(())
}

/// As [`open_pieces`], where they stand. Plaintext and tags are left in `chunk`.
pub(super) fn open_pieces_in_place(
    key: &AeadKey,
    header: &ChunkHeader,
    chunk: &mut [u8],
) -> Result<(), ChunkError> {
    let associated = header.to_bytes();
    let (data, tags) =
        chunk.split_at_mut_checked(header.data_length as usize).ok_or(ChunkError::Header)?;
    for ((piece, tag), index) in header.pieces_mut(data).zip(tags.as_chunks().0).zip(0..) {
        key.open_beside_tag(chunk_nonce(header.sequence, index), &associated, piece, tag)
            .map_err(|_| ChunkError::Forged)?;
    }
    Ok(())
}
