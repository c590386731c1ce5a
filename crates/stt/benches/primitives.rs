//! Events, frames, endpoints, sealed segments and repair codes: what each operation costs.
//!
//! `cargo bench -p stt --bench primitives`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a benchmark may fail by panicking, and prints"
)]

mod support;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use stc::{
    Key,
    aead::{AeadKey, Suite},
};
use stt::{
    Event, EventEmitter, EventKind, Fields, FrameDispatcher, SessionId, StreamDecoder,
    StreamEncoder,
    codec::{CodecConfig, CodecMode},
    delivery::{OverheadCap, Probability, RepairPlanner, ShardAssembler, ShardEncoder},
    dispatch::Frame,
    endpoints::{EndpointId, EndpointManager, Outgoing},
};
use support::{against, print_each, print_rate, time};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    events(&runtime);
    dispatch(&runtime);
    endpoints(&runtime);
    codec();
    repair();
}

fn events(runtime: &tokio::runtime::Runtime) {
    const EMISSIONS: usize = 200;
    for handlers in [1, 10, 100, 1_000] {
        let calls = Arc::new(AtomicU64::new(0));
        let (emitter, _subscriptions) = runtime.block_on(async {
            let emitter = EventEmitter::new();
            let on = |_| {
                let calls = Arc::clone(&calls);
                let count = move |_| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::future::ready(())
                };
                emitter.on("event", count).unwrap()
            };
            let subscriptions: Vec<_> = (0..handlers).map(on).collect();
            (emitter, subscriptions)
        });
        let event = Event::custom("event", Fields::new()).unwrap();
        let rounds = time(|| {
            runtime.block_on(async {
                for _ in 0..EMISSIONS {
                    emitter.emit_and_wait(event.clone()).await;
                }
            });
        });
        let what = format!("emit and run {handlers} handlers, for each handler");
        print_each(&what, &rounds, EMISSIONS * handlers);
    }
    let emitter = EventEmitter::new();
    let rounds = time(|| {
        for _ in 0..100_000 {
            black_box(emitter.wants(EventKind::DataReceived));
        }
    });
    print_each("asking whether anybody listens", &rounds, 100_000);
}

fn dispatch(runtime: &tokio::runtime::Runtime) {
    const FRAMES: usize = 20_000;
    let dispatcher = FrameDispatcher::new();
    dispatcher
        .register_handler(0x80, |frame: Frame| {
            black_box(frame.payload.len());
            std::future::ready(())
        })
        .unwrap();
    let payload = Bytes::from_static(&[7; 100]);
    for (what, frame_type) in [("dispatch a frame", 0x80), ("dispatch an unknown frame", 0x81)] {
        let rounds = time(|| {
            runtime.block_on(async {
                for _ in 0..FRAMES {
                    black_box(dispatcher.dispatch(frame_type, payload.clone()).await.unwrap());
                }
            });
        });
        print_each(what, &rounds, FRAMES);
    }
}

fn endpoints(runtime: &tokio::runtime::Runtime) {
    for count in [1_000, 10_000, 100_000] {
        let manager = EndpointManager::new(|outgoing: Outgoing| {
            black_box(outgoing.data.len());
            std::future::ready(Ok(()))
        });
        let ids: Vec<EndpointId> = (0..count)
            .map(|number: u32| EndpointId::new(&number.to_be_bytes().repeat(8)).unwrap())
            .collect();
        for id in &ids {
            manager.add_endpoint(id.clone(), ("10.0.0.1", 9000), Fields::new()).unwrap();
        }
        let rounds = time(|| {
            for at in 0..10_000_usize {
                black_box(manager.contains(&ids[at * 7_919 % ids.len()]));
            }
        });
        print_each(&format!("look up one of {count} endpoints"), &rounds, 10_000);
        let rounds = time(|| {
            let report = runtime.block_on(manager.broadcast(&b"announcement"[..]));
            assert_eq!(report.sent, ids.len());
        });
        print_each(&format!("broadcast to {count}, for each endpoint"), &rounds, ids.len());
    }
}

