//! Blobs in object storage.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    path::Path,
};

use super::{
    failed,
    path::{Head, Paths},
    reader::{ObjectReader, data_len},
    writer::Writer,
};
use crate::{
    BlobName, BlobReader, BlobStat, BlobWriter, BoxFuture, Damage, DamagedPart, KindUsage, Op,
    StorageProvider, StoreError, Swept, Usage,
};

/// Bytes that come with the head when a blob is opened: small ones need one request.
const FIRST: u64 = 64 << 10;
/// A data object that nothing points to may still be on its way for so long, in seconds.
const GRACE: u64 = 3600;

/// Blobs in S3, Google Cloud Storage, Azure, or whatever else `object_store` knows.
///
/// `apply` is no transaction: the changes are made one by one, in their order. Each is atomic, and
/// durable when the service says so. The first call of `usage` lists everything; later ones count
/// along. Services have no locks, so that only one process writes is up to whoever runs them.
///
/// Only with the feature `object`.
#[derive(Clone, Debug)]
pub struct ObjectProvider {
    store: Arc<dyn ObjectStore>,
    paths: Paths,
    place: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Data objects being written.
    in_flight: Mutex<HashSet<[u8; 16]>>,
    /// Blobs and bytes of each kind, once they were counted.
    totals: tokio::sync::Mutex<Option<BTreeMap<u8, (u64, u64)>>>,
}

