//! Reading a range with its proof: no byte is handed on before its group has been verified.

use std::{io, ops::Range, time::Duration};

use bao_tree::{
    BaoTree, TreeNode,
    iter::{BaoChunk, ResponseIter},
};
use blake3::{
    Hash, Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    GROUP,
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

/// A verified group, and the hashes that came before it and prove it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its first byte in the content.
    pub(super) start: u64,
    pub(super) data: Vec<u8>,
    pub(super) parents: Vec<(TreeNode, (Hash, Hash))>,
}

/// Reads one answer, group by group.
pub(super) struct AnswerReader<'a, R> {
    from: &'a mut R,
    items: ResponseIter,
    /// Hashes of what comes, the next one last.
    expected: Vec<Hash>,
    patience: Duration,
}

impl<'a, R: AsyncRead + Unpin> AnswerReader<'a, R> {
    /// Reads what an answer begins with. `size` is what the ticket says; it is proven with the last
    /// group only, so nothing is allocated by it. `patience` is for each group.
    pub(super) async fn begin(
        from: &'a mut R,
        root: Hash,
        size: u64,
        bytes: Range<u64>,
        patience: Duration,
    ) -> Result<Self, ReadError> {
        let said = head(from, patience).await?;
        if said != size {
            return Err(ReadError::Size { size: said });
        }
        Ok(Self::after_head(from, root, size, &bytes, patience))
    }

    /// Reads what follows the [`head`] of an answer.
    pub(super) fn after_head(
        from: &'a mut R,
        root: Hash,
        size: u64,
        bytes: &Range<u64>,
        patience: Duration,
    ) -> Self {
        let items = ResponseIter::new(BaoTree::new(size, GROUP), chunks(bytes, size));
        Self { from, items, expected: vec![root], patience }
    }

    /// The next group; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Group>, ReadError> {
        let mut parents = Vec::new();
        while let Some(item) = self.items.next() {
            match item {
                BaoChunk::Parent { is_root, left, right, node, .. } => {
                    let pair = self.parent(is_root).await?;
                    parents.push((node, pair));
                    if right {
                        self.expected.push(pair.1);
                    }
                    if left {
                        self.expected.push(pair.0);
                    }
                }
                BaoChunk::Leaf { size, is_root, start_chunk, .. } => {
                    let start = start_chunk.0.saturating_mul(1024);
                    let data = self.leaf(start, size, is_root).await?;
                    return Ok(Some(Group { start, data, parents }));
                }
            }
        }
        Ok(None)
    }

    async fn parent(&mut self, is_root: bool) -> Result<(Hash, Hash), ReadError> {
        let mut pair = [[0; 32]; 2];
        exact(self.from, pair.as_flattened_mut(), self.patience).await?;
        let [left, right] = pair;
        let parent = if is_root {
            merge_subtrees_root(&left, &right, Mode::Hash)
        } else {
            Hash::from_bytes(merge_subtrees_non_root(&left, &right, Mode::Hash))
        };
        if self.expected.pop() != Some(parent) {
            return Err(ReadError::Corrupt);
        }
        Ok((Hash::from_bytes(left), Hash::from_bytes(right)))
    }

    async fn leaf(&mut self, start: u64, size: usize, is_root: bool) -> Result<Vec<u8>, ReadError> {
        // One that is longer would be a fault of ours.
        if size > GROUP.bytes() {
            return Err(ReadError::Protocol);
        }
        let mut data = vec![0; size];
        exact(self.from, &mut data, self.patience).await?;
        let hash = if is_root {
            blake3::hash(&data)
        } else {
            let mut hasher = Hasher::new();
            hasher.set_input_offset(start).update(&data);
            Hash::from_bytes(hasher.finalize_non_root())
        };
        if self.expected.pop() != Some(hash) {
            return Err(ReadError::Corrupt);
        }
        Ok(data)
    }
}

