//! Hashes, and states to go back to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use crate::common::{self, context, keyed};
use stc::{Coded, ContentId, ContextData, OpenOptions, SealOptions, State};

#[test]
fn every_hash_differs_and_every_one_verifies() {
    let context = context("seed");
    let data = ContextData::new().with("user", "alice");
    let first = context.hash(b"data", None);
    let second = context.hash(b"data", None);
    let bound = context.hash(b"data", Some(&data));
    assert_ne!(first.digest, second.digest);
    assert_eq!((first.position, second.position, bound.position), (0, 1, 2));
    assert!(context.verify(&first, b"data", None));
    assert!(!context.verify(&first, b"Data", None));
    assert!(!context.verify(&first, b"data", Some(&data)));
    assert!(context.verify(&bound, b"data", Some(&data)));
    let mut moved = first;
    moved.position = 1;
    assert!(!context.verify(&moved, b"data", None));
    assert!(!common::context("other").verify(&first, b"data", None));
    assert_eq!(ContentId::of(b"data"), ContentId::of(b"data"));
}

#[test]
fn derived_keys_depend_on_purpose_and_context_only() {
    let context = context("seed");
    let data = ContextData::new().with("user", "alice");
    let key = context.derive_key("backup", None);
    let _ = context.hash(b"moves", None);
    context.update();
    assert!(key == context.derive_key("backup", None));
    assert!(key == common::context("seed").derive_key("backup", None));
    assert!(key != context.derive_key("sharing", None));
    assert!(key != context.derive_key("backup", Some(&data)));
}

#[test]
fn two_contexts_with_one_state_hash_alike_call_for_call() {
    let first = context("my-seed");
    let _ = (first.hash(b"operation1", None), first.hash(b"operation2", None));
    first.update();
    first.encrypt("data", &SealOptions::new().password("pw")).unwrap();
    let state = first.save_state().unwrap();
    let second = context("my-seed");
    second.load_state(&State::from_bytes(&state.to_bytes()).unwrap()).unwrap();
    for call in 0..20_u8 {
        assert_eq!(first.hash(&[call], None), second.hash(&[call], None));
    }
    let health = (first.entropy_health(), second.entropy_health());
    assert_eq!((health.0.envelopes, health.0.bytes), (health.1.envelopes, health.1.bytes));
    // Going back.
    first.load_state(&state).unwrap();
    let replayed = first.hash(b"x", None);
    first.load_state(&state).unwrap();
    assert_eq!(first.hash(b"x", None), replayed);
}

#[test]
fn a_state_loaded_twice_never_repeats_a_key() {
    let context = keyed();
    let state = context.save_state().unwrap();
    let options = SealOptions::new().use_decoys(false);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        context.load_state(&state).unwrap();
        let blob = context.seal("the same text", &options).unwrap();
        // Salt, commitment, box, region: whatever repeats a key repeats bytes.
        assert!(seen.insert(blob[42..74].to_vec()));
        assert!(seen.insert(blob[74..170].to_vec()));
        assert!(seen.insert(blob[170..].to_vec()));
        assert_eq!(context.open(&blob, &OpenOptions::new()).unwrap(), "the same text");
    }
    let (one, two) = (context.save_state().unwrap(), context.save_state().unwrap());
    assert_ne!(one.cel_state, two.cel_state);
}

#[test]
fn states_of_others_changed_and_mixed_ones_are_refused() {
    let context = context("seed");
    let state = context.save_state().unwrap();
    let later = context.save_state().unwrap();
    let code = |state: &State| context.load_state(state).unwrap_err().code();
    let other = common::context("other").save_state().unwrap();
    assert_eq!(code(&other), "record.forged");
    let mixed = State { phe_state: later.phe_state, ..state.clone() };
    assert_eq!(code(&mixed), "record.mixed");
    let swapped = State { phe_state: state.pcf_state.clone(), ..state.clone() };
    assert_eq!(code(&swapped), "record.not_one");
    let bytes = state.to_bytes();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let outcome = State::from_bytes(&bad);
        assert!(outcome.is_err() || context.load_state(&outcome.unwrap()).is_err(), "byte {at}");
        assert!(State::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn states_live_in_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let first = context("seed");
    let _ = first.hash(b"x", None);
    first.save_state_file(&path).unwrap();
    first.save_state_file(&path).unwrap();
    let second = context("seed");
    second.load_state_file(&path).unwrap();
    assert_eq!(first.hash(b"y", None), second.hash(b"y", None));
    let absent = second.load_state_file(dir.path().join("absent")).unwrap_err();
    assert_eq!(absent.code(), "state.io");
}
