//! What a backend must do.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;

use crate::{BlobName, BlobStat, StoreError};

/// A future that a backend returns; boxed, so that backends can be chosen when the program runs.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One change.
#[derive(Clone, Debug)]
pub enum Op {
    /// Stores `data` under `name`, in place of what was there.
    Put {
        /// Under which name.
        name: BlobName,
        /// What.
        data: Bytes,
    },
    /// Removes `name`. It is no error if it is not there.
    Delete {
        /// Which.
        name: BlobName,
    },
}

impl Op {
    /// The name it is about.
    #[must_use]
    pub const fn name(&self) -> &BlobName {
        match self {
            Self::Put { name, .. } | Self::Delete { name } => name,
        }
    }
}

/// Blobs under names: where a [`Chamber`](crate::Chamber) keeps its bytes.
///
/// Every backend promises, and `tests/it/conformance.rs` checks:
///
/// - A blob is replaced or removed as a whole: whoever reads sees the old bytes or the new ones.
/// - When a call that changes something returned `Ok`, the change survives a crash of the process
///   and, on backends that have a disk, a loss of power. When it returned an error, or the process
///   died, each blob is as it was before or as it would have been after.
/// - A reader goes on reading the bytes that were there when it was opened, or fails; it never mixes
///   two values.
/// - Errors are about the item they name; all others stay readable.
///
/// Only one process writes to a place at a time. Backends that can find out refuse the second one
/// with [`StoreError::InUse`].
pub trait StorageProvider: fmt::Debug + Send + Sync + 'static {
    /// Applies `ops` in their order: all or none where the backend has transactions, a prefix of
    /// them otherwise (the backend's documentation says which).
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::ReadOnly`], [`StoreError::Permission`],
    /// [`StoreError::SyncFailed`], [`StoreError::Service`], [`StoreError::Io`].
    fn apply(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Begins a blob of any length, which gets its name when it is complete.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>>;

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`] when its bytes went missing;
    /// [`StoreError::Permission`], [`StoreError::Service`], [`StoreError::Io`].
    fn reader(&self, name: BlobName) -> BoxFuture<'_, Result<Box<dyn BlobReader>, StoreError>>;

    /// What is known of `name`, or `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Permission`], [`StoreError::Service`], [`StoreError::Io`].
    fn stat(&self, name: BlobName) -> BoxFuture<'_, Result<Option<BlobStat>, StoreError>>;

    /// At most `limit` names that start with `prefix` and are greater than `after`, in order.
    ///
    /// # Errors
    /// As for [`Self::stat`].
    fn list<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(BlobName, BlobStat)>, StoreError>>;

    /// How much is stored, and where the space goes.
    ///
    /// # Errors
    /// As for [`Self::stat`].
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// Removes, or only counts when `dry_run`, what earlier crashes left behind. What is being
    /// written right now is left alone.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    fn sweep(&self, dry_run: bool) -> BoxFuture<'_, Result<Swept, StoreError>>;

    /// Checks the backend's own structures, and returns one sentence for each thing found wrong.
    ///
    /// # Errors
    /// As for [`Self::stat`].
    fn check(&self) -> BoxFuture<'_, Result<Vec<StoreError>, StoreError>>;

    /// Where this is, for messages: a path, a URL.
    fn place(&self) -> String;

    /// Stores one blob.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    fn store(&self, name: BlobName, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.apply(vec![Op::Put { name, data }])
    }

    /// Removes one blob; it is no error if it is not there.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    fn delete(&self, name: BlobName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.apply(vec![Op::Delete { name }])
    }

    /// A whole blob, which must fit into memory.
    ///
    /// # Errors
    /// As for [`Self::reader`].
    fn retrieve(&self, name: BlobName) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let reader = self.reader(name).await?;
            let len = usize::try_from(reader.len()).map_err(|_| StoreError::TooLarge {
                item: format!("blob {name}"),
                limit: usize::MAX as u64,
            })?;
            reader.read_at(0, len).await.map(Bytes::from)
        })
    }

    /// Whether there is a blob of that name.
    ///
    /// # Errors
    /// As for [`Self::stat`].
    fn exists(&self, name: BlobName) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.stat(name).await?.is_some()) })
    }
}

/// Bytes that are made while they are written: replaces the contents of the buffer, and says whether
/// there are more to come.
pub type Source = Box<dyn FnMut(&mut Vec<u8>) -> Result<bool, StoreError> + Send>;

/// What [`BlobWriter::write_all`] does on backends that have no use for more.
pub(crate) fn write_pieces<W: BlobWriter + 'static>(
    mut writer: Box<W>,
    mut source: Source,
) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>> {
    Box::pin(async move {
        loop {
            let produce = move || {
                let mut piece = Vec::new();
                let more = source(&mut piece)?;
                Ok((source, piece, more))
            };
            let (next, piece, more) = crate::disk::blocking("the value", produce).await?;
            writer.write(piece.into()).await?;
            if !more {
                return Ok(writer as Box<dyn BlobWriter>);
            }
            source = next;
        }
    })
}

/// A blob being written. Dropping it gives it up, and leaves nothing behind.
pub trait BlobWriter: Send {
    /// Adds `data` at the end.
    ///
    /// # Errors
    /// As for [`StorageProvider::apply`]; the writer is of no further use then.
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds what `source` yields until it has no more, and returns the writer. `source` computes, and
    /// is called on a thread that may block; backends that write on such a thread call it there.
    ///
    /// # Errors
    /// Those of `source`, and as for [`StorageProvider::apply`].
    fn write_all(
        self: Box<Self>,
        source: Source,
    ) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>>;

    /// Makes the blob durable under `name`, and then applies `also`, as one change where the
    /// backend has transactions.
    ///
    /// # Errors
    /// As for [`StorageProvider::apply`].
    fn commit(
        self: Box<Self>,
        name: BlobName,
        also: Vec<Op>,
    ) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// A blob opened for reading.
pub trait BlobReader: Send + Sync {
    /// Bytes of the blob.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes from `offset` on, in memory of their own: the store decrypts them in place.
    ///
    /// # Errors
    /// [`StoreError::Range`] when they reach beyond the end; [`StoreError::Damaged`] when the blob
    /// turned out shorter than it should be; [`StoreError::Service`], [`StoreError::Io`].
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>, StoreError>>;
}

/// How much of one kind is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindUsage {
    /// The first byte of the names.
    pub kind: u8,
    /// How many blobs.
    pub blobs: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// How much is stored, and where the space goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// One row for each kind of which there is something, ordered by kind.
    pub kinds: Vec<KindUsage>,
    /// What it costs the backend, in bytes, each with a short description.
    pub places: Vec<(&'static str, u64)>,
}

impl Usage {
    /// Bytes of all blobs.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.bytes).sum()
    }

    /// The row of `kind`.
    #[must_use]
    pub fn kind(&self, kind: u8) -> KindUsage {
        let row = self.kinds.iter().find(|row| row.kind == kind).copied();
        row.unwrap_or(KindUsage { kind, blobs: 0, bytes: 0 })
    }
}

/// What crashes left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files or objects.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The part of a blob of `have` bytes that a read asks for.
pub(crate) fn checked_range(
    name: &BlobName,
    have: u64,
    offset: u64,
    len: usize,
) -> Result<std::ops::Range<u64>, StoreError> {
    let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    if end > have {
        return Err(StoreError::Range {
            item: format!("blob {name}"),
            start: offset,
            end,
            len: have,
        });
    }
    Ok(offset..end)
}
