//! Putting values in.

use std::path::Path;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Chamber, content_item, keys};
use crate::{
    BlobName, BlobWriter, ContentId, Op, StoreError,
    disk::blocking,
    seal::{MAX_LEN, Sealer, seal_small, sealed_len},
};

/// Values up to here are hashed and sealed right away; longer ones on a thread that may block.
const INLINE_WORK: usize = 64 << 10;
/// Values up to here are sealed as a whole and stored in one call.
const WHOLE: usize = 8 << 20;
/// Plaintext bytes that travel together while streaming; at most four such pieces are in memory.
const PIECE: usize = 1 << 20;

/// How long a value stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Until it is removed, or unpinned and collected.
    #[default]
    Pinned,
    /// As long as this entry points to it. An entry of that name that was there before then points
    /// here.
    Named(String),
    /// Until the next collection, unless something else keeps it.
    Cached,
}

impl Chamber {
    /// Stores `data`, keeps it until it is removed, and returns its id. When the call returns, the
    /// value is durable.
    ///
    /// # Errors
    /// [`StoreError::Quota`], [`StoreError::DiskFull`], [`StoreError::ReadOnly`],
    /// [`StoreError::Permission`], [`StoreError::SyncFailed`], [`StoreError::Service`],
    /// [`StoreError::Io`]. Nothing is stored then.
    pub async fn put(&self, data: impl Into<Bytes>) -> Result<ContentId, StoreError> {
        self.put_with(data, Keep::Pinned).await
    }

    /// Stores `data` and lets `name` point to it, which keeps it.
    ///
    /// # Errors
    /// As for [`Self::put`]; [`StoreError::EntryName`].
    pub async fn put_named(
        &self,
        name: &str,
        data: impl Into<Bytes>,
    ) -> Result<ContentId, StoreError> {
        self.put_with(data, Keep::Named(name.to_owned())).await
    }

    /// Stores `data` for as long as `keep` says.
    ///
    /// # Errors
    /// As for [`Self::put`]; [`StoreError::EntryName`].
    pub async fn put_with(
        &self,
        data: impl Into<Bytes>,
        keep: Keep,
    ) -> Result<ContentId, StoreError> {
        let data = data.into();
        let id = if data.len() <= INLINE_WORK {
            ContentId::of(&data)
        } else {
            let data = data.clone();
            blocking("the value", move || Ok(ContentId::of(&data))).await?
        };
        let name = self.shared.keys.content_name(&id)?;
        let stored = self.store_whole(id, name, data, &keep).await;
        stored.map_err(|error| error.about(&content_item(&id)))?;
        Ok(id)
    }

    async fn store_whole(
        &self,
        id: ContentId,
        name: BlobName,
        data: Bytes,
        keep: &Keep,
    ) -> Result<(), StoreError> {
        let _entered = self.shared.guard.enter(name).await;
        let (_lock, roots) = self.root_ops(id, name, keep).await?;
        if self.provider().exists(name).await? {
            return if roots.is_empty() { Ok(()) } else { self.provider().apply(roots).await };
        }
        let mut room = self.shared.quota.begin();
        let needed = sealed_len(data.len() as u64) + ops_len(&roots);
        room.grow(self.provider(), &content_item(&id), needed).await?;
        if data.len() > WHOLE {
            let mut source = std::io::Cursor::new(data);
            let (sealed, writer) = self.stream_in(&mut source, None).await?;
            debug_assert_eq!(sealed, id);
            return writer.commit(name, roots).await;
        }
        let blob = if data.len() <= INLINE_WORK {
            seal_small(&self.shared.keys.content, id, &data)?
        } else {
            let key = self.shared.keys.content.clone();
            blocking("the value", move || seal_small(&key, id, &data)).await?
        };
        let mut ops = vec![Op::Put { name, data: blob.into() }];
        ops.extend(roots);
        self.provider().apply(ops).await
    }

    /// Stores what `source` yields until its end, in constant memory, and returns its id.
    ///
    /// # Errors
    /// As for [`Self::put`]; [`StoreError::Source`] when `source` fails; [`StoreError::TooLarge`].
    pub async fn put_reader(
        &self,
        mut source: impl AsyncRead + Send + Unpin,
        keep: Keep,
    ) -> Result<ContentId, StoreError> {
        const ITEM: &str = "the value";
        let mut room = self.shared.quota.begin();
        let streamed = self.stream_in(&mut source, Some(&mut room)).await;
        let (id, writer) = streamed.map_err(|error| error.about(ITEM))?;
        let name = self.shared.keys.content_name(&id)?;
        let _entered = self.shared.guard.enter(name).await;
        let finish = async {
            let len = self.provider().stat(name).await?;
            let (_lock, roots) = self.root_ops(id, name, &keep).await?;
            match len {
                Some(_) if roots.is_empty() => Ok(()),
                Some(_) => self.provider().apply(roots).await,
                None => writer.commit(name, roots).await,
            }
        };
        finish.await.map_err(|error| error.about(&content_item(&id)))?;
        Ok(id)
    }

