//! What resumability costs for each message, beside a plain stream and beside appending to a log,
//! and how long a session takes to go on after a cut.
//!
//! `cargo bench -p stt --bench resume`; a few seconds. Both nodes, and both logs, are on this
//! machine. All ways take turns, round by round, and the ratio of each round is taken before the
//! median.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark is run by its author"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use stc::Key;
use stt::{
    Mode, Node, Session, SharedSeed,
    resume::{Continuity, ResumableSession, ResumeOptions, ResumeState},
};
use stt_store::{
    ChamberKey,
    log::{DurableLog, Log, LogOptions},
};

const ROUNDS: usize = 9;
const MESSAGES: usize = 20_000;
/// Messages that one wait for the disk is for.
const BATCH: usize = 100;
const BATCHES: usize = 50;
const LEN: usize = 150;

async fn node(seed: &SharedSeed, mode: Mode) -> Node {
    let own = Key::generate().unwrap().to_printable();
    let builder = Node::builder(seed.clone()).host("127.0.0.1").node_seed(own.as_bytes());
    builder.persistent_identity(true).start(mode).await.unwrap()
}

type Pair = (ResumableSession, ResumableSession);

async fn pair(server: &Node, there: &Continuity, here: &Continuity) -> Pair {
    let at = server.local_addr().to_string();
    let ours = here.connect(&at, server.node_id()).await.unwrap();
    (ours, there.accept().await.unwrap())
}

async fn plain(ours: &Session, theirs: &Session, message: &Bytes) -> Duration {
    let stream = ours.open_stream().unwrap();
    let begun = Instant::now();
    let sending = async {
        for _ in 0..MESSAGES {
            stream.send(message.clone()).await.unwrap();
        }
    };
    let receiving = async {
        let stream = theirs.accept_stream().await.unwrap();
        for _ in 0..MESSAGES {
            stream.receive().await.unwrap().unwrap();
        }
    };
    tokio::join!(sending, receiving);
    begun.elapsed()
}

/// Nobody waits for a disk; each message is committed.
async fn resumable((ours, theirs): &Pair, message: &Bytes) -> Duration {
    let begun = Instant::now();
    let sending = async {
        for _ in 0..MESSAGES {
            ours.send(message.clone()).await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..MESSAGES {
            let message = theirs.receive().await.unwrap().unwrap();
            theirs.commit(message.position).unwrap();
        }
    };
    tokio::join!(sending, receiving);
    begun.elapsed()
}

/// The sender waits for its disk after each batch; the other end takes and commits beside.
async fn durable((ours, theirs): &Pair, message: &Bytes, batch: usize) -> Duration {
    let begun = Instant::now();
    let sending = async {
        for _ in 0..BATCHES {
            let mut last = 0;
            for _ in 0..batch {
                last = ours.send(message.clone()).await.unwrap();
            }
            ours.durable(last).await.unwrap();
        }
        begun.elapsed()
    };
    let receiving = async {
        for _ in 0..BATCHES * batch {
            let message = theirs.receive().await.unwrap().unwrap();
            theirs.commit(message.position).unwrap();
        }
    };
    tokio::join!(sending, receiving).0
}

async fn appended(log: &Log, message: &Bytes, batch: usize) -> Duration {
    let begun = Instant::now();
    for _ in 0..BATCHES {
        log.append_all(vec![message.clone(); batch]).await.unwrap();
    }
    begun.elapsed()
}

/// From the cut until the session goes on.
async fn cut((ours, _): &Pair) -> Duration {
    let mut state = ours.state();
    let carrier = ours.session().unwrap();
    let before = carrier.id();
    carrier.abort("cut");
    let begun = Instant::now();
    // That nothing carries it may be over before this looks.
    let is_other = |_: &ResumeState| ours.session().is_some_and(|now| now.id() != before);
    state.wait_for(is_other).await.unwrap();
    begun.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time of this process in user mode, in seconds.
fn user_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<f64>().ok());
    ticks.unwrap_or_default() / 100.0
}

