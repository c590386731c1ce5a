//! Garbage collection beside everything else, interleaved at every operation of the backend.

use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
};

use stc::{Coded, Key};

use super::{
    Chamber, ChamberKey, ChamberOptions, Collected, ContentReader, Keep, hook_provider::*, keys,
    page,
};
use crate::{
    Bytes, ContentId, DiskOptions, DiskProvider, MemoryProvider, StorageProvider, StoreError,
    chamber::Protection,
    disk::sim::{Fault, Sim},
    workload,
};

/// Blobs above this get a file.
const SMALL_MAX: usize = 1000;
/// How many values [`prepared`] puts in: two that are cached, one that is pinned, one that is named,
/// one that was unpinned.
const PREPARED: u64 = 5;

fn value(seed: u8) -> Vec<u8> {
    // Every other one is large.
    workload::value(seed, if seed % 2 == 1 { 3000 } else { 100 })
}

fn id(seed: u8) -> ContentId {
    ContentId::of(&value(seed))
}

/// The value that everybody wants: nothing keeps it at first.
const WANTED: u8 = 1;
const PINNED: u8 = 3;
const NAMED: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Memory,
    Disk,
    #[cfg(feature = "object")]
    Object,
}

const BACKENDS: &[Backend] = &[
    Backend::Memory,
    Backend::Disk,
    #[cfg(feature = "object")]
    Backend::Object,
];

async fn provider(backend: Backend) -> Arc<dyn StorageProvider> {
    match backend {
        Backend::Memory => Arc::new(MemoryProvider::new()),
        Backend::Disk => {
            let options = DiskOptions::default().small_max(SMALL_MAX);
            let sim = Arc::new(Sim::new(Fault::Never));
            Arc::new(DiskProvider::open_on(sim, Path::new("/store"), options).await.unwrap())
        }
        #[cfg(feature = "object")]
        Backend::Object => {
            let store = Arc::new(object_store::memory::InMemory::new());
            Arc::new(crate::ObjectProvider::new(store, "p", "a test"))
        }
    }
}

async fn prepared(backend: Backend) -> (Chamber, Arc<Hook>) {
    let hooked = Hooked::new(provider(backend).await);
    let hook = hooked.hook.clone();
    let key = ChamberKey::from_key(&Key::from_bytes([3; 32]));
    let chamber = Chamber::on(&key, Arc::new(hooked), ChamberOptions::default()).await.unwrap();
    for seed in [WANTED, 2] {
        chamber.put_with(value(seed), Keep::Cached).await.unwrap();
    }
    chamber.put(value(PINNED)).await.unwrap();
    chamber.put_named("d", value(NAMED)).await.unwrap();
    let unpinned = chamber.put(value(5)).await.unwrap();
    chamber.unpin(&unpinned).await.unwrap();
    (chamber, hook)
}

#[tokio::test]
async fn a_walk_over_a_list_out_of_order_ends() {
    let (chamber, hook) = prepared(Backend::Memory).await;
    hook.forgetful.store(true, SeqCst);
    let mut after = None;
    let first = page(chamber.provider(), &[keys::CONTENT], &mut after).await.unwrap();
    assert_eq!(first.map(|rows| rows.len() as u64), Some(PREPARED));
    let again = page(chamber.provider(), &[keys::CONTENT], &mut after).await.unwrap_err();
    assert_eq!(again.code(), "store.damaged");
}

/// What happens beside a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Pin,
    Put,
    Stream,
    SetName,
    PutNamed,
    /// What the name pointed to is kept no longer.
    Repoint,
    Protect,
    Read,
    Unpin,
    Unname,
    Remove,
}

const ACTS: [Act; 11] = [
    Act::Pin,
    Act::Put,
    Act::Stream,
    Act::SetName,
    Act::PutNamed,
    Act::Repoint,
    Act::Protect,
    Act::Read,
    Act::Unpin,
    Act::Unname,
    Act::Remove,
];

impl Act {
    fn stores(self) -> bool {
        matches!(self, Self::Put | Self::Stream | Self::PutNamed | Self::Repoint)
    }

    /// Values that nothing of this gives up.
    fn untouched(self) -> Vec<u8> {
        let gives_up = match self {
            Self::Unpin | Self::Remove => Some(PINNED),
            Self::Unname | Self::Repoint => Some(NAMED),
            _ => None,
        };
        [PINNED, NAMED].into_iter().filter(|seed| Some(*seed) != gives_up).collect()
    }
}

/// What an act came to.
#[derive(Default)]
struct Outcome {
    /// The wanted value was acknowledged as kept.
    kept: bool,
    removed: bool,
    protection: Option<Protection>,
    reader: Option<ContentReader>,
}

