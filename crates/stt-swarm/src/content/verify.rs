//! Reading a range with its proof: no byte is handed on before its group has been verified.

use std::{io, ops::Range, time::Duration};

use bao_tree::{
    BaoTree, TreeNode,
    iter::{BaoChunk, ResponseIterRef},
};
use blake3::{
    Hash, Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    GROUP, PIECE,
    wire::{Answer, chunks},
};

/// Why a provider gave nothing of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It lies, or its memory does: it is not asked again.
    #[error("sent bytes that do not verify")]
    Corrupt,
    /// Its content of that hash has another length, which cannot be.
    #[error("says that it has {size} bytes")]
    Size { size: u64 },
    /// It does not have it.
    #[error("does not have it")]
    NotHere,
    /// Its copy is damaged, and it says so.
    #[error("says that its copy is damaged")]
    Damaged,
    /// It does not follow the protocol.
    #[error("does not follow the protocol")]
    Protocol,
    /// It said nothing for too long.
    #[error("stopped sending")]
    Silent,
    /// The stream ended.
    #[error("was lost: {0}")]
    Lost(#[from] io::Error),
}

impl ReadError {
    /// Whether it may be asked again.
    pub(super) const fn is_temporary(&self) -> bool {
        matches!(self, Self::Silent | Self::Lost(_))
    }
}

/// A verified range of whole groups, and the hashes that prove it.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) data: Vec<u8>,
    pub(super) parents: Vec<(TreeNode, (Hash, Hash))>,
}

/// Reads one answer. `size` is what the ticket says; it is proven with the last group only, so
/// nothing is allocated by it. `patience` is for each group.
pub(super) async fn read<R: AsyncRead + Unpin>(
    from: &mut R,
    root: Hash,
    size: u64,
    bytes: Range<u64>,
    patience: Duration,
) -> Result<Piece, ReadError> {
    let mut kind = [0; 1];
    exact(from, &mut kind, patience).await?;
    match Answer::from_byte(kind[0]) {
        Some(Answer::Here) => {}
        Some(Answer::NotHere) => return Err(ReadError::NotHere),
        Some(Answer::Damaged) => return Err(ReadError::Damaged),
        Some(Answer::BadRequest) | None => return Err(ReadError::Protocol),
    }
    let mut said = [0; 8];
    exact(from, &mut said, patience).await?;
    let said = u64::from_le_bytes(said);
    if said != size {
        return Err(ReadError::Size { size: said });
    }
    let wanted = chunks(&bytes);
    let mut piece = Piece { start: bytes.start, ..Piece::default() };
    let mut expected = vec![root];
    for item in ResponseIterRef::new(BaoTree::new(size, GROUP), &wanted) {
        match item {
            BaoChunk::Parent { is_root, left, right, node, .. } => {
                let mut pair = [[0; 32]; 2];
                exact(from, pair.as_flattened_mut(), patience).await?;
                let [l, r] = pair;
                let parent = if is_root {
                    merge_subtrees_root(&l, &r, Mode::Hash)
                } else {
                    Hash::from_bytes(merge_subtrees_non_root(&l, &r, Mode::Hash))
                };
                if expected.pop() != Some(parent) {
                    return Err(ReadError::Corrupt);
                }
                let (l, r) = (Hash::from_bytes(l), Hash::from_bytes(r));
                piece.parents.push((node, (l, r)));
                if right {
                    expected.push(r);
                }
                if left {
                    expected.push(l);
                }
            }
            BaoChunk::Leaf { size, is_root, start_chunk, .. } => {
                let before = piece.data.len();
                let len = before.saturating_add(size);
                // A group that is not whole, or that nobody asked for, would be a fault of ours.
                if size > GROUP.bytes() || u64::try_from(len).is_ok_and(|len| len > PIECE) {
                    return Err(ReadError::Protocol);
                }
                piece.data.resize(len, 0);
                let group = piece.data.get_mut(before..).unwrap_or_default();
                exact(from, group, patience).await?;
                let hash = if is_root {
                    blake3::hash(group)
                } else {
                    let mut hasher = Hasher::new();
                    hasher.set_input_offset(start_chunk.0.saturating_mul(1024)).update(group);
                    Hash::from_bytes(hasher.finalize_non_root())
                };
                if expected.pop() != Some(hash) {
                    return Err(ReadError::Corrupt);
                }
            }
        }
    }
    Ok(piece)
}

async fn exact<R: AsyncRead + Unpin>(
    from: &mut R,
    into: &mut [u8],
    patience: Duration,
) -> Result<(), ReadError> {
    match tokio::time::timeout(patience, from.read_exact(into)).await {
        Ok(read) => Ok(read.map(|_| ())?),
        Err(_) => Err(ReadError::Silent),
    }
}

#[cfg(test)]
mod tests {
    use bao_tree::io::{
        outboard::PreOrderMemOutboard,
        sync::{CreateOutboard, encode_ranges_validated},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn answer(data: &[u8], bytes: &Range<u64>) -> Vec<u8> {
        let outboard = PreOrderMemOutboard::create(std::io::Cursor::new(data), GROUP).unwrap();
        let mut out = vec![Answer::Here.to_byte()];
        out.extend_from_slice(&u64::try_from(data.len()).unwrap().to_le_bytes());
        encode_ranges_validated(data, &outboard, &chunks(bytes), &mut out).unwrap();
        out
    }

    async fn read_all(answer: &[u8], data: &[u8], bytes: Range<u64>) -> Result<Piece, ReadError> {
        let size = u64::try_from(data.len()).unwrap();
        read(&mut &answer[..], blake3::hash(data), size, bytes, PATIENCE).await
    }

    #[tokio::test]
    async fn every_range_of_groups_verifies_and_any_flipped_bit_does_not() {
        for len in [1, 1024, 16_384, 16_385, 100_000, 1_100_000] {
            let data: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let len = u64::from(len);
            for start in [0, 16_384, 49_152, PIECE] {
                if start >= len {
                    continue;
                }
                let bytes = start..len.min(start + PIECE);
                let good = answer(&data, &bytes);
                let piece = read_all(&good, &data, bytes.clone()).await.unwrap();
                let expected = &data[usize::try_from(start).unwrap()..][..piece.data.len()];
                assert_eq!(piece.data, expected);
                assert_eq!(u64::try_from(piece.data.len()).unwrap(), bytes.end - start);
                for at in (9..good.len()).step_by(3_001) {
                    let mut bad = good.clone();
                    bad[at] ^= 1;
                    let error = read_all(&bad, &data, bytes.clone()).await.unwrap_err();
                    assert!(matches!(error, ReadError::Corrupt), "{error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_claimed_size_allocates_nothing_and_is_found_out() {
        let data = vec![5; 40_000];
        let mut lie = answer(&data, &(0..40_000));
        lie[1..9].copy_from_slice(&(1u64 << 48).to_le_bytes());
        let root = blake3::hash(&data);
        // The ticket lies as well: the first hash shows it.
        let told = read(&mut &lie[..], root, 1 << 48, 0..PIECE, PATIENCE).await;
        assert!(matches!(told, Err(ReadError::Corrupt)));
        let told = read(&mut &lie[..], root, 40_000, 0..40_000, PATIENCE).await;
        assert!(matches!(told, Err(ReadError::Size { .. })));
    }
}