fn codec() {
    const SEGMENT: usize = CodecConfig::DEFAULT_SEGMENT_SIZE;
    const SEGMENTS: usize = 64;
    let root = Key::from_bytes([3; 32]);
    let session = SessionId::from_bytes([1; 8]);
    let raw = AeadKey::new(Suite::Aes256Gcm, &root).unwrap();
    let data = Bytes::from(vec![7_u8; SEGMENT * SEGMENTS]);
    let length = data.len() as u64;
    let config = CodecConfig::new().mode(CodecMode::Bounded { length });
    let seal_all = |mut each: Box<dyn FnMut(Bytes)>| {
        let mut encoder = StreamEncoder::new(&root, session, 1, config).unwrap();
        encoder.push(data.clone()).unwrap();
        while let Some(segment) = encoder.poll_segment().unwrap() {
            each(segment.bytes);
        }
    };
    let mut buffer = vec![7_u8; SEGMENT];
    let nonces = 0..SEGMENTS as u8;
    let (ours, in_place) = against(
        || {
            seal_all(Box::new(|segment| {
                black_box(segment);
            }));
        },
        || {
            for number in nonces.clone() {
                black_box(raw.seal([number; 12], b"", &mut buffer).unwrap());
            }
        },
    );
    let (again, copied) = against(
        || {
            seal_all(Box::new(|segment| {
                black_box(segment);
            }));
        },
        || {
            for (number, part) in nonces.clone().zip(data.chunks(SEGMENT)) {
                let mut copy = part.to_vec();
                black_box(raw.seal([number; 12], b"", &mut copy).unwrap());
            }
        },
    );
    print_rate("encoder, 64 KiB segments", &ours, data.len());
    print_rate("  raw AES-256-GCM, one buffer in place, over and over", &in_place, data.len());
    println!("  ratio {:.2}", in_place.median() / ours.median());
    print_rate("  raw AES-256-GCM of a copy of each part", &copied, data.len());
    println!("  ratio {:.2}", copied.median() / again.median());

    let mut sealed: Vec<Bytes> = Vec::new();
    let mut encoder = StreamEncoder::new(&root, session, 1, config).unwrap();
    sealed.extend(encoder.send(data.clone()).unwrap().into_iter().map(|it| it.bytes));
    let mut cipher = vec![7_u8; SEGMENT];
    let tag = raw.seal([1; 12], b"", &mut cipher).unwrap();
    cipher.extend(tag);
    let copies: Vec<Vec<u8>> = vec![cipher; SEGMENTS];
    // Opening consumes its input, so both sides work on copies, and both pay for making them.
    let (ours, peer) = against(
        || {
            let mut decoder = StreamDecoder::new(&root, session, 1, config).unwrap();
            for segment in &sealed {
                decoder.receive_segment(Bytes::from(segment.to_vec())).unwrap();
                black_box(decoder.next_bytes().unwrap());
            }
            assert!(decoder.is_finished());
        },
        || {
            for copy in &copies {
                let mut copy = copy.clone();
                black_box(raw.open([1; 12], b"", &mut copy).unwrap());
            }
        },
    );
    print_rate("decoder, 64 KiB segments", &ours, data.len());
    print_rate("  raw AES-256-GCM, a copy of each", &peer, data.len());
    println!("  ratio {:.2}", peer.median() / ours.median());
}

fn repair() {
    let message = vec![7_u8; 50 * 1_100];
    let wanted = Probability::new(0.99).unwrap();
    let cap = OverheadCap::default();
    let mut encoder = ShardEncoder::new(RepairPlanner::new());
    let (plan, packets) = encoder.encode(1, &message, wanted, cap, 1_122).unwrap();
    let rounds = time(|| {
        for _ in 0..50 {
            black_box(encoder.encode(1, &message, wanted, cap, 1_122).unwrap());
        }
    });
    let what = format!("repair coding, {} + {} packets of 1,100 bytes", plan.data, plan.repair);
    print_rate(&what, &rounds, 50 * message.len());
    for lost in [0, usize::from(plan.repair)] {
        let rounds = time(|| {
            for _ in 0..50 {
                let mut assembler = ShardAssembler::default();
                let mut whole = None;
                for packet in &packets[lost..] {
                    whole = whole.or(assembler.packet(packet.clone()).unwrap());
                }
                assert_eq!(whole.unwrap().data.len(), message.len());
            }
        });
        print_rate(
            &format!("putting together with {lost} packets lost"),
            &rounds,
            50 * message.len(),
        );
    }
    let rounds = time(|| {
        for data in 1..=50 {
            // A planner that has planned nothing yet, so that nothing is remembered.
            black_box(RepairPlanner::new().plan(data, wanted, cap));
        }
    });
    print_each("planning a message of 1 to 50 packets", &rounds, 50);
}
