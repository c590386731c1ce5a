//! Blobs in memory: for tests, and for nodes that shall leave nothing behind.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    BlobName, BlobReader, BlobStat, BlobWriter, BoxFuture, KindUsage, Op, StorageProvider,
    StoreError, Swept, Usage,
    provider::{Source, checked_range, write_pieces},
};

type Blobs = BTreeMap<BlobName, Bytes>;

/// Blobs in memory. Clones share them; they end with the last clone.
///
/// `apply` is one transaction.
#[derive(Clone, Debug, Default)]
pub struct MemoryProvider {
    blobs: Arc<Mutex<Blobs>>,
}

impl MemoryProvider {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn blobs(&self) -> MutexGuard<'_, Blobs> {
        // No call can leave the map half changed, so a panic elsewhere does not spoil it.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_now(&self, ops: Vec<Op>) {
        let mut blobs = self.blobs();
        for op in ops {
            match op {
                Op::Put { name, data } => blobs.insert(name, data),
                Op::Delete { name } => blobs.remove(&name),
            };
        }
    }
}

impl StorageProvider for MemoryProvider {
    fn apply(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.apply_now(ops);
        Box::pin(std::future::ready(Ok(())))
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        let writer = Writer { provider: self.clone(), data: Vec::new() };
        Box::pin(std::future::ready(Ok(Box::new(writer) as Box<dyn BlobWriter>)))
    }

    fn reader(&self, name: BlobName) -> BoxFuture<'_, Result<Box<dyn BlobReader>, StoreError>> {
        let found = self.blobs().get(&name).cloned();
        let reader = found
            .map(|data| Box::new(BytesReader { name, data }) as Box<dyn BlobReader>)
            .ok_or_else(|| StoreError::NotFound { item: format!("blob {name}") });
        Box::pin(std::future::ready(reader))
    }

    fn stat(&self, name: BlobName) -> BoxFuture<'_, Result<Option<BlobStat>, StoreError>> {
        let stat = self.blobs().get(&name).map(stat_of);
        Box::pin(std::future::ready(Ok(stat)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(BlobName, BlobStat)>, StoreError>> {
        let start = BlobName::new(&[prefix]).ok();
        let from = match (start, after) {
            (Some(start), Some(after)) if after >= start => Bound::Excluded(after),
            (None, Some(after)) => Bound::Excluded(after),
            (Some(start), _) => Bound::Included(start),
            (None, None) => Bound::Unbounded,
        };
        let page = self
            .blobs()
            .range((from, Bound::Unbounded))
            .take_while(|(name, _)| name.as_bytes().starts_with(prefix))
            .take(limit)
            .map(|(name, data)| (*name, stat_of(data)))
            .collect();
        Box::pin(std::future::ready(Ok(page)))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let mut kinds = BTreeMap::new();
        for (name, data) in self.blobs().iter() {
            let kind = name.kind();
            let row = kinds.entry(kind).or_insert(KindUsage { kind, blobs: 0, bytes: 0 });
            row.blobs += 1;
            row.bytes += data.len() as u64;
        }
        let mut usage = Usage { kinds: kinds.into_values().collect(), places: Vec::new() };
        usage.places.push(("memory", usage.bytes()));
        Box::pin(std::future::ready(Ok(usage)))
    }

    fn sweep(&self, _dry_run: bool) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(std::future::ready(Ok(Swept::default())))
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<StoreError>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

fn stat_of(data: &Bytes) -> BlobStat {
    BlobStat { len: data.len() as u64 }
}

struct Writer {
    provider: MemoryProvider,
    data: Vec<u8>,
}

impl BlobWriter for Writer {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.data.extend_from_slice(&data);
        Box::pin(std::future::ready(Ok(())))
    }

    fn write_all(
        self: Box<Self>,
        source: Source,
    ) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>> {
        write_pieces(self, source)
    }

    fn commit(
        self: Box<Self>,
        name: BlobName,
        also: Vec<Op>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut ops = vec![Op::Put { name, data: self.data.into() }];
        ops.extend(also);
        self.provider.apply_now(ops);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Reads a blob that is in memory as a whole.
pub(crate) struct BytesReader {
    pub(crate) name: BlobName,
    pub(crate) data: Bytes,
}

impl BytesReader {
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let range = checked_range(&self.name, self.data.len() as u64, offset, len)?;
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        Ok(self.data.get(start..start + len).unwrap_or_default().to_vec())
    }
}

impl BlobReader for BytesReader {
    fn len(&self) -> u64 {
        self.data.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        Box::pin(std::future::ready(self.read(offset, len)))
    }
}
