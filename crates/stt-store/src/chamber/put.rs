//! Putting values in.

use std::path::Path;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    Chamber, FileSource, content_item, entry::check_new_name, guard::Entered, keys,
    quota::Reservation, uncancelled::Change,
};
use crate::{
    BlobName, BlobWriter, ContentId, Op, Payload, StoreError,
    disk::blocking,
    seal::{MAX_LEN, Sealer, seal_small, sealed_len},
};

/// Values up to here are hashed and sealed right away and stored in one call; longer ones piece by
/// piece, on threads that may block.
const INLINE_WORK: usize = 64 << 10;
/// Values in memory above here are hashed before anything is written, should they be here already.
const HASH_FIRST: usize = 8 << 20;
/// Plaintext bytes that travel together while streaming; at most four such pieces are in memory.
const PIECE: usize = 1 << 20;
/// The same for the first [`PIECE`] of a value, so that hashing, sealing and writing overlap in
/// short ones too.
const FIRST_PIECES: usize = 256 << 10;

/// What messages call a value whose id is not known yet.
const ITEM: &str = "the value";

/// How long a value stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Until it is removed, or unpinned and collected.
    #[default]
    Pinned,
    /// As long as this entry points to it. An entry of that name that was there before then points
    /// here. 1 to 1,024 bytes of UTF-8, which must not read as an id.
    Named(String),
    /// Until the next collection, unless something else keeps it.
    Cached,
}

impl Keep {
    /// Asked before any work is done.
    fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Named(name) => check_new_name(name),
            Self::Pinned | Self::Cached => Ok(()),
        }
    }
}

impl Chamber {
    /// Stores `data`, keeps it until it is removed, and returns its id. When the call returns, the
    /// value is durable. A value that is here already is verified, and stored anew if it is
    /// damaged.
    ///
    /// # Errors
    /// [`StoreError::Quota`], [`StoreError::DiskFull`], [`StoreError::ReadOnly`],
    /// [`StoreError::Permission`], [`StoreError::SyncFailed`], [`StoreError::Service`],
    /// [`StoreError::Io`]. The value is then there as a whole, or not at all.
    pub async fn put(&self, data: impl Payload) -> Result<ContentId, StoreError> {
        self.put_with(data, Keep::Pinned).await
    }

    /// Stores `data` and lets `name` point to it, which keeps it.
    ///
    /// # Errors
    /// As for [`Self::put`]; [`StoreError::EntryName`], [`StoreError::NameIsId`].
    pub async fn put_named(&self, name: &str, data: impl Payload) -> Result<ContentId, StoreError> {
        self.put_with(data, Keep::Named(name.to_owned())).await
    }

    /// Stores `data` for as long as `keep` says.
    ///
    /// # Errors
    /// As for [`Self::put`]; [`StoreError::EntryName`], [`StoreError::NameIsId`].
    pub async fn put_with(&self, data: impl Payload, keep: Keep) -> Result<ContentId, StoreError> {
        keep.check()?;
        let data = data.into_bytes();
        if data.len() > INLINE_WORK {
            return self.store_while_hashing(data, keep).await;
        }
        let id = ContentId::of(&data);
        let chamber = self.clone();
        let store = Change::new(async move {
            let place = chamber.place_of(id).await?;
            let (_lock, mut ops) = chamber.root_ops(&place, &keep).await?;
            let mut room = chamber.shared.quota.begin();
            if !place.taken {
                let needed = sealed_len(data.len() as u64) + ops_len(&ops);
                room.grow(chamber.provider(), &content_item(&id), needed).await?;
                let blob = seal_small(&chamber.shared.keys.content, id, &data)?;
                ops.insert(0, Op::Put { name: place.name, data: blob.into() });
            }
            if ops.is_empty() { Ok(()) } else { chamber.provider().apply(ops).await }
        });
        store.await.map_err(|error: StoreError| error.about(&content_item(&id)))?;
        Ok(id)
    }

