//! The asynchronous face of the disk backend.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;

use super::{
    committer::Committer,
    core::{Core, FileWriter, Found, PendingFile},
    fs::{Fs, RawFile, RealFs},
    index::Change,
};
use crate::{
    BlobName, BlobReader, BlobStat, BlobWriter, BoxFuture, Damage, DamagedPart, Op,
    StorageProvider, StoreError, Swept, Usage,
    memory::BytesReader,
    provider::{Source, checked_range},
    setting_error::within,
};

/// Settings of a [`DiskProvider`], which tells what is out of its range when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    small_max: usize,
    reading: bool,
}

impl DiskOptions {
    /// Below this a blob costs less time in the index than in a file of its own (measured by
    /// `benches/store.rs`; the page that holds it may take up to twice its size).
    pub const DEFAULT_SMALL_MAX: usize = 40 << 10;
    /// Highest value of [`Self::small_max`].
    pub const SMALL_MAX_LIMIT: usize = 1 << 20;

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Longest blob, in bytes, that is kept in the index; longer ones get a file. Default:
    /// [`Self::DEFAULT_SMALL_MAX`]. A store can be opened with another value later.
    #[must_use]
    pub const fn small_max(mut self, bytes: usize) -> Self {
        self.small_max = bytes;
        self
    }

    /// Opens a store that is there for reading only, or for all. Default: for all. Readers share a
    /// store with other readers, and change nothing; every change is [`StoreError::ReadOnly`].
    #[must_use]
    pub const fn reading_only(mut self, reading: bool) -> Self {
        self.reading = reading;
        self
    }

    /// Whether all settings are inside their ranges.
    fn check(&self) -> Result<(), StoreError> {
        Ok(within("small_max", self.small_max, &(0..=Self::SMALL_MAX_LIMIT))?)
    }
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { small_max: Self::DEFAULT_SMALL_MAX, reading: false }
    }
}

/// Blobs in a directory: the index and small blobs in one redb file, large blobs in files.
///
/// `apply` is one transaction. A change is durable when the call returns: the file is synced, then
/// its directory, then the index. Calls that run at the same time share a sync.
///
/// One process has a store open at a time, or any number for reading only. Clones share it; it is
/// closed with the last clone. Where the system lets nobody write, it is opened for reading only.
#[derive(Clone, Debug)]
pub struct DiskProvider {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // In this order: the thread ends before the lock is given back.
    committer: Committer,
    core: Arc<Core>,
    options: DiskOptions,
}

impl DiskProvider {
    /// Opens the store in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] when the directory has other files in it, which stay as they are;
    /// [`StoreError::InUse`] names who has it open; [`StoreError::Version`] when it was written by
    /// a later program; [`StoreError::IndexDamaged`] when its index is missing or cannot be read;
    /// [`StoreError::NotFound`] when there is none and it is opened for reading only;
    /// [`StoreError::Setting`] for an option out of its range; [`StoreError::Permission`],
    /// [`StoreError::ReadOnly`], [`StoreError::DiskFull`], [`StoreError::Io`].
    pub async fn open(dir: impl AsRef<Path>, options: DiskOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(RealFs), dir.as_ref(), options).await
    }

    pub(crate) async fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: DiskOptions,
    ) -> Result<Self, StoreError> {
        options.check()?;
        let dir = dir.to_owned();
        blocking("the store", move || Self::open_blocking(fs, &dir, options)).await
    }

    fn open_blocking(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: DiskOptions,
    ) -> Result<Self, StoreError> {
        let core = Arc::new(Core::open(fs, dir, options.reading)?);
        let remover = Arc::downgrade(&core);
        let remove = move |unused| {
            if let Some(core) = remover.upgrade() {
                core.remove_unused(unused);
            }
        };
        let committer = Committer::start(core.index.clone(), Arc::new(remove))?;
        Ok(Self { shared: Arc::new(Shared { committer, core, options }) })
    }

    /// Runs `work` on a thread that may block.
    async fn with_core<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let core = self.shared.core.clone();
        blocking("the store", move || work(&core)).await
    }

    /// Runs `work`, which writes files, and then commits what it returns.
    async fn with_files(
        &self,
        work: impl FnOnce(&Shared) -> Result<Prepared, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let submit = move || {
            let Prepared { changes, files } = work(&shared)?;
            shared.committer.submit(changes, files)
        };
        blocking("the store", submit).await?.wait().await
    }
}

