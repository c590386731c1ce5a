//! Getting values out.

use std::ops::Range;

use bytes::{Buf, Bytes};
use futures_util::{Stream, stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Chamber, content_item, guard::Protection};
use crate::{
    BlobName, BlobReader, ContentId, Damage, DamagedPart, StoreError,
    disk::blocking,
    seal::{FOOTER_LEN, Opened},
};

/// Sealed bytes that are read, opened and handed out together while streaming.
const PIECE: u64 = 1 << 20;
/// Sealed bytes up to here are opened right away; more on a thread that may block.
const INLINE_WORK: usize = 128 << 10;

impl Chamber {
    /// The value with this id, which must fit into memory. Every byte is verified.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`]; [`StoreError::TooLarge`] when it cannot
    /// fit into memory; errors of reading.
    pub async fn get(&self, id: &ContentId) -> Result<Bytes, StoreError> {
        let mut reader = self.reader(id).await?;
        let limit = isize::MAX as u64;
        if reader.len() > limit {
            return Err(StoreError::TooLarge { item: content_item(id), limit });
        }
        let mut value = reader.next_piece().await?.unwrap_or_default();
        let missing = reader.len().saturating_sub(value.len() as u64);
        let room = usize::try_from(missing).unwrap_or(usize::MAX);
        value
            .try_reserve_exact(room)
            .map_err(|_| StoreError::TooLarge { item: content_item(id), limit })?;
        while let Some(piece) = reader.next_piece().await? {
            value.extend_from_slice(&piece);
        }
        Ok(value.into())
    }

    /// Bytes `range` of the value with this id; only the chunks that hold them are read.
    ///
    /// # Errors
    /// As for [`Self::get`]; [`StoreError::Range`] when it reaches beyond the end.
    pub async fn get_range(&self, id: &ContentId, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.reader(id).await?.read_range(range).await
    }

    /// Whether the value with this id is here. It may be damaged; see [`Self::verify`].
    ///
    /// # Errors
    /// Errors of reading.
    pub async fn contains(&self, id: &ContentId) -> Result<bool, StoreError> {
        let name = self.shared.keys.content_name(id)?;
        let found = self.provider().exists(name).await;
        found.map_err(|error| error.about(&content_item(id)))
    }

    /// Opens the value with this id for reading in pieces. It is not collected as long as the
    /// reader lives.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn reader(&self, id: &ContentId) -> Result<ContentReader, StoreError> {
        let name = self.shared.keys.content_name(id)?;
        self.open_content(name, &content_item(id)).await
    }

    /// Opens the content at `name`, which has to be the one that belongs there.
    pub(super) async fn open_content(
        &self,
        name: BlobName,
        item: &str,
    ) -> Result<ContentReader, StoreError> {
        let protection = self.shared.guard.protect(name).await;
        let open = async {
            let blob = self.provider().reader(name).await?;
            let at = blob
                .len()
                .checked_sub(FOOTER_LEN as u64)
                .ok_or_else(|| StoreError::damaged(item, Damage::TooShort(DamagedPart::Whole)))?;
            let footer = blob.read_at(at, FOOTER_LEN).await?;
            let opened = Opened::new(&self.shared.keys.content, &footer, blob.len());
            let opened = opened.map_err(|damage| StoreError::damaged(item, damage))?;
            if self.shared.keys.content_name(&opened.id())? != name {
                return Err(StoreError::damaged(item, Damage::Misplaced));
            }
            Ok((blob, opened))
        };
        let (blob, opened) = open.await.map_err(|error: StoreError| error.about(item))?;
        Ok(ContentReader {
            blob,
            opened: std::sync::Arc::new(opened),
            item: item.to_owned(),
            at: 0,
            ahead: None,
            _protection: protection,
        })
    }
}

/// A value opened for reading.
pub struct ContentReader {
    blob: Box<dyn BlobReader>,
    opened: std::sync::Arc<Opened>,
    item: String,
    /// The next chunk of [`Self::next`].
    at: u64,
    /// The sealed piece that begins there, when it was read already.
    ahead: Option<Vec<u8>>,
    _protection: Protection,
}

impl std::fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentReader").field("item", &self.item).finish_non_exhaustive()
    }
}

impl ContentReader {
    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.opened.len()
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of the value.
    #[must_use]
    pub fn id(&self) -> ContentId {
        self.opened.id()
    }

