//! Messages: what opens, and what does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use crate::common::{context, keyed};
use stc::{Coded, ContextData, Header, OpenError, OpenOptions, Plaintext, SealError, SealOptions};

#[test]
fn text_comes_out_as_text_and_bytes_as_bytes() {
    let context = context("seed");
    let (ciphertext, metadata) = context.encrypt("héllo", &SealOptions::new()).unwrap();
    assert_eq!(context.decrypt(&ciphertext, &metadata, &OpenOptions::new()).unwrap(), "héllo");
    let (ciphertext, metadata) = context.encrypt(b"bytes", &SealOptions::new()).unwrap();
    let metadata = Header::parse_exact(&metadata.to_bytes()).unwrap();
    let content = context.decrypt(&ciphertext, &metadata, &OpenOptions::new()).unwrap();
    assert_eq!(content, *b"bytes".as_slice());
    assert_eq!(content.as_text(), None);
}

#[test]
fn metadata_without_decoys_is_small() {
    let context = keyed();
    for len in [0, 1, 100_000] {
        let options = SealOptions::new().use_decoys(false);
        let (ciphertext, metadata) = context.encrypt(&vec![7; len], &options).unwrap();
        assert_eq!(metadata.to_bytes().len(), 170);
        assert_eq!(ciphertext.len(), len + 16 + 64);
    }
}

#[test]
fn decoys_are_the_default_and_cost_four_to_eight_regions() {
    let context = keyed();
    let blob = context.seal("short", &SealOptions::new()).unwrap();
    let header = Header::parse(&blob).unwrap();
    assert!((4..=8).contains(&header.slot_count()));
    assert_eq!(header.envelope_len(), Some(blob.len() as u64));
    assert_eq!(header.capacity(), Some(256));
}

#[test]
fn every_password_opens_its_own_content() {
    let context = context("seed");
    let data = ContextData::new().with("user", "alice");
    for _ in 0..10 {
        let options = SealOptions::new()
            .password("real")
            .context_data(&data)
            .decoy("first", "a shopping list")
            .decoy("second", b"holiday pictures")
            .decoy("third", "");
        let blob = context.seal("the secret", &options).unwrap();
        let open = |password: &str| {
            context.open(&blob, &OpenOptions::new().password(password).context_data(&data))
        };
        assert_eq!(open("real").unwrap(), "the secret");
        assert_eq!(open("first").unwrap(), "a shopping list");
        assert_eq!(open("second").unwrap(), *b"holiday pictures".as_slice());
        assert_eq!(open("third").unwrap(), "");
        assert!(matches!(open("fourth"), Err(OpenError::NothingOpens)));
    }
}

#[test]
fn whatever_is_wrong_the_error_is_the_same() {
    let alice = ContextData::new().with("user", "alice");
    let bob = ContextData::new().with("user", "bob");
    let right = context("seed");
    let options = SealOptions::new().password("pw").context_data(&alice).decoy("other", "decoy");
    let blob = right.seal("secret", &options).unwrap();
    let wrong = context("another seed");
    let attempts = [
        right.open(&blob, &OpenOptions::new().password("PW").context_data(&alice)),
        right.open(&blob, &OpenOptions::new().context_data(&alice)),
        right.open(&blob, &OpenOptions::new().password("").context_data(&alice)),
        right.open(&blob, &OpenOptions::new().password("pw").context_data(&bob)),
        right.open(&blob, &OpenOptions::new().password("pw")),
        wrong.open(&blob, &OpenOptions::new().password("pw").context_data(&alice)),
    ];
    let expected = "nothing in this envelope opens with this seed, password and context data";
    for attempt in attempts {
        let error = attempt.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.code(), "envelope.nothing_opens");
    }
    let good = right.open(&blob, &OpenOptions::new().password("pw").context_data(&alice));
    assert_eq!(good.unwrap(), "secret");
}

#[test]
fn any_flipped_bit_is_refused_by_whoever_opens() {
    let context = context("seed");
    let options = SealOptions::new().password("real").decoy("decoy", "harmless");
    let blob = context.seal("secret", &options).unwrap();
    for at in 0..blob.len() {
        let mut bad = blob.clone();
        bad[at] ^= 1 << (at % 8);
        // A changed cost or salt means a new stretch for each position; two passwords are enough
        // of that for the header, whose positions are all covered by the key.
        for password in ["real", "decoy"] {
            // A flip may turn the cost into gigabytes, which is legal and slow: skip those.
            if (7..10).contains(&at) {
                continue;
            }
            let outcome = context.open(&bad, &OpenOptions::new().password(password));
            assert!(outcome.is_err(), "byte {at}, password {password}");
        }
    }
}