fn row(name: &str, ours: &[Duration], each: usize, theirs: &[Duration]) {
    let micros = |time: &Duration| time.as_secs_f64() * 1e6 / each as f64;
    let ratios = ours.iter().zip(theirs).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64());
    let ours = median(ours.iter().map(micros).collect());
    println!("{name:<52} {ours:>10.2} us  {:>6.2} times", median(ratios.collect()));
}

fn main() {
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let (dir, seed) =
        (tempfile::tempdir().unwrap(), SharedSeed::from_key(Key::generate().unwrap()));
    let options = ResumeOptions::default();
    let (server, client) = (node(&seed, Mode::Server).await, node(&seed, Mode::Client).await);
    let there = Continuity::open(&server, options, dir.path().join("there")).await.unwrap();
    let here = Continuity::open(&client, options, dir.path().join("here")).await.unwrap();
    let kept = pair(&server, &there, &here).await;
    let (second, third) = (node(&seed, Mode::Server).await, node(&seed, Mode::Client).await);
    let in_memory = pair(
        &second,
        &Continuity::new(&second, options).unwrap(),
        &Continuity::new(&third, options).unwrap(),
    )
    .await;
    let ours = client.connect(&server.local_addr().to_string()).await.unwrap();
    let theirs = loop {
        if let Some(theirs) = server.session(ours.id()) {
            break theirs;
        }
        tokio::task::yield_now().await;
    };
    let key = ChamberKey::from_key(&Key::generate().unwrap());
    let log = Log::open(&key, dir.path().join("log"), LogOptions::default()).await.unwrap();
    let message = Bytes::from(vec![7; LEN]);

    let mut times: [Vec<Duration>; 7] = std::array::from_fn(|_| Vec::new());
    let mut user = [0.0; 7];
    for _ in 0..ROUNDS {
        let mut take = |at: usize, took: Duration, before: f64| {
            times[at].push(took);
            user[at] += user_time() - before;
        };
        let now = user_time();
        take(0, plain(&ours, &theirs, &message).await, now);
        let now = user_time();
        take(1, resumable(&in_memory, &message).await, now);
        let now = user_time();
        take(2, resumable(&kept, &message).await, now);
        let now = user_time();
        take(3, appended(&log, &message, BATCH).await, now);
        let now = user_time();
        take(4, durable(&kept, &message, BATCH).await, now);
        let now = user_time();
        take(5, appended(&log, &message, 1).await, now);
        let now = user_time();
        take(6, durable(&kept, &message, 1).await, now);
    }
    println!("messages of {LEN} bytes, each committed; medians of {ROUNDS} rounds");
    row("a plain stream", &times[0], MESSAGES, &times[0]);
    row("resumable, in memory, beside that", &times[1], MESSAGES, &times[0]);
    row("resumable, on disks, beside that", &times[2], MESSAGES, &times[0]);
    row("a log, one append of 100 records", &times[3], BATCHES, &times[3]);
    row("100 messages and `durable`, beside that", &times[4], BATCHES, &times[3]);
    row("a log, one append of one record", &times[5], BATCHES, &times[5]);
    row("one message and `durable`, beside that", &times[6], BATCHES, &times[5]);
    let each = |at: usize| user[at] * 1e6 / (ROUNDS * MESSAGES) as f64;
    for (name, at) in
        [("a plain stream", 0), ("resumable, in memory", 1), ("resumable, on disks", 2)]
    {
        println!("{:<52} {:>10.2} us of user time for each", name, each(at));
    }
    for (name, pair) in [("in memory", &in_memory), ("on disks", &kept)] {
        let mut cuts = Vec::new();
        for _ in 0..ROUNDS {
            cuts.push(cut(pair).await.as_secs_f64() * 1e3);
        }
        println!("{:<52} {:>10.1} ms", format!("time to go on after a cut, {name}"), median(cuts));
    }
}