    /// Bytes `range` of the value; only the chunks that hold them are read.
    ///
    /// # Errors
    /// [`StoreError::Range`] when it reaches beyond the end; [`StoreError::Damaged`]; errors of
    /// reading.
    pub async fn read_range(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (start, end, len) = (range.start, range.end, self.len());
        if start > end || end > len {
            return Err(StoreError::Range { item: self.item.clone(), start, end, len });
        }
        let mut out = Vec::new();
        let mut chunks = self.opened.chunks_of(&range);
        let first = chunks.start;
        while start < end && chunks.start < chunks.end {
            let now = chunks.start..chunks.end.min(chunks.start + self.step());
            let sealed = self.read_sealed(&now).await?;
            let plain = self.open(now.start, sealed).await?;
            if out.is_empty() {
                out = plain;
            } else {
                out.extend_from_slice(&plain);
            }
            chunks.start = now.end;
        }
        let skip = start - first * self.opened.chunk_len();
        let mut out = Bytes::from(out);
        out.advance(usize::try_from(skip).unwrap_or(usize::MAX).min(out.len()));
        out.truncate(usize::try_from(end - start).unwrap_or(usize::MAX));
        Ok(out)
    }

    /// The next piece of the value, of about 1 MiB, or `None` at the end. While it is decrypted,
    /// the one after it is read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]; errors of reading. Pieces handed out before were verified.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.next_piece().await?.map(Bytes::from))
    }

    /// The pieces as a stream; as [`Self::next`], and nothing after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
        stream::try_unfold(self, async |mut reader| {
            let piece = reader.next().await?;
            Ok(piece.map(|piece| (piece, reader)))
        })
    }

    async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let needed = self.opened.chunks_of(&(0..self.len())).end;
        if self.at >= needed {
            return Ok(None);
        }
        let now = self.at..needed.min(self.at + self.step());
        let after = now.end..needed.min(now.end + self.step());
        let sealed = match self.ahead.take() {
            Some(sealed) => sealed,
            None => self.read_sealed(&now).await?,
        };
        let (plain, ahead) = if after.is_empty() {
            (self.open(now.start, sealed).await, None)
        } else {
            let (plain, ahead) =
                tokio::join!(self.open(now.start, sealed), self.read_sealed(&after));
            (plain, Some(ahead))
        };
        let mut plain = plain?;
        self.ahead = ahead.transpose()?;
        self.at = now.end;
        let left = self.len() - now.start * self.opened.chunk_len();
        plain.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        Ok(Some(plain))
    }

    /// Writes the rest of the value to `out`, and returns how many bytes that were.
    ///
    /// # Errors
    /// As for [`Self::next`]; [`StoreError::Io`] when `out` fails.
    pub async fn copy_to(
        &mut self,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, StoreError> {
        let mut written = 0;
        while let Some(piece) = self.next().await? {
            let failed = |error| StoreError::io("the output", &error);
            out.write_all(&piece).await.map_err(failed)?;
            written += piece.len() as u64;
        }
        out.flush().await.map_err(|error| StoreError::io("the output", &error))?;
        Ok(written)
    }

    /// Reads everything, padding too, and hashes it: what [`Chamber::verify`] does to each value.
    pub(super) async fn verify(&mut self) -> Result<(), StoreError> {
        let mut hasher = blake3::Hasher::new();
        while let Some(piece) = self.next().await? {
            hasher = blocking(&self.item, move || {
                hasher.update(&piece);
                Ok(hasher)
            })
            .await?;
        }
        if ContentId::from(hasher.finalize()) != self.id() {
            return Err(StoreError::damaged(&self.item, Damage::Unverified(DamagedPart::Hash)));
        }
        let mut rest = self.at..self.opened.all_chunks().end;
        while !rest.is_empty() {
            let now = rest.start..rest.end.min(rest.start + self.step());
            let sealed = self.read_sealed(&now).await?;
            self.open(now.start, sealed).await?;
            rest.start = now.end;
        }
        Ok(())
    }

    /// Chunks that are read together.
    fn step(&self) -> u64 {
        (PIECE / self.opened.chunk_len()).max(1)
    }

    async fn read_sealed(&self, chunks: &Range<u64>) -> Result<Vec<u8>, StoreError> {
        let range = self.opened.blob_range(chunks);
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let read = self.blob.read_at(range.start, len).await;
        read.map_err(|error| error.about(&self.item))
    }

    async fn open(&self, first: u64, mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let opened = self.opened.clone();
        let work = move || opened.open_chunks(first, &mut sealed).map(|()| sealed);
        let plain = if self.blob.len() <= INLINE_WORK as u64 {
            work()
        } else {
            blocking(&self.item, move || Ok(work())).await?
        };
        plain.map_err(|chunk| {
            StoreError::damaged(&self.item, Damage::Unverified(DamagedPart::Chunk(chunk)))
        })
    }
}