    /// Hashes a value on one thread while another seals and writes it. If it turns out to be here
    /// already, what was written is given up before it was synced.
    async fn store_while_hashing(&self, data: Bytes, keep: Keep) -> Result<ContentId, StoreError> {
        let needed = sealed_len(data.len() as u64);
        let (hashed, long) = (data.clone(), data.len() > HASH_FIRST);
        let hash = async {
            let id = blocking(ITEM, move || Ok(ContentId::of(&hashed))).await?;
            self.place_of(id).await.map_err(|error| error.about(&content_item(&id)))
        };
        let (place, written) = if long {
            let place = hash.await?;
            let written = if place.taken { None } else { Some(self.seal_in(data).await) };
            (place, written)
        } else {
            let (place, written) = tokio::join!(hash, self.seal_in(data));
            (place?, Some(written))
        };
        let (id, room) = (place.id, self.shared.quota.begin());
        let finish = async {
            match written {
                Some(written) => {
                    let (sealer, mut writer) = written?;
                    seal_end(sealer, id, Vec::new(), writer.as_mut()).await?;
                    self.finish(place, Some(writer), keep, (room, needed)).await
                }
                None => self.finish(place, None, keep, (room, needed)).await,
            }
        };
        finish.await.map_err(|error: StoreError| error.about(&content_item(&id)))?;
        Ok(id)
    }

    /// Seals and writes all of `data`, but for what [`seal_end`] adds.
    async fn seal_in(&self, mut data: Bytes) -> Result<(Sealer, Box<dyn BlobWriter>), StoreError> {
        let sealer = Sealer::begin(&self.shared.keys.content)?;
        let (give_back, sealed) = tokio::sync::oneshot::channel();
        let mut work = Some((sealer, give_back));
        let seal = Box::new(move |piece: &mut Vec<u8>| {
            let Some((mut sealer, give_back)) = work.take() else { return Ok(false) };
            piece.clear();
            sealer.update(&data.split_to(data.len().min(FIRST_PIECES)), piece)?;
            if data.is_empty() {
                let _ = give_back.send(sealer);
                return Ok(false);
            }
            work = Some((sealer, give_back));
            Ok(true)
        });
        let writer = self.provider().writer().await?.write_all(seal).await?;
        let sealer = sealed.await.map_err(|_| StoreError::Closed { item: ITEM.to_owned() })?;
        Ok((sealer, writer))
    }