impl ObjectProvider {
    /// The blobs below `prefix` in `store`. `place` says in messages where that is.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, place: impl Into<String>) -> Self {
        Self { store, paths: Paths::new(prefix), place: place.into(), shared: Arc::default() }
    }

    /// Begins a data object, which a sweep leaves alone until it has [landed](Self::landed).
    pub(super) async fn begin_upload(
        &self,
        data: &[u8; 16],
    ) -> Result<Box<dyn MultipartUpload>, StoreError> {
        self.in_flight().insert(*data);
        let upload = self.store.put_multipart(&self.paths.data(data)).await;
        upload.map_err(|error| failed("a new object", error))
    }

    pub(super) fn landed(&self, data: &[u8; 16]) {
        self.in_flight().remove(data);
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 16]>> {
        self.shared.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first bytes of the object of `name`.
    async fn first(&self, name: &BlobName) -> Result<Option<(ObjectMeta, Bytes)>, StoreError> {
        let item = || format!("blob {name}");
        let options =
            GetOptions { range: Some(GetRange::Bounded(0..FIRST)), ..GetOptions::default() };
        let got = match self.store.get_opts(&self.paths.blob(name), options).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(item(), error)),
        };
        let meta = got.meta.clone();
        let bytes = got.bytes().await.map_err(|error| failed(item(), error))?;
        Ok(Some((meta, bytes)))
    }

    fn head(name: &BlobName, bytes: &[u8]) -> Result<Head, StoreError> {
        let head = Head::decode(bytes);
        head.ok_or_else(|| {
            StoreError::damaged(format!("blob {name}"), Damage::Missing(DamagedPart::Header))
        })
    }

    /// The blob's length, from the size of its object if that says it.
    async fn stat_of(&self, name: &BlobName, size: u64) -> Result<Option<BlobStat>, StoreError> {
        if size != Head::POINTER_LEN {
            return Ok(Some(BlobStat { len: size.saturating_sub(Head::WHOLE_LEN) }));
        }
        let Some((meta, first)) = self.first(name).await? else { return Ok(None) };
        Ok(Some(match Self::head(name, &first)? {
            Head::Pointer { len, .. } => BlobStat { len },
            Head::Whole => BlobStat { len: meta.size.saturating_sub(Head::WHOLE_LEN) },
        }))
    }

    async fn stat_now(&self, name: &BlobName) -> Result<Option<BlobStat>, StoreError> {
        match self.store.head(&self.paths.blob(name)).await {
            Ok(meta) => self.stat_of(name, meta.size).await,
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(format!("blob {name}"), error)),
        }
    }

    async fn put(&self, name: &BlobName, len: u64, object: Vec<u8>) -> Result<(), StoreError> {
        let old = self.replaced(name).await?;
        let stored = self.store.put(&self.paths.blob(name), PutPayload::from(object)).await;
        stored.map_err(|error| failed(format!("blob {name}"), error))?;
        self.count(name.kind(), old.0, Some(len)).await;
        self.remove_data(old.1).await;
        Ok(())
    }

    /// What is about to be replaced or removed: its length, and its data object.
    async fn replaced(
        &self,
        name: &BlobName,
    ) -> Result<(Option<u64>, Option<[u8; 16]>), StoreError> {
        let item = || format!("blob {name}");
        let size = match self.store.head(&self.paths.blob(name)).await {
            Ok(meta) => meta.size,
            Err(object_store::Error::NotFound { .. }) => return Ok((None, None)),
            Err(error) => return Err(failed(item(), error)),
        };
        if size == Head::POINTER_LEN
            && let Some((_, first)) = self.first(name).await?
            && let Some(Head::Pointer { len, data }) = Head::decode(&first)
        {
            return Ok((Some(len), Some(data)));
        }
        Ok((Some(size.saturating_sub(Head::WHOLE_LEN)), None))
    }

    /// A failure leaves it to the next sweep.
    async fn remove_data(&self, data: Option<[u8; 16]>) {
        if let Some(data) = data {
            let _ = self.store.delete(&self.paths.data(&data)).await;
        }
    }

    async fn remove(&self, name: &BlobName) -> Result<(), StoreError> {
        let (len, data) = self.replaced(name).await?;
        if len.is_none() {
            return Ok(());
        }
        match self.store.delete(&self.paths.blob(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(format!("blob {name}"), error)),
        }
        self.count(name.kind(), len, None).await;
        self.remove_data(data).await;
        Ok(())
    }

    async fn count(&self, kind: u8, old: Option<u64>, new: Option<u64>) {
        if let Some(totals) = self.shared.totals.lock().await.as_mut() {
            let (blobs, bytes) = totals.entry(kind).or_default();
            *blobs = (*blobs + u64::from(new.is_some())).saturating_sub(u64::from(old.is_some()));
            *bytes = (*bytes + new.unwrap_or(0)).saturating_sub(old.unwrap_or(0));
        }
    }

    /// Lets `name` stand for a data object that is complete.
    pub(super) async fn point(
        &self,
        name: BlobName,
        len: u64,
        data: [u8; 16],
    ) -> Result<(), StoreError> {
        self.put(&name, len, Head::Pointer { len, data }.encode()).await
    }

    pub(super) async fn apply_now(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        for op in ops {
            match op {
                Op::Put { name, data } => {
                    let mut object = Head::Whole.encode();
                    object.extend_from_slice(&data);
                    self.put(&name, data.len() as u64, object).await?;
                }
                Op::Delete { name } => self.remove(&name).await?,
            }
        }
        Ok(())
    }

    async fn list_now(
        &self,
        prefix: &[u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> Result<Vec<(BlobName, BlobStat)>, StoreError> {
        let below = self.paths.blobs();
        let from = match after {
            Some(after) if after.as_bytes() >= prefix => Some(self.paths.blob(&after)),
            _ if prefix.is_empty() => None,
            _ => Some(self.paths.before(prefix)),
        };
        let mut objects = match &from {
            Some(from) => self.store.list_with_offset(Some(&below), from),
            None => self.store.list(Some(&below)),
        };
        let mut page = Vec::new();
        while page.len() < limit {
            let Some(object) = objects.next().await else { break };
            let object = object.map_err(|error| failed(self.place.clone(), error))?;
            // Somebody else's object in our place is none of ours.
            let Some(name) = Paths::parse(&object.location) else { continue };
            if !name.as_bytes().starts_with(prefix) {
                break;
            }
            if let Some(stat) = self.stat_of(&name, object.size).await? {
                page.push((name, stat));
            }
        }
        Ok(page)
    }

    /// Data objects that are pointed to.
    async fn used_data(&self) -> Result<HashSet<Path>, StoreError> {
        let mut used = HashSet::new();
        let below = self.paths.blobs();
        let mut objects = self.store.list(Some(&below));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| failed(self.place.clone(), error))?;
            if object.size == Head::POINTER_LEN
                && let Some(name) = Paths::parse(&object.location)
                && let Some((_, first)) = self.first(&name).await?
                && let Some(Head::Pointer { data, .. }) = Head::decode(&first)
            {
                used.insert(self.paths.data(&data));
            }
        }
        Ok(used)
    }

    async fn sweep_now(&self, dry_run: bool) -> Result<Swept, StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let item = || self.place.clone();
        let below = self.paths.all_data();
        let mut old = Vec::new();
        let mut objects = self.store.list(Some(&below));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| failed(item(), error))?;
            let made = u64::try_from(object.last_modified.timestamp()).unwrap_or(0);
            if made + GRACE < now {
                old.push(object);
            }
        }
        let mut swept = Swept::default();
        if old.is_empty() {
            return Ok(swept);
        }
        // In this order: an upload has landed only after something points to it.
        let in_flight: HashSet<Path> =
            self.in_flight().iter().map(|data| self.paths.data(data)).collect();
        let used = self.used_data().await?;
        for object in old {
            if used.contains(&object.location) || in_flight.contains(&object.location) {
                continue;
            }
            if !dry_run {
                let removed = self.store.delete(&object.location).await;
                removed.map_err(|error| failed(item(), error))?;
            }
            swept.files += 1;
            swept.bytes += object.size;
        }
        Ok(swept)
    }
}