/// Changes of the index, and the files that they point to.
#[derive(Default)]
struct Prepared {
    changes: Vec<Change>,
    files: Vec<PendingFile>,
}

impl Prepared {
    fn file(&mut self, core: &Core, writer: FileWriter, name: BlobName) -> Result<(), StoreError> {
        let (file, len, tail) = core.finish(writer, &name)?;
        self.files.push(file);
        self.changes.push(Change::PutFile { name, len, tail });
        Ok(())
    }

    /// Writes what is too large for the index.
    fn add(&mut self, shared: &Shared, op: Op) -> Result<(), StoreError> {
        match op {
            Op::Put { name, data } if !shared.is_small(&data) => {
                let mut writer = shared.core.create()?;
                writer.write(&data)?;
                self.file(&shared.core, writer, name)
            }
            op => {
                self.changes.push(small_change(op));
                Ok(())
            }
        }
    }
}

impl Shared {
    const fn is_small(&self, data: &Bytes) -> bool {
        data.len() <= self.options.small_max
    }
}

fn small_change(op: Op) -> Change {
    match op {
        Op::Put { name, data } => Change::PutSmall { name, data },
        Op::Delete { name } => Change::Delete { name },
    }
}

/// Runs `work` on one of the runtime's threads for blocking calls.
pub(crate) async fn blocking<T: Send + 'static>(
    item: &str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            Err(StoreError::damaged(item, Damage::Malformed(DamagedPart::Whole)))
        }
        Err(_) => Err(StoreError::Closed { item: item.to_owned() }),
    }
}

impl StorageProvider for DiskProvider {
    fn apply(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let is_small = |op: &Op| match op {
                Op::Put { data, .. } => self.shared.is_small(data),
                Op::Delete { .. } => true,
            };
            if ops.iter().all(is_small) {
                let changes = ops.into_iter().map(small_change).collect();
                return self.shared.committer.commit(changes).await;
            }
            let write = move |shared: &Shared| {
                let mut prepared = Prepared::default();
                ops.into_iter().try_for_each(|op| prepared.add(shared, op))?;
                Ok(prepared)
            };
            self.with_files(write).await
        })
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        let writer = Writer { provider: self.clone(), target: Target::Memory(Vec::new()) };
        Box::pin(std::future::ready(Ok(Box::new(writer) as Box<dyn BlobWriter>)))
    }

    fn reader(&self, name: BlobName) -> BoxFuture<'_, Result<Box<dyn BlobReader>, StoreError>> {
        Box::pin(async move {
            let reader: Box<dyn BlobReader> =
                match self.with_core(move |core| core.find(&name)).await? {
                    Found::Bytes(data) => Box::new(BytesReader { name, data }),
                    Found::File(file, len, tail) => Box::new(FileReader { name, file, len, tail }),
                };
            Ok(reader)
        })
    }

    fn stat(&self, name: BlobName) -> BoxFuture<'_, Result<Option<BlobStat>, StoreError>> {
        Box::pin(
            self.with_core(move |core| {
                Ok(core.index.get(&name)?.map(super::location::Location::stat))
            }),
        )
    }

    fn list<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(BlobName, BlobStat)>, StoreError>> {
        let prefix = prefix.to_owned();
        Box::pin(self.with_core(move |core| core.index.list(&prefix, after.as_ref(), limit)))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(self.with_core(|core| {
            let totals = core.index.totals()?;
            let index = core.index.file_len()?;
            let mut usage = Usage { kinds: totals.kinds, places: Vec::new() };
            usage.places.push(("files of large blobs", usage.bytes() - totals.small_bytes));
            usage.places.push(("index file", index));
            usage.places.push(("small blobs inside the index file", totals.small_bytes));
            Ok(usage)
        }))
    }

    fn sweep(&self, dry_run: bool) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(self.with_core(move |core| core.sweep(dry_run)))
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<StoreError>, StoreError>> {
        Box::pin(self.with_core(|core| Ok(core.index.check()?.into_iter().collect())))
    }

    fn place(&self) -> String {
        self.shared.core.place()
    }
}

struct Writer {
    provider: DiskProvider,
    target: Target,
}

/// Where the bytes go.
enum Target {
    /// As long as they are few enough for the index.
    Memory(Vec<u8>),
    File(FileWriter),
    /// A write failed.
    Lost,
}

