//! A workload, with a failure at each of its operations in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use stc::{Coded, Key};

use super::{
    provider::{DiskOptions, DiskProvider},
    sim::{Fault, Sim},
};
use crate::{
    Chamber, ChamberKey, ChamberOptions, ContentId, StoreError,
    workload::{Step, id, value},
};

/// Blobs above this get a file.
const SMALL_MAX: usize = 1000;
const SMALL: usize = 100;
const LARGE: usize = 3000;

const WORKLOAD: [Step; 17] = [
    Step::Put(1, SMALL),
    Step::Put(2, LARGE),
    Step::Named("a", 3, SMALL),
    Step::Stream(4, LARGE),
    Step::Named("a", 5, LARGE),
    Step::Put(2, LARGE),
    Step::Unpin(1, SMALL),
    Step::Collect,
    Step::Remove(2, LARGE),
    Step::Put(2, LARGE),
    Step::Named("b", 6, LARGE),
    Step::Named("b", 7, SMALL),
    Step::Unname("a"),
    Step::Put(8, SMALL),
    Step::Unpin(4, LARGE),
    Step::Collect,
    Step::Put(9, LARGE),
];

/// How sure something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sure {
    Yes,
    No,
    Maybe,
}

#[derive(Clone, Debug)]
struct Content {
    data: Vec<u8>,
    here: Sure,
    kept: Sure,
}

/// What may be seen, after what was acknowledged and what failed.
#[derive(Debug, Default)]
struct Model {
    contents: BTreeMap<ContentId, Content>,
    names: BTreeMap<&'static str, BTreeSet<Option<ContentId>>>,
}

impl Model {
    fn content(&mut self, data: Vec<u8>) -> &mut Content {
        let fresh = Content { data, here: Sure::No, kept: Sure::No };
        self.contents.entry(ContentId::of(&fresh.data)).or_insert(fresh)
    }

    fn put(&mut self, seed: u8, len: usize, done: bool) {
        let content = self.content(value(seed, len));
        if done {
            (content.here, content.kept) = (Sure::Yes, Sure::Yes);
        } else {
            for sure in [&mut content.here, &mut content.kept] {
                if *sure == Sure::No {
                    *sure = Sure::Maybe;
                }
            }
        }
    }

    /// What `name` pointed to is kept no longer.
    fn released(&mut self, name: &'static str, done: bool, new: Option<ContentId>) {
        let old = self.names.remove(name).unwrap_or_else(|| BTreeSet::from([None]));
        for id in old.iter().flatten().filter(|id| Some(**id) != new) {
            let content = self.contents.get_mut(id).unwrap();
            content.kept = if done { Sure::No } else { Sure::Maybe };
        }
        let mut now = if done { BTreeSet::new() } else { old };
        now.insert(new);
        self.names.insert(name, now);
    }

    fn note(&mut self, step: Step, done: bool) {
        let weaken = |done| if done { Sure::No } else { Sure::Maybe };
        match step {
            Step::Put(seed, len) | Step::Stream(seed, len) => self.put(seed, len, done),
            Step::Named(name, seed, len) => {
                self.put(seed, len, done);
                self.released(name, done, Some(id(seed, len)));
            }
            Step::Unname(name) => self.released(name, done, None),
            Step::Unpin(seed, len) => self.content(value(seed, len)).kept = weaken(done),
            Step::Remove(seed, len) => {
                let content = self.content(value(seed, len));
                (content.here, content.kept) = (weaken(done), weaken(done));
            }
            Step::Collect => {
                for content in self.contents.values_mut() {
                    match content.kept {
                        Sure::Yes => {}
                        Sure::No if content.here != Sure::No => content.here = weaken(done),
                        Sure::Maybe if content.here == Sure::Yes => content.here = Sure::Maybe,
                        _ => {}
                    }
                }
            }
        }
    }

    async fn check(&self, chamber: &Chamber, context: &str) {
        for (id, content) in &self.contents {
            match (content.here, chamber.get(id).await) {
                (Sure::Yes | Sure::Maybe, Ok(data)) => assert!(data == content.data, "{context}"),
                (Sure::No | Sure::Maybe, Err(StoreError::NotFound { .. })) => {}
                (here, got) => {
                    panic!("{context}: {id} {here:?}, but {:?}", got.map(|data| data.len()));
                }
            }
        }
        for (name, allowed) in &self.names {
            let found = match chamber.resolve(name).await {
                Ok(id) => Some(id),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => panic!("{context}: {name}: {error}"),
            };
            assert!(allowed.contains(&found), "{context}: {name} is {found:?} of {allowed:?}");
        }
        let known: BTreeSet<_> = self.contents.keys().copied().collect();
        chamber
            .contents(|info| {
                let id = info.unwrap().id;
                assert!(known.contains(&id), "{context}: {id} was never stored");
                true
            })
            .await
            .unwrap();
    }
}

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([3; 32]))
}

async fn open(sim: &Sim) -> Result<Chamber, StoreError> {
    let options = DiskOptions::default().with_small_max(SMALL_MAX).unwrap();
    let disk = DiskProvider::open_on(Arc::new(sim.clone()), Path::new("/store"), options).await?;
    Chamber::on(&key(), Arc::new(disk), ChamberOptions::default()).await
}

