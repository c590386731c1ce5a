//! A backend in which something else happens at a chosen operation.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::{sync::Notify, task::JoinHandle};

use super::Chamber;
use crate::{
    BlobName, BlobReader, BlobStat, BlobWriter, BoxFuture, Op, StorageProvider, StoreError, Swept,
    Usage, provider::Source,
};

/// What happens, and at which operation, counted from 0.
enum Plan {
    Nothing,
    /// Runs beside the operation: until it is done, or has to wait for whoever makes the operation.
    Beside {
        left: u64,
        chamber: Chamber,
        work: BoxFuture<'static, ()>,
    },
    /// The change stays under way until the gate is opened, even if nobody waits for it.
    Park {
        left: u64,
    },
}

pub(super) struct Hook {
    plan: Mutex<Plan>,
    beside: Mutex<Option<JoinHandle<()>>>,
    pub(super) parked: Notify,
    pub(super) gate: Notify,
    /// Lists begin again from the start, as those of a damaged index may.
    pub(super) forgetful: AtomicBool,
}

impl Hook {
    pub(super) fn beside(
        &self,
        left: u64,
        chamber: &Chamber,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let (chamber, work) = (chamber.clone(), Box::pin(work));
        *self.plan.lock().unwrap() = Plan::Beside { left, chamber, work };
    }

    pub(super) fn park(&self, left: u64) {
        *self.plan.lock().unwrap() = Plan::Park { left };
    }

    /// Waits for what ran beside an operation; false if the operation never came.
    pub(super) async fn done(&self) -> bool {
        *self.plan.lock().unwrap() = Plan::Nothing;
        let beside = self.beside.lock().unwrap().take();
        match beside {
            Some(work) => {
                work.await.unwrap();
                true
            }
            None => false,
        }
    }

    /// One operation.
    async fn step(&self) {
        let now = {
            let mut plan = self.plan.lock().unwrap();
            match &mut *plan {
                Plan::Beside { left: 0, .. } => std::mem::replace(&mut *plan, Plan::Nothing),
                Plan::Beside { left, .. } => {
                    *left -= 1;
                    Plan::Nothing
                }
                Plan::Nothing | Plan::Park { .. } => Plan::Nothing,
            }
        };
        if let Plan::Beside { chamber, work, .. } = now {
            let blocked = chamber.shared.guard.blocked();
            let mut work = tokio::spawn(work);
            tokio::select! {
                done = &mut work => {
                    done.unwrap();
                    work = tokio::spawn(std::future::ready(()));
                }
                () = blocked => {}
            }
            *self.beside.lock().unwrap() = Some(work);
        }
    }

    /// One operation that changes something.
    async fn change(
        self: &Arc<Self>,
        change: BoxFuture<'static, Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        self.step().await;
        let park = {
            let mut plan = self.plan.lock().unwrap();
            match &mut *plan {
                Plan::Park { left: 0 } => {
                    *plan = Plan::Nothing;
                    true
                }
                Plan::Park { left } => {
                    *left -= 1;
                    false
                }
                Plan::Nothing | Plan::Beside { .. } => false,
            }
        };
        if !park {
            return change.await;
        }
        let hook = self.clone();
        let under_way = tokio::spawn(async move {
            hook.gate.notified().await;
            change.await
        });
        self.parked.notify_one();
        under_way.await.unwrap()
    }
}

#[derive(Clone)]
pub(super) struct Hooked {
    below: Arc<dyn StorageProvider>,
    pub(super) hook: Arc<Hook>,
}

impl Hooked {
    pub(super) fn new(below: Arc<dyn StorageProvider>) -> Self {
        let hook = Hook {
            plan: Mutex::new(Plan::Nothing),
            beside: Mutex::default(),
            parked: Notify::new(),
            gate: Notify::new(),
            forgetful: AtomicBool::new(false),
        };
        Self { below, hook: Arc::new(hook) }
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hooked").field(&self.below).finish()
    }
}

impl StorageProvider for Hooked {
    fn apply(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), StoreError>> {
        let below = self.below.clone();
        let change = Box::pin(async move { below.apply(ops).await });
        Box::pin(self.hook.change(change))
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async {
            self.hook.step().await;
            let below = self.below.writer().await?;
            Ok(Box::new(Writer { below, hook: self.hook.clone() }) as Box<dyn BlobWriter>)
        })
    }

    fn reader(&self, name: BlobName) -> BoxFuture<'_, Result<Box<dyn BlobReader>, StoreError>> {
        Box::pin(async move {
            self.hook.step().await;
            self.below.reader(name).await
        })
    }

    fn stat(&self, name: BlobName) -> BoxFuture<'_, Result<Option<BlobStat>, StoreError>> {
        Box::pin(async move {
            self.hook.step().await;
            self.below.stat(name).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(BlobName, BlobStat)>, StoreError>> {
        Box::pin(async move {
            self.hook.step().await;
            let after = after.filter(|_| !self.hook.forgetful.load(Ordering::SeqCst));
            self.below.list(prefix, after, limit).await
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.below.usage()
    }

    fn sweep(&self, dry_run: bool) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(async move {
            self.hook.step().await;
            self.below.sweep(dry_run).await
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<StoreError>, StoreError>> {
        self.below.check()
    }

    fn place(&self) -> String {
        self.below.place()
    }
}

struct Writer {
    below: Box<dyn BlobWriter>,
    hook: Arc<Hook>,
}

impl BlobWriter for Writer {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.hook.step().await;
            self.below.write(data).await
        })
    }

    fn write_all(
        self: Box<Self>,
        source: Source,
    ) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>> {
        Box::pin(async move {
            self.hook.step().await;
            let below = self.below.write_all(source).await?;
            Ok(Box::new(Self { below, hook: self.hook }) as Box<dyn BlobWriter>)
        })
    }

    fn commit(
        self: Box<Self>,
        name: BlobName,
        also: Vec<Op>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        // Backends without a disk make the change as soon as they are asked.
        let Self { below, hook } = *self;
        let change = Box::pin(async move { below.commit(name, also).await });
        Box::pin(async move { hook.change(change).await })
    }
}