#[test]
fn any_cut_and_any_extra_byte_is_refused() {
    let context = keyed();
    for decoys in [false, true] {
        let blob = context.seal("secret", &SealOptions::new().use_decoys(decoys)).unwrap();
        for cut in 0..blob.len() {
            assert!(context.open(&blob[..cut], &OpenOptions::new()).is_err(), "cut at {cut}");
        }
        let mut longer = blob.clone();
        longer.push(0);
        assert!(context.open(&longer, &OpenOptions::new()).is_err());
        assert_eq!(context.open(&blob, &OpenOptions::new()).unwrap(), "secret");
    }
}

#[test]
fn swapped_regions_and_slots_are_refused() {
    let context = keyed();
    let blob = context.seal("secret", &SealOptions::new()).unwrap();
    let header = Header::parse(&blob).unwrap();
    let slots = header.slot_count();
    let region = 256 + 16;
    let body = header.encoded_len();
    for (table, size) in [(74, 96), (body, region), (body + slots * region, 32)] {
        for other in 1..slots {
            let mut bad = blob.clone();
            for byte in 0..size {
                bad.swap(table + byte, table + other * size + byte);
            }
            let outcome = context.open(&bad, &OpenOptions::new());
            assert!(outcome.is_err(), "table at {table}, 0 and {other}");
        }
    }
}

#[test]
fn contradictions_are_refused_before_anything_is_made() {
    let context = context("seed");
    let refused = |options: SealOptions<'_>| context.seal("x", &options).unwrap_err();
    let same = SealOptions::new().password("pw").decoy("pw", "decoy");
    assert!(matches!(refused(same), SealError::SamePassword));
    let empty = SealOptions::new().password("");
    assert!(matches!(refused(empty), SealError::EmptyPassword));
    let many = SealOptions::new().decoy("1", "").decoy("2", "").decoy("3", "").decoy("4", "");
    assert!(matches!(refused(many), SealError::TooManyDecoys { got: 4 }));
    let seedless = stc::Context::seedless().lattice(16, 1).build().unwrap();
    let open = seedless.seal("x", &SealOptions::new()).unwrap_err();
    assert!(matches!(open, SealError::NoSecret));
    let blob = seedless.seal("x", &SealOptions::new().password("pw")).unwrap();
    assert_eq!(seedless.open(&blob, &OpenOptions::new().password("pw")).unwrap(), "x");
}

#[test]
fn an_envelope_cannot_make_a_reader_spend_more_than_it_allows() {
    let dear = stc::Context::builder("seed").lattice(32, 1).build().unwrap();
    let blob = dear.seal("x", &SealOptions::new().password("pw")).unwrap();
    let root = stc::Seed::from("seed").root(b"", dear.cost()).unwrap();
    let careful = stc::Context::builder(root).max_stretch_kib(1023).build().unwrap();
    let outcome = careful.open(&blob, &OpenOptions::new().password("pw"));
    assert!(matches!(outcome, Err(OpenError::TooDear { kib: 1024, allowed: 1023 })));
}

#[test]
fn large_messages_go_through_many_chunks_and_threads() {
    let context = keyed();
    let data: Vec<u8> = (0..9_000_001_u32).map(|at| at.to_le_bytes()[1]).collect();
    let options = SealOptions::new().use_decoys(false);
    let blob = context.seal(Plaintext::Bytes(&data), &options).unwrap();
    assert!(context.open(&blob, &OpenOptions::new()).unwrap() == *data.as_slice());
}

#[test]
fn a_slot_is_found_from_the_first_bytes_alone() {
    let context = context("seed");
    let options = SealOptions::new().password("real").decoy("decoy", "harmless");
    let blob = context.seal(&vec![1; 300_000], &options).unwrap();
    let first = &blob[..65_536];
    let real = context.find_slot(first, &OpenOptions::new().password("real")).unwrap();
    let decoy = context.find_slot(first, &OpenOptions::new().password("decoy")).unwrap();
    assert_ne!(real.index, decoy.index);
    assert_eq!(real.slots, Header::parse(first).unwrap().slot_count());
}