    /// Where a content lies, and whether it does: a fact as long as the result lives. What is there
    /// is read and verified, because the caller's copy may be the last good one: damaged, it counts
    /// as not there, and is stored anew.
    async fn place_of(&self, id: ContentId) -> Result<Place, StoreError> {
        let name = self.shared.keys.content_name(&id)?;
        let entered = self.shared.guard.enter(name).await;
        let found = match self.open_content(name, &content_item(&id)).await {
            Ok(mut reader) => reader.verify().await,
            Err(error) => Err(error),
        };
        let taken = match found {
            Ok(()) => true,
            Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(Place { id, name, taken, _entered: entered })
    }

    /// Commits what was streamed, unless it is here already, and makes `keep` true. `room` is what is
    /// reserved for it, and how many bytes are missing to what it takes.
    async fn finish(
        &self,
        place: Place,
        writer: Option<Box<dyn BlobWriter>>,
        keep: Keep,
        room: (Reservation, u64),
    ) -> Result<(), StoreError> {
        let chamber = self.clone();
        let finish = Change::new(async move {
            // Given back when all is done, also if nobody waits for it any more.
            let (mut room, missing) = room;
            let (_lock, roots) = chamber.root_ops(&place, &keep).await?;
            match writer {
                Some(writer) if !place.taken => {
                    let missing = missing + ops_len(&roots);
                    room.grow(chamber.provider(), &content_item(&place.id), missing).await?;
                    writer.commit(place.name, roots).await
                }
                _ if roots.is_empty() => Ok(()),
                _ => chamber.provider().apply(roots).await,
            }
        });
        finish.await
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
        keep.check()?;
        let mut room = self.shared.quota.begin();
        let streamed = self.stream_in(&mut source, &mut room).await;
        let (id, writer) = streamed.map_err(|error| error.about(ITEM))?;
        let finish = async {
            let place = self.place_of(id).await?;
            self.finish(place, Some(writer), keep, (room, 0)).await
        };
        finish.await.map_err(|error: StoreError| error.about(&content_item(&id)))?;
        Ok(id)
    }

    /// Stores the file at `path`; as [`Self::put_reader`].
    ///
    /// # Errors
    /// As for [`Self::put_reader`]; [`StoreError::Source`] when the file changes meanwhile.
    pub async fn put_file(
        &self,
        path: impl AsRef<Path>,
        keep: Keep,
    ) -> Result<ContentId, StoreError> {
        let path = path.as_ref();
        let failed = |error: std::io::Error| StoreError::Source {
            cause: std::io::Error::new(error.kind(), format!("{}: {error}", path.display())).into(),
        };
        let file = FileSource::open(path).await.map_err(failed)?;
        self.put_reader(file, keep).await
    }

    /// Hashes, seals and writes what `source` yields, one piece behind the other: while piece `n`
    /// is written, `n + 1` is hashed and sealed, and `n + 2` is read.
    async fn stream_in(
        &self,
        source: &mut (impl AsyncRead + Send + Unpin),
        room: &mut Reservation,
    ) -> Result<(ContentId, Box<dyn BlobWriter>), StoreError> {
        let mut writer = self.provider().writer().await?;
        let mut sealer = Sealer::begin(&self.shared.keys.content)?;
        let mut hasher = blake3::Hasher::new();
        let mut total = 0u64;
        let mut plain = read_piece(source, FIRST_PIECES).await?;
        let mut sealed = Vec::new();
        while !plain.is_empty() {
            total += plain.len() as u64;
            // With the padding of the whole, should it end here.
            room.grow_to(self.provider(), ITEM, sealed_len(total)).await?;
            let (to_hash, to_seal) = (plain.clone(), plain);
            let hash = blocking(ITEM, move || {
                hasher.update(&to_hash);
                Ok(hasher)
            });
            let seal = blocking(ITEM, move || {
                let mut out = Vec::new();
                sealer.update(&to_seal, &mut out)?;
                Ok((sealer, out))
            });
            let write = async {
                if sealed.is_empty() { Ok(()) } else { writer.write(sealed.into()).await }
            };
            let read = read_piece(source, if total < PIECE as u64 { FIRST_PIECES } else { PIECE });
            let (hash, seal, write, next) = tokio::join!(hash, seal, write, read);
            write?;
            hasher = hash?;
            (sealer, sealed) = seal?;
            plain = next?;
        }
        // An empty value takes room as well.
        room.grow_to(self.provider(), ITEM, sealed_len(total)).await?;
        let id = ContentId::from(hasher.finalize());
        seal_end(sealer, id, sealed, writer.as_mut()).await?;
        Ok((id, writer))
    }

    /// The changes that make `keep` true for a content, under the lock of the name they are about.
    async fn root_ops(
        &self,
        place: &Place,
        keep: &Keep,
    ) -> Result<(Option<tokio::sync::MutexGuard<'_, ()>>, Vec<Op>), StoreError> {
        match keep {
            Keep::Cached => Ok((None, Vec::new())),
            Keep::Pinned => {
                let name = keys::pin_root(&place.name)?;
                Ok((None, vec![Op::Put { name, data: Bytes::new() }]))
            }
            Keep::Named(entry) => {
                let (lock, ops) = self.entry_ops(entry, place.id, place.name).await?;
                Ok((Some(lock), ops))
            }
        }
    }
}

/// Where a content lies.
struct Place {
    id: ContentId,
    name: BlobName,
    /// Whether it is here already.
    taken: bool,
    _entered: Entered,
}

/// Bytes that the values of `ops` take.
fn ops_len(ops: &[Op]) -> u64 {
    let len = |op: &Op| match op {
        Op::Put { data, .. } => data.len() as u64,
        Op::Delete { .. } => 0,
    };
    ops.iter().map(len).sum()
}

/// Writes `sealed`, and what follows it: padding, which can be longer than a piece, and the footer.
async fn seal_end(
    mut sealer: Sealer,
    id: ContentId,
    mut sealed: Vec<u8>,
    writer: &mut dyn BlobWriter,
) -> Result<(), StoreError> {
    while !sealer.pad(FIRST_PIECES as u64, &mut sealed)? {
        writer.write(std::mem::take(&mut sealed).into()).await?;
    }
    sealer.finish(id, &mut sealed)?;
    writer.write(sealed.into()).await
}

/// The next `len` bytes of `source`, or less at its end.
async fn read_piece(
    source: &mut (impl AsyncRead + Send + Unpin),
    len: usize,
) -> Result<Bytes, StoreError> {
    let mut piece = Vec::with_capacity(len);
    let mut part = source.take(len as u64);
    while piece.len() < len {
        let read = part.read_buf(&mut piece).await;
        let read = read.map_err(|error| StoreError::Source { cause: error.into() })?;
        if read == 0 {
            break;
        }
    }
    Ok(piece.into())
}

const _: () = assert!(FIRST_PIECES < PIECE && (HASH_FIRST as u64) < MAX_LEN);