async fn act(chamber: &Chamber, act: Act) -> Outcome {
    let mut outcome = Outcome::default();
    let done = match act {
        Act::Pin => chamber.pin(&id(WANTED)).await,
        Act::Put => chamber.put(value(WANTED)).await.map(drop),
        Act::Stream => chamber.put_reader(&value(WANTED)[..], Keep::Pinned).await.map(drop),
        Act::SetName => chamber.set_name("new", &id(WANTED)).await,
        Act::PutNamed => chamber.put_named("new", value(WANTED)).await.map(drop),
        Act::Repoint => chamber.put_named("d", value(WANTED)).await.map(drop),
        Act::Protect => {
            let protection = chamber.protect(&id(WANTED)).await.unwrap();
            outcome.kept = chamber.contains(&id(WANTED)).await.unwrap();
            outcome.protection = Some(protection);
            return outcome;
        }
        Act::Read => chamber.reader(&id(WANTED)).await.map(|reader| outcome.reader = Some(reader)),
        Act::Unpin => return chamber.unpin(&id(PINNED)).await.map(|()| outcome).unwrap(),
        Act::Unname => {
            assert!(chamber.remove_name("d").await.unwrap());
            return outcome;
        }
        Act::Remove => {
            chamber.remove(&id(PINNED)).await.unwrap();
            outcome.removed = true;
            return outcome;
        }
    };
    match done {
        Ok(()) => outcome.kept = true,
        Err(StoreError::NotFound { .. }) if !act.stores() => {}
        Err(error) => panic!("{act:?}: {error}"),
    }
    outcome
}

async fn check(
    chamber: &Chamber,
    what: Act,
    outcome: Outcome,
    collected: Collected,
    context: &str,
) {
    if outcome.kept {
        let got = chamber.get(&id(WANTED)).await;
        assert!(
            got.as_ref() == Ok(&Bytes::from(value(WANTED))),
            "{context}: {:?}",
            got.map(|data| data.len())
        );
    }
    if let Some(mut reader) = outcome.reader {
        let mut whole = Vec::new();
        reader.copy_to(&mut whole).await.unwrap();
        assert!(whole == value(WANTED), "{context}");
    }
    for seed in what.untouched() {
        let got = chamber.get(&id(seed)).await;
        assert!(
            got.as_ref() == Ok(&Bytes::from(value(seed))),
            "{context}: {:?}",
            got.map(|data| data.len())
        );
    }
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
    // What was there is there, or was counted; a value that was stored anew was counted before.
    let gone = collected.contents + u64::from(outcome.removed);
    let anew = (report.contents + gone).checked_sub(PREPARED);
    assert!(anew == Some(0) || anew == Some(1) && what.stores(), "{context}: {anew:?}");
    assert!((2..=4).contains(&collected.contents), "{context}: {collected:?}");
    assert_eq!(collected.leftovers.files, 0, "{context}: a file in use was swept");
    drop(outcome.protection);
    chamber.collect(false).await.unwrap();
    let stats = chamber.stats().await.unwrap();
    assert_eq!((stats.collectable, stats.leftovers.files), (0, 0), "{context}");
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
}

/// Runs `what` at operation `at` of a collection; false if there is no such operation.
async fn act_in_collection(backend: Backend, what: Act, at: u64) -> bool {
    let (chamber, hook) = prepared(backend).await;
    let outcome = Arc::new(Mutex::new(None));
    let (other, slot) = (chamber.clone(), outcome.clone());
    hook.beside(at, &chamber, async move {
        let done = act(&other, what).await;
        *slot.lock().unwrap() = Some(done);
    });
    let collected = chamber.collect(false).await.unwrap();
    if !hook.done().await {
        return false;
    }
    let outcome = outcome.lock().unwrap().take().unwrap();
    let context = format!("{backend:?}: {what:?} at operation {at} of a collection");
    check(&chamber, what, outcome, collected, &context).await;
    true
}

/// The other way round.
async fn collection_in_act(backend: Backend, what: Act, at: u64) -> bool {
    let (chamber, hook) = prepared(backend).await;
    let collected = Arc::new(Mutex::new(None));
    let (other, slot) = (chamber.clone(), collected.clone());
    hook.beside(at, &chamber, async move {
        let done = other.collect(false).await.unwrap();
        *slot.lock().unwrap() = Some(done);
    });
    let outcome = act(&chamber, what).await;
    if !hook.done().await {
        return false;
    }
    let collected = collected.lock().unwrap().take().unwrap();
    let context = format!("{backend:?}: a collection at operation {at} of {what:?}");
    check(&chamber, what, outcome, collected, &context).await;
    true
}

/// Calls `run` with 0, 1 and so on until it says that there is no such operation.
async fn at_every_operation(least: u64, context: &str, run: impl AsyncFn(u64) -> bool) {
    let mut at = 0;
    while run(at).await {
        at += 1;
    }
    assert!(at >= least, "{context}: only {at} operations");
}

#[tokio::test]
async fn whatever_is_kept_at_any_point_of_a_collection_stays() {
    for backend in BACKENDS {
        for what in ACTS {
            let context = format!("{backend:?}: a collection beside {what:?}");
            let run = async |at| act_in_collection(*backend, what, at).await;
            at_every_operation(6, &context, run).await;
        }
    }
}

#[tokio::test]
async fn a_collection_at_any_point_of_keeping_takes_nothing() {
    for backend in BACKENDS {
        for what in ACTS {
            let run = async |at| collection_in_act(*backend, what, at).await;
            at_every_operation(1, &format!("{backend:?}: {what:?}"), run).await;
        }
    }
}

