//! Object storage that fails at request N, for every N of a workload.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    memory::InMemory, path::Path,
};
use stc::{Coded, Key};
use tokio::sync::Notify;

use crate::{
    BlobName, Chamber, ChamberKey, ChamberOptions, ContentId, ObjectProvider, StorageProvider,
    StoreError,
    workload::{Step, id, value},
};

/// What happens to request number `at`, counted from 0, and to all after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The service never sees it.
    Before,
    /// The service does it, but the answer is lost.
    After,
}

#[derive(Debug)]
struct Requests {
    done: AtomicU64,
    at: u64,
    fault: Fault,
}

impl Requests {
    /// Whether the next request shall be made, and whether its answer arrives.
    fn next(&self) -> (bool, bool) {
        let number = self.done.fetch_add(1, SeqCst);
        (number < self.at || number == self.at && self.fault == Fault::After, number < self.at)
    }

    async fn run<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let (made, answered) = self.next();
        if made {
            let done = request.await;
            if answered {
                return done;
            }
        }
        Err(unplugged())
    }
}

fn unplugged() -> Error {
    Error::Generic { store: "test", source: "unplugged".into() }
}

#[derive(Clone, Debug)]
struct Failing {
    below: Arc<InMemory>,
    requests: Arc<Requests>,
    /// By how much objects look older than they are.
    age: Duration,
    late: Option<Arc<Late>>,
}

/// Lets blobs be put only when they have been listed, and the listing ends only when that is done.
#[derive(Debug, Default)]
struct Late {
    waiting: Notify,
    listed: Notify,
    done: Notify,
}