impl Target {
    /// The file to go on with, from `create` if it was none before.
    fn into_file(
        self,
        create: impl FnOnce() -> Result<FileWriter, StoreError>,
    ) -> Result<FileWriter, StoreError> {
        match self {
            Self::File(writer) => Ok(writer),
            Self::Memory(buffer) => {
                let mut writer = create()?;
                if !buffer.is_empty() {
                    writer.write(&buffer)?;
                }
                Ok(writer)
            }
            Self::Lost => Err(StoreError::Closed { item: "a new file".to_owned() }),
        }
    }
}

/// A file that a second thread makes while the first one prepares what comes into it, which takes
/// about as long. If no thread is free in time, the first one makes it.
#[derive(Default)]
struct EarlyFile(OnceLock<Mutex<Option<Result<FileWriter, StoreError>>>>);

impl EarlyFile {
    fn begin(core: &Arc<Core>) -> Arc<Self> {
        let early = Arc::new(Self::default());
        let (file, core) = (early.clone(), Arc::downgrade(core));
        drop(tokio::task::spawn_blocking(move || {
            file.0.get_or_init(|| {
                // Given back before the first thread gets the file, so that it does not keep a
                // store open that the first thread closes.
                let made = core.upgrade().map(|core| core.create());
                Mutex::new(made)
            });
        }));
        early
    }

    fn take(&self, core: &Core) -> Result<FileWriter, StoreError> {
        let made = self.0.get_or_init(|| Mutex::new(Some(core.create())));
        let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
        made.unwrap_or_else(|| core.create())
    }
}

impl BlobWriter for Writer {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let small_max = self.provider.shared.options.small_max;
            if let Target::Memory(buffer) = &mut self.target
                && buffer.len() + data.len() <= small_max
            {
                buffer.extend_from_slice(&data);
                return Ok(());
            }
            if let Target::File(writer) = &mut self.target
                && writer.hold(&data)
            {
                return Ok(());
            }
            let target = std::mem::replace(&mut self.target, Target::Lost);
            let write = move |core: &Core| {
                let mut writer = target.into_file(|| core.create())?;
                writer.write(&data)?;
                Ok(writer)
            };
            self.target = Target::File(self.provider.with_core(write).await?);
            Ok(())
        })
    }

    fn write_all(
        self: Box<Self>,
        mut source: Source,
    ) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async move {
            let Self { provider, target } = *self;
            let early = matches!(target, Target::Memory(_))
                .then(|| EarlyFile::begin(&provider.shared.core));
            let write = move |core: &Core| {
                let mut piece = Vec::new();
                let first = source(&mut piece);
                // Also when there is nothing to write: the other thread has to be done.
                let file = early.map(|early| early.take(core));
                let mut more = first?;
                let mut writer = target.into_file(|| file.unwrap_or_else(|| core.create()))?;
                writer.write(&piece)?;
                while more {
                    more = source(&mut piece)?;
                    writer.write(&piece)?;
                }
                Ok(Target::File(writer))
            };
            let target = provider.with_core(write).await?;
            Ok(Box::new(Self { provider, target }) as Box<dyn BlobWriter>)
        })
    }

    fn commit(
        self: Box<Self>,
        name: BlobName,
        also: Vec<Op>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let Self { provider, target } = *self;
            match target {
                Target::Memory(data) => {
                    let mut ops = vec![Op::Put { name, data: data.into() }];
                    ops.extend(also);
                    provider.apply(ops).await
                }
                Target::File(writer) => {
                    let write = move |shared: &Shared| {
                        let mut prepared = Prepared::default();
                        prepared.file(&shared.core, writer, name)?;
                        also.into_iter().try_for_each(|op| prepared.add(shared, op))?;
                        Ok(prepared)
                    };
                    provider.with_files(write).await
                }
                Target::Lost => Err(StoreError::Closed { item: "a new file".to_owned() }),
            }
        })
    }
}

struct FileReader {
    name: BlobName,
    file: Arc<dyn RawFile>,
    len: u64,
    tail: Vec<u8>,
}

impl BlobReader for FileReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        Box::pin(async move {
            checked_range(&self.name, self.len, offset, len)?;
            if let Some(start) = offset.checked_sub(self.len - self.tail.len() as u64)
                && let Ok(start) = usize::try_from(start)
                && let Some(known) = self.tail.get(start..start + len)
            {
                return Ok(known.to_vec());
            }
            let (file, name) = (self.file.clone(), self.name);
            let read = blocking("a file", move || {
                let mut out = vec![0; len];
                let read = file.read_at(offset, &mut out);
                read.map_err(|error| StoreError::io(format!("blob {name}"), &error))?;
                Ok(out)
            });
            read.await
        })
    }
}
