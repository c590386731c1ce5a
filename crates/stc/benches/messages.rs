//! What a context costs, and a hundred messages under one password.
//! `cargo bench -p stc --bench messages`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "prints figures")]

mod support;

use std::hint::black_box;

use stc::{Context, Key, SealOptions, stretch::Cost};
use support::{Sample, short, time};

fn main() {
    println!("making a context");
    for (name, cost) in [("fast", Cost::FAST), ("default", Cost::DEFAULT), ("strong", Cost::STRONG)]
    {
        let make = || {
            time(|| {
                black_box(Context::builder("seed").cost(cost).build().unwrap());
            })
        };
        let sample = Sample::of((0..5).map(|_| make()).collect());
        println!(
            "  {name:<8} {:>4} MiB  {:>10}  ({} to {})",
            cost.kib() / 1024,
            short(sample.median),
            short(sample.least),
            short(sample.most)
        );
    }

    println!("\na hundred messages of 100 bytes under one password, at the default cost");
    let key = Key::from_bytes([3; 32]);
    let message = [1_u8; 100];
    for decoys in [false, true] {
        let options = SealOptions::new().password("password").use_decoys(decoys);
        let bare = SealOptions::new().use_decoys(decoys);
        let (mut hundred, mut one, mut sealings) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..7 {
            let context = Context::from_key(key.clone()).unwrap();
            hundred.push(time(|| {
                for _ in 0..100 {
                    black_box(context.seal(&message, &options).unwrap());
                }
            }));
            let context = Context::from_key(key.clone()).unwrap();
            one.push(time(|| {
                black_box(context.seal(&message, &options).unwrap());
            }));
            sealings.push(time(|| {
                for _ in 0..100 {
                    black_box(context.seal(&message, &bare).unwrap());
                }
            }));
        }
        let [hundred, one, sealings] = [hundred, one, sealings].map(|v| Sample::of(v).median);
        println!(
            "  decoys {decoys:<5}  100 messages {}, one {}, 100 sealings {}: {:.3} x (target 1.2)",
            short(hundred),
            short(one),
            short(sealings),
            hundred / (one + sealings)
        );
    }
}