    /// Stores the file at `path`; as [`Self::put_reader`].
    ///
    /// # Errors
    /// As for [`Self::put_reader`].
    pub async fn put_file(
        &self,
        path: impl AsRef<Path>,
        keep: Keep,
    ) -> Result<ContentId, StoreError> {
        let path = path.as_ref();
        let failed = |error: std::io::Error| StoreError::Source {
            what: format!("{}: {error}", path.display()),
        };
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        if file.metadata().await.map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        self.put_reader(file, keep).await
    }

    /// Hashes, seals and writes what `source` yields, one piece behind the other: while piece `n`
    /// is written, `n + 1` is sealed and `n + 2` is read.
    async fn stream_in(
        &self,
        source: &mut (impl AsyncRead + Send + Unpin),
        mut room: Option<&mut super::quota::Reservation<'_>>,
    ) -> Result<(ContentId, Box<dyn BlobWriter>), StoreError> {
        let mut writer = self.provider().writer().await?;
        let mut seal = Some(Pipe {
            sealer: Sealer::begin(&self.shared.keys.content)?,
            hasher: blake3::Hasher::new(),
        });
        let mut plain = read_piece(source).await?;
        let mut sealed = Vec::new();
        loop {
            let last = plain.is_empty();
            if let Some(room) = room.as_deref_mut() {
                let more = sealed_len(plain.len() as u64);
                room.grow(self.provider(), "the value", more).await?;
            }
            let pipe = seal.take().ok_or_else(|| StoreError::damaged("the value", "lost"))?;
            let work = blocking("the value", move || pipe.advance(&plain));
            let write = async {
                if sealed.is_empty() { Ok(()) } else { writer.write(sealed.into()).await }
            };
            let read = async { if last { Ok(Vec::new()) } else { read_piece(source).await } };
            let (work, write, next) = tokio::join!(work, write, read);
            write?;
            let (pipe, out) = work?;
            (plain, sealed) = (next?, out);
            if last {
                let id = ContentId::from(pipe.hasher.finalize());
                // Padding can be longer than a piece; it is written piece by piece too.
                return Ok((id, pipe.finish(id, sealed, writer).await?));
            }
            seal = Some(pipe);
        }
    }

    /// The changes that make `keep` true for a content, under the lock of the name they are about.
    async fn root_ops(
        &self,
        id: ContentId,
        content: BlobName,
        keep: &Keep,
    ) -> Result<(Option<tokio::sync::MutexGuard<'_, ()>>, Vec<Op>), StoreError> {
        match keep {
            Keep::Cached => Ok((None, Vec::new())),
            Keep::Pinned => {
                let name = keys::pin_root(&content)?;
                Ok((None, vec![Op::Put { name, data: Bytes::new() }]))
            }
            Keep::Named(entry) => {
                let (lock, ops) = self.entry_ops(entry, id, content).await?;
                Ok((Some(lock), ops))
            }
        }
    }
}

/// Bytes that the values of `ops` take.
fn ops_len(ops: &[Op]) -> u64 {
    let len = |op: &Op| match op {
        Op::Put { data, .. } => data.len() as u64,
        Op::Delete { .. } => 0,
    };
    ops.iter().map(len).sum()
}

/// What runs along with a streamed value.
struct Pipe {
    sealer: Sealer,
    hasher: blake3::Hasher,
}

impl Pipe {
    fn advance(mut self, plain: &[u8]) -> Result<(Self, Vec<u8>), StoreError> {
        let mut out = Vec::new();
        self.hasher.update(plain);
        self.sealer.update(plain, &mut out)?;
        Ok((self, out))
    }

    async fn finish(
        self,
        id: ContentId,
        mut out: Vec<u8>,
        mut writer: Box<dyn BlobWriter>,
    ) -> Result<Box<dyn BlobWriter>, StoreError> {
        let mut sealer = self.sealer;
        loop {
            let (next, more, done) = blocking("the value", move || {
                let done = sealer.pad(PIECE as u64, &mut out)?;
                Ok((sealer, out, done))
            })
            .await?;
            (sealer, out) = (next, Vec::new());
            if !more.is_empty() {
                writer.write(more.into()).await?;
            }
            if done {
                break;
            }
        }
        sealer.finish(id, &mut out)?;
        writer.write(out.into()).await?;
        Ok(writer)
    }
}

/// The next [`PIECE`] of `source`, or less at its end.
async fn read_piece(source: &mut (impl AsyncRead + Send + Unpin)) -> Result<Vec<u8>, StoreError> {
    let mut piece = Vec::with_capacity(PIECE);
    let mut part = source.take(PIECE as u64);
    while piece.len() < PIECE {
        let read = part.read_buf(&mut piece).await;
        let read = read.map_err(|error| StoreError::Source { what: error.to_string() })?;
        if read == 0 {
            break;
        }
    }
    Ok(piece)
}

const _: () = assert!(PIECE < WHOLE && (WHOLE as u64) < MAX_LEN);
