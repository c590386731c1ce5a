//! Sealing and opening chunks of a stream, against raw AES-256-GCM of the same library, one core.
//! `cargo bench -p stc --bench chunks`
#![allow(missing_docs, clippy::unwrap_used, reason = "a program that stops when something fails")]

mod support;

use std::hint::black_box;

use stc::{Key, StreamingConfig, StreamingContext, aead::AeadKey, aead::Suite};
use support::{Candidate, alternate, report, time};

const PER_RUN: usize = 3000;

fn stream() -> StreamingContext {
    // Keys rotate as they would in use.
    let config = StreamingConfig::new().suite(Suite::Aes256Gcm);
    StreamingContext::with_config(Key::from_bytes([7; 32]), config).unwrap()
}

fn main() {
    for len in [5_000, 65_536] {
        seal(len);
        open(len);
    }
}

fn seal(len: usize) {
    let data = vec![0x5a_u8; len];
    let raw = AeadKey::new(Suite::Aes256Gcm, &Key::from_bytes([1; 32])).unwrap();
    let (mut one, mut two, mut three) = (stream(), stream(), stream());
    let config = StreamingConfig::new().suite(Suite::Aes256Gcm).enable_adaptive_chunking(false);
    let mut whole = StreamingContext::with_config(Key::from_bytes([7; 32]), config).unwrap();
    let mut whole_place = Vec::with_capacity(len + 4096);
    let mut raw_buffer = data.clone();
    let mut place = Vec::with_capacity(len + 4096);
    let mut out = Vec::with_capacity(len + 4096);
    let mut counter = 0_u64;
    let mut counter_copied = 0_u64;
    let mut candidates: [Candidate<'_>; 6] = [
        (
            "raw AES-256-GCM, in place",
            Box::new(|| {
                time(|| {
                    for _ in 0..PER_RUN {
                        counter += 1;
                        let mut nonce = [0; 12];
                        nonce[4..].copy_from_slice(&counter.to_be_bytes());
                        black_box(raw.seal(nonce, &[0; 16], &mut raw_buffer).unwrap());
                    }
                })
            }),
        ),
        (
            "raw, copied into a new buffer",
            Box::new(|| {
                time(|| {
                    for _ in 0..PER_RUN {
                        counter_copied += 1;
                        let mut nonce = [0; 12];
                        nonce[4..].copy_from_slice(&counter_copied.to_be_bytes());
                        let mut copy = Vec::with_capacity(len + 16);
                        copy.extend_from_slice(&data);
                        let tag = raw.seal(nonce, &[0; 16], &mut copy).unwrap();
                        copy.extend_from_slice(&tag);
                        black_box(copy);
                    }
                })
            }),
        ),
        (
            "encrypt_in_place",
            Box::new(|| {
                place.clone_from(&data);
                time(|| {
                    for _ in 0..PER_RUN {
                        place.truncate(len);
                        black_box(one.encrypt_in_place(&mut place).unwrap());
                    }
                })
            }),
        ),
        (
            "encrypt_in_place, never split",
            Box::new(|| {
                whole_place.clone_from(&data);
                time(|| {
                    for _ in 0..PER_RUN {
                        whole_place.truncate(len);
                        black_box(whole.encrypt_in_place(&mut whole_place).unwrap());
                    }
                })
            }),
        ),
        (
            "encrypt_into, one buffer",
            Box::new(|| {
                time(|| {
                    for _ in 0..PER_RUN {
                        out.clear();
                        black_box(two.encrypt_into(&data, &mut out).unwrap());
                    }
                })
            }),
        ),
        (
            "encrypt_chunk, a new buffer each",
            Box::new(|| {
                time(|| {
                    for _ in 0..PER_RUN {
                        black_box(three.encrypt_chunk(&data).unwrap());
                    }
                })
            }),
        ),
    ];
    let samples = alternate(41, &mut candidates);
    let names = candidates.each_ref().map(|(name, _)| *name);
    report(&format!("sealing {len} bytes"), (len * PER_RUN) as f64, &names, &samples);
}

fn open(len: usize) {
    let data = vec![0x5a_u8; len];
    let raw = AeadKey::new(Suite::Aes256Gcm, &Key::from_bytes([1; 32])).unwrap();
    let mut sealed = data.clone();
    let tag = raw.seal([0; 12], &[0; 16], &mut sealed).unwrap();
    let mut plain = vec![0; len];
    let mut sender = stream();
    let (mut one, mut two, mut three) = (stream(), stream(), stream());
    let mut out = Vec::with_capacity(len + 4096);
    let mut make =
        move || -> Vec<_> { (0..PER_RUN).map(|_| sender.encrypt_chunk(&data).unwrap()).collect() };
    let chunks = std::cell::RefCell::new(Vec::new());
    let mut candidates: [Candidate<'_>; 4] = [
        (
            "raw AES-256-GCM",
            Box::new(|| {
                // As many different buffers as the others read: the caches see the same.
                *chunks.borrow_mut() = make();
                let copies = vec![sealed.clone(); PER_RUN];
                time(|| {
                    for sealed in &copies {
                        raw.open_to([0; 12], &[0; 16], sealed, &tag, &mut plain).unwrap();
                        black_box(&plain);
                    }
                })
            }),
        ),
        (
            "decrypt_in_place",
            Box::new(|| {
                let mut copies = chunks.borrow().clone();
                time(|| {
                    for (header, sealed) in &mut copies {
                        three.decrypt_in_place(header, sealed).unwrap();
                        black_box(&sealed);
                    }
                })
            }),
        ),
        (
            "decrypt_into, one buffer",
            Box::new(|| {
                time(|| {
                    for (header, sealed) in chunks.borrow().iter() {
                        out.clear();
                        one.decrypt_into(header, sealed, &mut out).unwrap();
                        black_box(&out);
                    }
                })
            }),
        ),
        (
            "decrypt_chunk, a new buffer each",
            Box::new(|| {
                time(|| {
                    for (header, sealed) in chunks.borrow().iter() {
                        black_box(two.decrypt_chunk(header, sealed).unwrap());
                    }
                })
            }),
        ),
    ];
    let samples = alternate(21, &mut candidates);
    let names = candidates.each_ref().map(|(name, _)| *name);
    report(&format!("opening {len} bytes"), (len * PER_RUN) as f64, &names, &samples);
}