async fn is_pinned(chamber: &Chamber, seed: u8) -> bool {
    let content = chamber.shared.keys.content_name(&id(seed)).unwrap();
    chamber.provider().exists(keys::pin_root(&content).unwrap()).await.unwrap()
}

/// Runs `beside` at operation `at` of `first`: what is acknowledged last is what holds.
async fn last_one_holds(backend: Backend, first: Act, beside: Act, at: u64) -> bool {
    let (chamber, hook) = prepared(backend).await;
    let last = Arc::new(Mutex::new(first));
    let run = async |chamber: &Chamber, what: Act, last: &Mutex<Act>| {
        act_on_wanted(chamber, what).await;
        *last.lock().unwrap() = what;
    };
    let (other, slot) = (chamber.clone(), last.clone());
    hook.beside(at, &chamber, async move { run(&other, beside, &slot).await });
    run(&chamber, first, &last).await;
    if !hook.done().await {
        return false;
    }
    let last = *last.lock().unwrap();
    let context = format!("{backend:?}: {beside:?} at operation {at} of {first:?}");
    assert_eq!(is_pinned(&chamber, WANTED).await, last != Act::Unpin, "{context}, then {last:?}");
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
    true
}

#[tokio::test]
async fn of_pinning_and_unpinning_the_last_one_holds() {
    for backend in BACKENDS {
        for pins in [Act::Pin, Act::Put, Act::Stream] {
            for (first, beside) in [(pins, Act::Unpin), (Act::Unpin, pins)] {
                let run = async |at| last_one_holds(*backend, first, beside, at).await;
                at_every_operation(1, &format!("{backend:?}: {first:?}"), run).await;
            }
        }
    }
}

#[tokio::test]
async fn reading_does_not_wait_for_unpinning() {
    let (chamber, hook) = prepared(Backend::Memory).await;
    let pinned = id(PINNED);
    hook.park(0);
    tokio::select! {
        biased;
        () = hook.parked.notified() => {}
        done = chamber.unpin(&pinned) => panic!("{done:?}"),
    }
    tokio::select! {
        biased;
        () = chamber.shared.guard.blocked() => panic!("it waits"),
        got = chamber.get(&pinned) => assert!(got.unwrap() == value(PINNED)),
    }
}

/// A caller stops waiting while its change is under way, and somebody else builds on what is there.
#[tokio::test]
async fn a_change_that_nobody_waits_for_is_in_nobodys_way() {
    let firsts = [Act::Pin, Act::SetName, Act::Put, Act::Remove, Act::Unpin];
    let seconds = [Act::Put, Act::Stream, Act::Pin, Act::Unpin];
    for first in [None].into_iter().chain(firsts.map(Some)) {
        for second in [None].into_iter().chain(seconds.map(Some)) {
            let run = async |at| given_up_at(first, second, at).await;
            at_every_operation(1, &format!("{first:?}"), run).await;
        }
    }
}

/// The same as [`act`], but what is removed and unpinned is the wanted value.
async fn act_on_wanted(chamber: &Chamber, what: Act) -> Outcome {
    match what {
        Act::Remove => chamber.remove(&id(WANTED)).await.unwrap(),
        Act::Unpin => chamber.unpin(&id(WANTED)).await.unwrap(),
        what => return act(chamber, what).await,
    }
    Outcome::default()
}

/// Stops waiting for `first` (a collection if it is `None`) in its change number `at`.
async fn given_up_at(first: Option<Act>, second: Option<Act>, at: u64) -> bool {
    let context = format!("{first:?} given up in change {at}, then {second:?}");
    let (chamber, hook) = prepared(Backend::Memory).await;
    if first == Some(Act::Unpin) {
        chamber.pin(&id(WANTED)).await.unwrap();
    }
    hook.park(at);
    let run = async |chamber: &Chamber, what: Option<Act>| match what {
        None => chamber.collect(false).await.map(|_| Outcome::default()).unwrap(),
        Some(what) => act_on_wanted(chamber, what).await,
    };
    tokio::select! {
        biased;
        () = hook.parked.notified() => {}
        _ = run(&chamber, first) => return hook.done().await,
    }
    let blocked = chamber.shared.guard.blocked();
    let other = chamber.clone();
    let mut later = tokio::spawn(async move { run(&other, second).await });
    let early = tokio::select! {
        done = &mut later => Some(done.unwrap()),
        () = blocked => None,
    };
    hook.gate.notify_one();
    let outcome = match early {
        Some(done) => done,
        None => later.await.unwrap(),
    };
    // Whatever goes on without being waited for.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    if second == Some(Act::Unpin) {
        assert!(!is_pinned(&chamber, WANTED).await, "{context}");
    }
    chamber.collect(false).await.unwrap();
    if outcome.kept {
        let got = chamber.get(&id(WANTED)).await;
        assert!(
            got.as_ref() == Ok(&Bytes::from(value(WANTED))),
            "{context}: {:?}",
            got.map(|data| data.len())
        );
    }
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
    true
}
