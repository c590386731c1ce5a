//! Nothing in an envelope tells real slots from empty ones, or how many are real.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "statistics on small counts")]

use crate::common::context;
use stc::{Context, Header, OpenOptions, SealOptions};

const ENVELOPES: usize = 1500;
/// Slot record, region of 256 bytes with its tag, trailer.
const PARTS: [usize; 3] = [96, 272, 32];

/// Sum of squared deviations from an even spread, in units of the expected count.
fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

/// Far beyond chance: six standard deviations above the mean of the distribution.
fn limit(categories: usize) -> f64 {
    let freedom = (categories - 1) as f64;
    freedom + 6.0 * (2.0 * freedom).sqrt() + 12.0
}

/// The bytes of slot `index`: its record, region and trailer.
fn slot_bytes(blob: &[u8], header: &Header, index: usize) -> [Vec<u8>; 3] {
    let body = header.encoded_len();
    let trailers = body + header.slot_count() * PARTS[1];
    let starts = [74, body, trailers];
    [0, 1, 2].map(|part| blob[starts[part] + index * PARTS[part]..][..PARTS[part]].to_vec())
}

/// Counts of byte values, and of set bits at every position.
struct Tally {
    values: Vec<u64>,
    ones: Vec<u64>,
    slots: u64,
}

impl Tally {
    fn new() -> Self {
        let bits = PARTS.iter().sum::<usize>() * 8;
        Self { values: vec![0; 256], ones: vec![0; bits], slots: 0 }
    }

    fn add(&mut self, parts: &[Vec<u8>; 3]) {
        self.slots += 1;
        for (at, byte) in parts.iter().flatten().enumerate() {
            self.values[usize::from(*byte)] += 1;
            for bit in 0..8 {
                self.ones[at * 8 + bit] += u64::from(byte >> bit & 1);
            }
        }
    }

    /// Every value as often as every other, and every bit set half of the time.
    fn assert_uniform(&self, name: &str) {
        let spread = chi_square(&self.values);
        assert!(spread < limit(256), "{name}: bytes are uneven ({spread:.0})");
        let half = self.slots as f64 / 2.0;
        let deviation = (self.slots as f64 / 4.0).sqrt();
        for (position, ones) in self.ones.iter().enumerate() {
            let sigmas = (*ones as f64 - half).abs() / deviation;
            assert!(sigmas < 6.5, "{name}: bit {position} is set {ones} times of {}", self.slots);
        }
    }
}

fn options(decoys: usize) -> SealOptions<'static> {
    let texts = [("first", "a"), ("second", "bb"), ("third", "")];
    texts
        .into_iter()
        .take(decoys)
        .fold(SealOptions::new().password("real"), |options, (password, text)| {
            options.decoy(password, text)
        })
}

fn index_of(context: &Context, blob: &[u8], password: &str) -> usize {
    context.find_slot(blob, &OpenOptions::new().password(password)).unwrap().index
}

#[test]
fn real_and_empty_slots_look_alike_in_every_byte() {
    let context = context("seed");
    let (mut real, mut empty) = (Tally::new(), Tally::new());
    for _ in 0..ENVELOPES {
        // Content as regular as can be.
        let blob = context.seal(&[0; 256], &options(1)).unwrap();
        let header = Header::parse(&blob).unwrap();
        let full = [index_of(&context, &blob, "real"), index_of(&context, &blob, "first")];
        for index in 0..header.slot_count() {
            let tally = if full.contains(&index) { &mut real } else { &mut empty };
            tally.add(&slot_bytes(&blob, &header, index));
        }
    }
    assert_eq!(real.slots, 2 * ENVELOPES as u64);
    real.assert_uniform("real slots");
    empty.assert_uniform("empty slots");
}

#[test]
fn the_number_of_slots_and_their_order_do_not_depend_on_what_is_real() {
    let context = context("seed");
    for decoys in 0..=3 {
        let mut totals = vec![0_u64; 5];
        let mut places = vec![vec![0_u64; 8]; 9];
        for _ in 0..ENVELOPES {
            let blob = context.seal("x", &options(decoys)).unwrap();
            let total = Header::parse(&blob).unwrap().slot_count();
            totals[total - 4] += 1;
            places[total][index_of(&context, &blob, "real")] += 1;
        }
        let spread = chi_square(&totals);
        assert!(spread < limit(5), "{decoys} decoys: totals {totals:?}");
        for (total, places) in places.iter().enumerate().skip(4) {
            let spread = chi_square(&places[..total]);
            assert!(spread < limit(total), "{decoys} decoys, {total} slots: {places:?}");
            assert!(places[total..].iter().all(|count| *count == 0));
        }
    }
}

#[test]
fn the_size_tells_the_largest_class_and_no_more() {
    let context = context("seed");
    let capacity = |len: usize, decoys: usize| {
        let content = vec![1; len];
        let blob = context.seal(&content, &options(decoys)).unwrap();
        Header::parse(&blob).unwrap().capacity().unwrap()
    };
    for len in [0, 1, 100, 256] {
        assert_eq!(capacity(len, 0), 256);
        assert_eq!(capacity(len, 3), 256);
    }
    assert_eq!(capacity(1000, 0), capacity(993, 2));
    assert!(capacity(100_000, 0) <= 112_000);
}

#[test]
fn two_versions_of_an_envelope_share_only_what_the_format_says() {
    let context = context("seed");
    let make = || context.seal("the same", &options(1).use_decoys(true)).unwrap();
    let (one, two) = (make(), make());
    // The salt of this context's passwords (26..42) links them, and the fixed fields.
    assert_eq!(one[26..42], two[26..42]);
    for window in one[42..].windows(16) {
        assert!(!two.windows(16).any(|other| other == window));
    }
}