impl Failing {
    fn new(below: &Arc<InMemory>, at: u64, fault: Fault, age: Duration) -> Self {
        let requests = Arc::new(Requests { done: AtomicU64::new(0), at, fault });
        Self { below: below.clone(), requests, age, late: None }
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if let Some(late) = &self.late {
            late.waiting.notify_one();
            late.listed.notified().await;
        }
        self.requests.run(self.below.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.requests.run(self.below.put_multipart_opts(location, options)).await?;
        Ok(Box::new(FailingUpload { upload, requests: self.requests.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.run(self.below.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (below, requests) = (self.below.clone(), self.requests.clone());
        let delete = move |location: Result<Path>| {
            let (below, requests) = (below.clone(), requests.clone());
            async move {
                let one = futures_util::stream::once(std::future::ready(location)).boxed();
                let delete = async { below.delete_stream(one).next().await.unwrap() };
                requests.run(delete).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let age = self.age;
        if !self.requests.next().1 {
            return futures_util::stream::once(std::future::ready(Err(unplugged()))).boxed();
        }
        let older = move |object: Result<ObjectMeta>| {
            object.map(|mut object| {
                object.last_modified -= age;
                object
            })
        };
        let listed = self.below.list(prefix).map(older);
        let Some(late) = self.late.clone().filter(|_| prefix == Some(&Path::from("p/b"))) else {
            return listed.boxed();
        };
        let end = async move {
            late.listed.notify_one();
            late.done.notified().await;
            futures_util::stream::empty()
        };
        listed.chain(futures_util::stream::once(end).flatten()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.requests.run(self.below.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.requests.run(self.below.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FailingUpload {
    upload: Box<dyn MultipartUpload>,
    requests: Arc<Requests>,
}

#[async_trait::async_trait]
impl MultipartUpload for FailingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, requests) = (self.upload.put_part(data), self.requests.clone());
        Box::pin(async move { requests.run(part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.requests.run(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.requests.run(self.upload.abort()).await
    }
}

const SMALL: usize = 100;
/// Several parts.
const LARGE: usize = 9_000_000;

const WORKLOAD: [Step; 11] = [
    Step::Put(1, SMALL),
    Step::Stream(2, LARGE),
    Step::Named("a", 3, SMALL),
    Step::Named("a", 4, 100_000),
    Step::Remove(2, LARGE),
    Step::Stream(2, LARGE),
    Step::Unpin(1, SMALL),
    Step::Collect,
    Step::Named("b", 5, SMALL),
    Step::Unname("b"),
    Step::Put(6, 100_000),
];

/// What must be there, and what each name may point to.
#[derive(Debug, Default)]
struct Model {
    kept: BTreeSet<ContentId>,
    names: BTreeMap<&'static str, BTreeSet<Option<ContentId>>>,
}

impl Model {
    fn note(&mut self, step: Step, done: bool) {
        match step {
            Step::Put(seed, len) | Step::Stream(seed, len) => {
                if done {
                    self.kept.insert(id(seed, len));
                }
            }
            Step::Named(name, seed, len) => self.name(name, Some(id(seed, len)), done),
            Step::Unname(name) => self.name(name, None, done),
            Step::Unpin(seed, len) | Step::Remove(seed, len) => {
                self.kept.remove(&id(seed, len));
            }
            Step::Collect => {}
        }
    }

    fn name(&mut self, name: &'static str, new: Option<ContentId>, done: bool) {
        let now = self.names.entry(name).or_insert_with(|| BTreeSet::from([None]));
        if done {
            now.clear();
        }
        now.insert(new);
    }

    async fn check(&self, chamber: &Chamber, context: &str) {
        for id in &self.kept {
            let got = chamber.get(id).await;
            let got = got.unwrap_or_else(|error| panic!("{context}: {id}: {error}"));
            assert_eq!(ContentId::of(&got), *id, "{context}");
        }
        for (name, allowed) in &self.names {
            let found = match chamber.get_named(name).await {
                Ok(value) => Some(ContentId::of(&value)),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => panic!("{context}: {name}: {error}"),
            };
            assert!(allowed.contains(&found), "{context}: {name} is {found:?} of {allowed:?}");
        }
    }
}

async fn open(store: Failing) -> Result<Chamber, StoreError> {
    let key = ChamberKey::from_key(&Key::from_bytes([3; 32]));
    let provider = ObjectProvider::new(Arc::new(store), "p", "test");
    Chamber::on(&key, Arc::new(provider), ChamberOptions::default()).await
}

/// Runs the workload until it fails, looks at what is left, and lets a collection tidy up.
/// Returns how many requests were made.
async fn unplugged_at(at: u64, fault: Fault) -> u64 {
    let context = format!("request {at} failed {fault:?}");
    let below = Arc::new(InMemory::new());
    let failing = Failing::new(&below, at, fault, Duration::ZERO);
    let requests = failing.requests.clone();
    let mut model = Model::default();
    if let Ok(chamber) = open(failing).await {
        for step in WORKLOAD {
            let done = step.run(&chamber).await;
            model.note(step, done.is_ok());
            if let Err(error) = done {
                assert_eq!(error.code(), "store.service", "{context}: {error}");
                break;
            }
        }
    }
    // Seen two hours later, so that abandoned objects are old enough to be swept.
    let later = Failing::new(&below, u64::MAX, Fault::Before, Duration::from_secs(7200));
    let chamber = open(later).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    model.check(&chamber, &context).await;
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
    let planned = chamber.collect(true).await.unwrap();
    let done = chamber.collect(false).await.unwrap();
    assert!(done.leftovers.files >= planned.leftovers.files, "{context}");
    assert_eq!(chamber.stats().await.unwrap().leftovers.files, 0, "{context}");
    model.check(&chamber, &context).await;
    // Every data object that is left belongs to a value.
    let data = below.list(Some(&Path::from("p/d"))).count().await as u64;
    assert!(data <= chamber.stats().await.unwrap().contents, "{context}: {data} data objects");
    requests.done.load(SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn unplugged_at_every_request() {
    let requests = unplugged_at(u64::MAX, Fault::Before).await;
    assert!(requests > 50, "{requests}");
    for at in 0..requests {
        for fault in [Fault::Before, Fault::After] {
            unplugged_at(at, fault).await;
        }
    }
}

/// An upload whose value never got its name is found and removed, and only when it is old.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_uploads_are_swept() {
    let mut swept = 0;
    for at in 0..20 {
        let below = Arc::new(InMemory::new());
        let failing = Failing::new(&below, at, Fault::After, Duration::ZERO);
        if let Ok(chamber) = open(failing).await {
            let _ = Step::Stream(1, LARGE).run(&chamber).await;
        }
        let now = Failing::new(&below, u64::MAX, Fault::Before, Duration::ZERO);
        let fresh = open(now).await.unwrap().collect(false).await.unwrap();
        assert_eq!(fresh.leftovers.files, 0, "it may still be on its way");
        let later = Failing::new(&below, u64::MAX, Fault::Before, Duration::from_secs(7200));
        swept += open(later).await.unwrap().collect(false).await.unwrap().leftovers.files;
    }
    assert!(swept > 0, "no upload was abandoned, so nothing was tested");
}

/// An upload that took more than the hour of grace gets its name just while a sweep has looked at
/// what is named.
#[tokio::test]
async fn a_sweep_leaves_what_is_about_to_get_its_name() {
    let below = Arc::new(InMemory::new());
    let late = Arc::new(Late::default());
    let mut store = Failing::new(&below, u64::MAX, Fault::Before, Duration::from_secs(7200));
    store.late = Some(late.clone());
    let provider = ObjectProvider::new(Arc::new(store), "p", "a test");
    let (name, data) = (BlobName::new(&[b"late"]).unwrap(), Bytes::from(value(1, LARGE)));
    let mut writer = provider.writer().await.unwrap();
    writer.write(data.clone()).await.unwrap();
    let committed = late.clone();
    let commit = tokio::spawn(async move {
        writer.commit(name, Vec::new()).await.unwrap();
        committed.done.notify_one();
    });
    late.waiting.notified().await;
    assert_eq!(provider.sweep(false).await.unwrap().files, 0);
    commit.await.unwrap();
    assert!(provider.retrieve(name).await.unwrap() == data);
}
