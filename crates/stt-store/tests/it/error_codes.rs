//! Every error has a row in docs/errors.md that says the same.
#![allow(clippy::unwrap_used, reason = "a test states what it expects by unwrapping it")]

use stt_store::{
    Cause, Coded, Damage, DamagedPart, DiskOptions, DiskProvider, SettingError, StoreError,
    log::{Lease, LogError, Position, SyncReport},
};

use crate::error_page;

fn errors_of_stores() -> Vec<Box<dyn Coded>> {
    let item = || "x".to_owned();
    let damage = || Damage::Missing(DamagedPart::Whole);
    vec![
        Box::new(StoreError::NotFound { item: item() }),
        Box::new(StoreError::WrongSeed { place: item() }),
        Box::new(StoreError::NotAStore { place: item(), found: item() }),
        Box::new(StoreError::Damaged { item: item(), damage: damage() }),
        Box::new(StoreError::IndexDamaged { item: item(), damage: damage() }),
        Box::new(StoreError::IndexSound { place: item() }),
        Box::new(StoreError::DiskFull { item: item() }),
        Box::new(StoreError::ReadOnly { item: item() }),
        Box::new(StoreError::Permission { item: item() }),
        Box::new(StoreError::Io { item: item(), cause: Cause::text("x") }),
        Box::new(StoreError::SyncFailed { item: item() }),
        Box::new(StoreError::Quota { item: item(), needed: 2, used: 0, limit: 1 }),
        Box::new(StoreError::Range { item: item(), start: 1, end: 2, len: 1 }),
        Box::new(StoreError::TooLarge { item: item(), limit: 1 }),
        Box::new(StoreError::EntryName { len: 0, limit: 1 }),
        Box::new(StoreError::NameIsId { name: item() }),
        Box::new(StoreError::StillNamed { item: item(), name: item() }),
        Box::new(StoreError::Version { place: item(), found: 2, known: 1 }),
        Box::new(StoreError::Source { cause: Cause::text("x") }),
        Box::new(StoreError::Service { item: item(), cause: Cause::text("x") }),
        Box::new(StoreError::Setting(SettingError::NoHome)),
        Box::new(StoreError::Closed { item: item() }),
        Box::new(StoreError::from(stc::random::RandomError::Unavailable)),
        Box::new(StoreError::from(stc::SeedError::Empty)),
    ]
}

fn errors_of_logs() -> Vec<Box<dyn Coded>> {
    let report = SyncReport { servers: Vec::new(), acknowledges_early: true };
    vec![
        Box::new(LogError::EpochChanged { asked: Position::START, common: Position::START }),
        Box::new(LogError::Trimmed { asked: 1, oldest: 2 }),
        Box::new(LogError::TooLarge { got: 2, limit: 1 }),
        Box::new(LogError::LeaseEnded { lease: Lease::from_bytes([0; 16]) }),
        Box::new(LogError::ConsumerName { len: 0, limit: 1 }),
        Box::new(LogError::ConsumerOpen { name: "x".to_owned() }),
        Box::new(LogError::ConsumerTaken { name: "x".to_owned() }),
        Box::new(LogError::TooManyConsumers { limit: 1 }),
        Box::new(LogError::Unreachable { cause: Cause::text("x") }),
        Box::new(LogError::NotSynced { report }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_its_row() {
    // Only a store in use tells who has it.
    let dir = tempfile::tempdir().unwrap();
    let _open = DiskProvider::open(dir.path(), DiskOptions::default()).await.unwrap();
    let in_use = DiskProvider::open(dir.path(), DiskOptions::default()).await.unwrap_err();
    assert_eq!(in_use.code(), "store.in_use");
    let mut all = errors_of_stores();
    all.extend(errors_of_logs());
    all.push(Box::new(in_use));
    error_page::compare(all);
}