impl StorageProvider for ObjectProvider {
    fn apply(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.apply_now(ops))
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async move {
            let data = stc::random::bytes::<16>()?;
            Ok(Box::new(Writer::new(self.clone(), data)) as Box<dyn BlobWriter>)
        })
    }

    fn reader(&self, name: BlobName) -> BoxFuture<'_, Result<Box<dyn BlobReader>, StoreError>> {
        Box::pin(async move {
            let (meta, first) = self
                .first(&name)
                .await?
                .ok_or_else(|| StoreError::NotFound { item: format!("blob {name}") })?;
            let store = Arc::clone(&self.store);
            let reader = match Self::head(&name, &first)? {
                Head::Whole => ObjectReader {
                    store,
                    name,
                    path: meta.location,
                    len: meta.size.saturating_sub(Head::WHOLE_LEN),
                    skip: Head::WHOLE_LEN,
                    tag: meta.e_tag,
                    start: first.slice(1..),
                },
                Head::Pointer { len, data } => {
                    let path = self.paths.data(&data);
                    data_len(store.as_ref(), &name, &path, len).await?;
                    ObjectReader { store, name, path, len, skip: 0, tag: None, start: Bytes::new() }
                }
            };
            Ok(Box::new(reader) as Box<dyn BlobReader>)
        })
    }

    fn stat(&self, name: BlobName) -> BoxFuture<'_, Result<Option<BlobStat>, StoreError>> {
        Box::pin(async move { self.stat_now(&name).await })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(BlobName, BlobStat)>, StoreError>> {
        Box::pin(self.list_now(prefix, after, limit))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(async move {
            let mut totals = self.shared.totals.lock().await;
            if totals.is_none() {
                let mut counted: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
                let mut after = None;
                loop {
                    let page = self.list_now(&[], after, 1000).await?;
                    let Some((last, _)) = page.last() else { break };
                    after = Some(*last);
                    for (name, stat) in page {
                        let (blobs, bytes) = counted.entry(name.kind()).or_default();
                        *blobs += 1;
                        *bytes += stat.len;
                    }
                }
                *totals = Some(counted);
            }
            let rows = totals.iter().flatten().filter(|(_, (blobs, _))| *blobs > 0);
            let kinds = rows
                .map(|(kind, (blobs, bytes))| KindUsage {
                    kind: *kind,
                    blobs: *blobs,
                    bytes: *bytes,
                })
                .collect();
            let mut usage = Usage { kinds, places: Vec::new() };
            usage.places.push(("objects", usage.bytes()));
            Ok(usage)
        })
    }

    fn sweep(&self, dry_run: bool) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(self.sweep_now(dry_run))
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<StoreError>, StoreError>> {
        // There is no structure besides the objects, which are read one by one.
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