/// Reads what an answer begins with: the length that the provider says the content has.
pub(super) async fn head<R: AsyncRead + Unpin>(
    from: &mut R,
    patience: Duration,
) -> Result<u64, ReadError> {
    let mut kind = [0; 1];
    exact(from, &mut kind, patience).await?;
    let [kind] = kind;
    match Answer::from_byte(kind) {
        Some(Answer::Here) => {}
        Some(Answer::NotHere) => return Err(ReadError::NotHere),
        Some(Answer::Damaged) => return Err(ReadError::Damaged),
        Some(Answer::BadRequest) | None => return Err(ReadError::Protocol),
    }
    let mut said = [0; 8];
    exact(from, &mut said, patience).await?;
    Ok(u64::from_le_bytes(said))
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
pub(super) mod tests {
    use bao_tree::io::{outboard::PreOrderMemOutboard, sync::encode_ranges_validated};

    use super::{super::PIECE, *};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn answer(data: &[u8], bytes: &Range<u64>) -> Vec<u8> {
        let outboard = PreOrderMemOutboard::create(data, GROUP);
        let mut out = vec![Answer::Here.to_byte()];
        out.extend_from_slice(&u64::try_from(data.len()).unwrap().to_le_bytes());
        let size = u64::try_from(data.len()).unwrap();
        encode_ranges_validated(data, &outboard, &chunks(bytes, size), &mut out).unwrap();
        out
    }

    async fn read(
        mut answer: &[u8],
        root: Hash,
        size: u64,
        bytes: Range<u64>,
    ) -> Result<Vec<Group>, ReadError> {
        let mut reader = AnswerReader::begin(&mut answer, root, size, bytes, PATIENCE).await?;
        let mut groups = Vec::new();
        while let Some(group) = reader.next().await? {
            groups.push(group);
        }
        Ok(groups)
    }

    async fn read_all(answer: &[u8], data: &[u8], bytes: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let size = u64::try_from(data.len()).unwrap();
        let groups = read(answer, blake3::hash(data), size, bytes).await?;
        Ok(groups.into_iter().flat_map(|group| group.data).collect())
    }

    /// The groups of a range as they come from an honest provider.
    pub(in super::super) async fn groups(data: &[u8], bytes: Range<u64>) -> Vec<Group> {
        let size = u64::try_from(data.len()).unwrap();
        read(&answer(data, &bytes), blake3::hash(data), size, bytes).await.unwrap()
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
                let got = read_all(&good, &data, bytes.clone()).await.unwrap();
                let expected = &data[usize::try_from(start).unwrap()..][..got.len()];
                assert_eq!(got, expected);
                assert_eq!(u64::try_from(got.len()).unwrap(), bytes.end - start);
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
    async fn a_part_of_a_group_brings_all_of_it() {
        for len in [1, 1024, 16_384, 16_385, 32_768, 100_000] {
            let data: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let (size, group) = (u64::from(len), 16_384);
            for start in (0..size).step_by(16_384) {
                for end in [start + 1, start + 1_025, start + group].map(|end| end.min(size)) {
                    let got = read_all(&answer(&data, &(start..end)), &data, start..end).await;
                    let start = usize::try_from(start).unwrap();
                    assert_eq!(got.unwrap(), data[start..data.len().min(start + 16_384)]);
                }
            }
        }
    }

    #[tokio::test]
    async fn nothing_after_the_first_bad_group_is_handed_on() {
        let data = vec![5; 100_000];
        let mut bad = answer(&data, &(0..100_000));
        let at = bad.len() / 2;
        bad[at] ^= 1;
        let (root, mut from) = (blake3::hash(&data), &bad[..]);
        let mut reader =
            AnswerReader::begin(&mut from, root, 100_000, 0..100_000, PATIENCE).await.unwrap();
        let mut good = 0;
        let error = loop {
            match reader.next().await {
                Ok(group) => good += group.unwrap().data.len(),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ReadError::Corrupt) && good == 3 * 16_384, "{good}");
    }

    #[tokio::test]
    async fn an_answer_of_any_bytes_gives_content_or_an_error() {
        let data: Vec<u8> = (0..200_000u32).map(|at| at.to_le_bytes()[1]).collect();
        let (root, good) = (blake3::hash(&data), answer(&data, &(0..200_000)));
        let mut random = fastrand::Rng::with_seed(17);
        for _ in 0..300 {
            let mut bad = good.clone();
            let at = random.usize(..bad.len());
            match random.u8(..4) {
                0 => bad.truncate(at),
                1 => bad[at] ^= 1 << random.u8(..8),
                2 => drop(bad.remove(at)),
                _ => bad.insert(at, random.u8(..)),
            }
            let (mut from, mut got) = (&bad[..], Vec::new());
            let reader = AnswerReader::begin(&mut from, root, 200_000, 0..200_000, PATIENCE).await;
            if let Ok(mut reader) = reader {
                while let Ok(Some(group)) = reader.next().await {
                    got.extend(group.data);
                }
            }
            // What is handed on is right, as far as it goes.
            assert!(data.starts_with(&got));
        }
    }

    #[tokio::test]
    async fn a_claimed_size_allocates_nothing_and_is_found_out() {
        let data = vec![5; 40_000];
        let mut lie = answer(&data, &(0..40_000));
        lie[1..9].copy_from_slice(&(1u64 << 48).to_le_bytes());
        let root = blake3::hash(&data);
        // The ticket lies as well: the first hash shows it.
        let told = read(&lie, root, 1 << 48, 0..PIECE).await;
        assert!(matches!(told, Err(ReadError::Corrupt)));
        let told = read(&lie, root, 40_000, 0..40_000).await;
        assert!(matches!(told, Err(ReadError::Size { .. })));
    }
}