/// Opens what is left, and expects a sound store with what the model says.
async fn expect(sim: &Sim, model: &Model, context: &str) {
    let chamber = match open(sim).await {
        Ok(chamber) => chamber,
        Err(error) => panic!("{context}: does not open: {error}"),
    };
    model.check(&chamber, context).await;
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
    chamber.collect(false).await.unwrap();
    assert_eq!(chamber.stats().await.unwrap().leftovers.files, 0, "{context}");
    chamber.put(value(99, LARGE)).await.unwrap();
}

/// Operations of the workload without any fault.
async fn operations() -> u64 {
    let sim = Sim::new(Fault::Never);
    let mut model = Model::default();
    let chamber = open(&sim).await.unwrap();
    for step in WORKLOAD {
        step.run(&chamber).await.unwrap();
        model.note(step, true);
    }
    model.check(&chamber, "without fault").await;
    drop(chamber);
    sim.done()
}

async fn stop_at(at: u64, seeds: std::ops::Range<u64>) {
    let sim = Sim::new(Fault::Stop { at });
    let mut model = Model::default();
    if let Ok(chamber) = open(&sim).await {
        for step in WORKLOAD {
            let done = step.run(&chamber).await.is_ok();
            model.note(step, done);
            if !done {
                break;
            }
        }
    }
    expect(&sim.after_kill(), &model, &format!("killed at {at}")).await;
    for seed in seeds {
        let after = sim.after_power_loss(&mut fastrand::Rng::with_seed(seed ^ (at << 32)));
        expect(&after, &model, &format!("power lost at {at}, seed {seed}")).await;
    }
}

#[tokio::test]
async fn killed_or_unplugged_at_every_operation() {
    let operations = operations().await;
    assert!(operations > 100, "{operations}");
    for at in 0..operations {
        stop_at(at, 0..2).await;
    }
}

/// In two halves, which run at the same time.
#[tokio::test]
#[ignore = "heavy: every other operation with 200 ways to lose what was not synced"]
async fn unplugged_at_even_operations_in_many_ways() {
    for at in (0..operations().await).step_by(2) {
        stop_at(at, 2..202).await;
    }
}

#[tokio::test]
#[ignore = "heavy: every other operation with 200 ways to lose what was not synced"]
async fn unplugged_at_odd_operations_in_many_ways() {
    for at in (1..operations().await).step_by(2) {
        stop_at(at, 2..202).await;
    }
}

/// One operation fails, with each kind of error; everything else goes on.
#[tokio::test]
async fn one_failure_harms_nothing_else() {
    let kinds = [
        (io::ErrorKind::StorageFull, "store.disk_full"),
        (io::ErrorKind::ReadOnlyFilesystem, "store.read_only"),
        (io::ErrorKind::PermissionDenied, "store.permission"),
        (io::ErrorKind::Other, "store.io"),
    ];
    for at in 0..operations().await {
        let (kind, code) = kinds[usize::try_from(at).unwrap() % kinds.len()];
        let context = format!("{kind:?} at {at}");
        let sim = Sim::new(Fault::Once { at, kind });
        let mut model = Model::default();
        if let Ok(chamber) = open(&sim).await {
            let mut failed = 0;
            for step in WORKLOAD {
                match step.run(&chamber).await {
                    Ok(()) => model.note(step, true),
                    Err(error) => {
                        // A removal that failed before may be in the way of the next.
                        let known = [code, "store.sync_failed", "store.not_found"];
                        assert!(known.contains(&error.code()), "{context}: {error}");
                        failed += 1;
                        model.note(step, false);
                    }
                }
                model.check(&chamber, &context).await;
            }
            // After a failed sync nothing more is written, so all later steps fail.
            assert!(failed <= WORKLOAD.len(), "{context}");
        }
        assert!(sim.faulted() || at > 0, "{context}");
        expect(&sim.after_kill(), &model, &context).await;
    }
}

/// The disk is full from some operation on, until space is made.
#[tokio::test]
async fn a_full_disk_is_read_and_written_again_when_there_is_space() {
    for at in (0..operations().await).step_by(3) {
        let context = format!("full from {at}");
        let sim = Sim::new(Fault::From { at, kind: io::ErrorKind::StorageFull });
        let Ok(chamber) = open(&sim).await else { continue };
        let mut model = Model::default();
        for step in WORKLOAD {
            let result = step.run(&chamber).await;
            model.note(step, result.is_ok());
            if let Err(error) = result {
                let known = ["store.disk_full", "store.sync_failed", "store.not_found"];
                assert!(known.contains(&error.code()), "{context}: {error}");
            }
        }
        model.check(&chamber, &context).await;
        sim.set_fault(Fault::Never);
        model.note(Step::Put(50, LARGE), false);
        match chamber.put(value(50, LARGE)).await {
            Ok(id) => assert!(chamber.get(&id).await.unwrap() == value(50, LARGE), "{context}"),
            Err(StoreError::SyncFailed { .. }) => {}
            Err(error) => panic!("{context}: {error}"),
        }
        model.check(&chamber, &context).await;
        drop(chamber);
        expect(&sim.after_kill(), &model, &context).await;
    }
}
