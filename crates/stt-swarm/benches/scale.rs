//! Many nodes over real sealed sessions on 127.0.0.1: lookups, what being there costs, messages to
//! all, and lookups after 30 % of the nodes were killed at once.
//!
//! `cargo bench -p stt-swarm --bench scale -- NODES` (default 50); two to three minutes. The nodes
//! are in one process, those that are killed in another one. All share the processors, so times
//! are those of a machine that is busy with all of them.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a benchmark is run by its author"
)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use stc::Key;
use stt::{Mode, Node, SharedSeed};
use stt_swarm::{MessageRate, Swarm, SwarmOptions, TopicEvent, TopicSubscription};
use tokio::{sync::mpsc, task::JoinSet};

const CHILD: &str = "STT_BENCH_SCALE_CHILD";
/// Lookups under way at once, and joins.
const AT_ONCE: usize = 16;
const LOOKUPS: usize = 1_000;
const IDLE: Duration = Duration::from_secs(60);
const PACED: usize = 200;
const PACE: Duration = Duration::from_millis(20);
const AS_FAST: usize = 300;
const LEN: usize = 1_024;
const WINDOW: Duration = Duration::from_secs(5);
const WINDOWS: u32 = 6;

async fn start(quantity: usize) -> Vec<Swarm> {
    let mut swarms = Vec::new();
    let none = MessageRate { messages: u32::MAX, bytes: u32::MAX };
    let options = SwarmOptions::default().publisher_rate(none).topic_rate(none);
    for _ in 0..quantity {
        let seed = SharedSeed::from_key(Key::from_bytes([42; 32]));
        let builder = Node::builder(seed).host("127.0.0.1").handshakes_per_second(u32::MAX);
        let node = builder.start(Mode::Server).await.unwrap();
        swarms.push(Swarm::start(&node, &options).unwrap());
    }
    swarms
}

/// Each joins by three that were there before.
async fn join(swarms: &[Swarm], by: &[SocketAddr]) -> usize {
    let mut there = by.to_vec();
    let (mut joining, mut failed) = (JoinSet::new(), 0);
    for swarm in swarms {
        if !there.is_empty() {
            let some: Vec<_> = (0..3).map(|_| there[fastrand::usize(..there.len())]).collect();
            let dht = swarm.dht();
            joining.spawn(async move { dht.bootstrap(some).await.is_ok() });
            if joining.len() >= AT_ONCE {
                failed += usize::from(!joining.join_next().await.unwrap().unwrap());
            }
        }
        there.push(swarm.node().local_addr());
    }
    failed + joining.join_all().await.iter().filter(|joined| !**joined).count()
}

fn sent(swarms: &[Swarm]) -> u64 {
    swarms.iter().map(|swarm| swarm.node().stats().udp_transport.bytes_sent).sum()
}

/// Seconds of processor time of this process, on Linux.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Hundredths of a second in user mode and in the kernel.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn key(number: usize) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

async fn store_all(swarms: &[Swarm]) -> usize {
    let (mut storing, mut copies) = (JoinSet::new(), Vec::new());
    for (number, swarm) in swarms.iter().enumerate() {
        let dht = swarm.dht();
        storing.spawn(async move { dht.store(&key(number), vec![7; 256]).await.unwrap().copies });
        if storing.len() >= AT_ONCE {
            copies.push(storing.join_next().await.unwrap().unwrap());
        }
    }
    copies.extend(storing.join_all().await);
    copies.into_iter().min().unwrap()
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
}

/// Random nodes ask for values that others stored, until `enough`.
async fn look_up(swarms: &[Swarm], enough: impl Fn(usize) -> bool) -> String {
    let (mut asking, mut times, mut failed, mut asked) = (JoinSet::new(), Vec::new(), 0, 0);
    let busy = processor();
    loop {
        while asking.len() < AT_ONCE && !enough(asked) {
            asked += 1;
            let from = fastrand::usize(..swarms.len());
            let of = (from + fastrand::usize(1..swarms.len())) % swarms.len();
            let (dht, publisher) = (swarms[from].dht(), swarms[of].node().node_id());
            asking.spawn(async move {
                let begun = Instant::now();
                let found = dht.find_value_of(&key(of), publisher).await;
                (matches!(found, Ok(Some(_))), begun.elapsed())
            });
        }
        match asking.join_next().await {
            Some(Ok((true, time))) => times.push(time),
            Some(_) => failed += 1,
            None => break,
        }
    }
    format!(
        "{} of {} found ({:.2} %), p50 {:.1} ms, p99 {:.1} ms; {:.2} ms of processor time each",
        times.len(),
        times.len() + failed,
        100.0 * times.len() as f64 / (times.len() + failed).max(1) as f64,
        percentile(&mut times, 50),
        percentile(&mut times, 99),
        1e3 * (processor() - busy) / asked.max(1) as f64,
    )
}

/// What a subscriber saw: when a message came, or how many are missing.
enum Seen {
    Came(Instant, usize),
    Missed(u64),
}

async fn watch(mut topic: TopicSubscription, seen: mpsc::UnboundedSender<Seen>) {
    while let Some(event) = topic.next().await {
        let event = match event {
            TopicEvent::Message(message) => {
                let number = u64::from_be_bytes(message.data[..8].try_into().unwrap());
                Seen::Came(Instant::now(), usize::try_from(number).unwrap())
            }
            TopicEvent::Gap { missed } => Seen::Missed(missed),
            _ => continue,
        };
        if seen.send(event).is_err() {
            return;
        }
    }
}

/// The first publishes, all others are to get it.
async fn publish(
    swarms: &[Swarm],
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    messages: usize,
    pace: Option<Duration>,
) {
    let (before, busy, begun) = (sent(swarms), processor(), Instant::now());
    let (pubsub, expected) = (swarms[0].pubsub(), messages * (swarms.len() - 1));
    let publishing = tokio::spawn(async move {
        let (mut at, mut refused) = (Vec::new(), 0_u32);
        let mut clock = tokio::time::interval(pace.unwrap_or(Duration::from_millis(1)));
        for number in 0..messages {
            if pace.is_some() {
                clock.tick().await;
            }
            let mut data = vec![0; LEN];
            data[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            at.push(Instant::now());
            refused += u32::from(pubsub.publish("scale", data).await.is_err());
        }
        (at, refused, Instant::now())
    });
    let (mut came, mut missed, mut last) = (Vec::new(), 0, begun);
    // What does not come within 15 s after the last one does not come.
    while came.len() < expected {
        match tokio::time::timeout(Duration::from_secs(15), seen.recv()).await {
            Ok(Some(Seen::Came(at, number))) => {
                last = at;
                came.push((at, number));
            }
            Ok(Some(Seen::Missed(some))) => missed += some,
            _ => break,
        }
    }
    let (at, refused, published) = publishing.await.unwrap();
    let (bytes, busy) = (sent(swarms) - before, processor() - busy);
    let mut times: Vec<_> =
        came.iter().map(|(when, number)| when.duration_since(at[*number])).collect();
    let delivered = came.len();
    println!(
        "{messages} messages of {LEN} bytes{}: {refused} refused, {delivered} of {expected} \
         delivered ({:.3} %), {missed} told as gaps; p50 {:.1} ms, p99 {:.1} ms; published at \
         {:.0}/s, all there at {:.0}/s; {:.2} bytes sent for each delivered; \
         {:.0} us of processor time for each delivered",
        pace.map_or(String::from(", as fast as it goes"), |pace| format!(", one each {pace:?}")),
        100.0 * delivered as f64 / expected as f64,
        percentile(&mut times, 50),
        percentile(&mut times, 99),
        messages as f64 / published.duration_since(begun).as_secs_f64(),
        messages as f64 / last.duration_since(begun).as_secs_f64(),
        bytes as f64 / (delivered * LEN).max(1) as f64,
        1e6 * busy / delivered.max(1) as f64,
    );
}

/// Those that will be killed.
fn spawn_child(quantity: usize, by: &[SocketAddr]) -> Child {
    let by: Vec<_> = by.iter().take(8).map(ToString::to_string).collect();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, format!("{quantity} {}", by.join(" ")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "joined"));
    child
}

async fn be_killed(orders: &str) {
    let mut orders = orders.split(' ');
    let quantity = orders.next().unwrap().parse().unwrap();
    let by: Vec<SocketAddr> = orders.map(|address| address.parse().unwrap()).collect();
    let swarms = start(quantity).await;
    assert_eq!(join(&swarms, &by).await, 0);
    println!("joined");
    std::future::pending().await
}

#[tokio::main]
async fn main() {
    if let Ok(orders) = std::env::var(CHILD) {
        return be_killed(&orders).await;
    }
    let quantity = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(50);
    let begun = Instant::now();
    let swarms = Arc::new(start(quantity).await);
    let failed = join(&swarms, &[]).await;
    let (took, bytes) = (begun.elapsed(), sent(&swarms) / u64::try_from(quantity).unwrap());
    println!(
        "{quantity} nodes: joined in {took:.1?} and {:.1} s of processor time, {failed} not; {bytes} \
         bytes sent a node",
        processor(),
    );

    let copies = store_all(&swarms).await;
    println!("stored a value each, at {copies} others at least");
    println!("lookups: {}", look_up(&swarms, |asked| asked >= LOOKUPS).await);

    let (before, begun) = (sent(&swarms), Instant::now());
    tokio::time::sleep(IDLE).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let links: usize = {
        let mut links = 0;
        for swarm in swarms.iter() {
            let peers = swarm.dht().peers().await.unwrap();
            links += peers.iter().filter(|peer| peer.linked).count();
        }
        links
    };
    println!(
        "doing nothing: {:.0} bytes sent a node and minute; {:.1} links a node",
        (sent(&swarms) - before) as f64 / quantity as f64 / minutes,
        links as f64 / quantity as f64,
    );

    let (sender, mut seen) = mpsc::unbounded_channel();
    for (number, swarm) in swarms.iter().enumerate() {
        let topic = swarm.pubsub().subscribe("scale").await.unwrap();
        if number > 0 {
            tokio::spawn(watch(topic, sender.clone()));
        } else {
            // A publisher's own queue would fill.
            drop(topic);
        }
    }
    // The meshes form with the heartbeat.
    tokio::time::sleep(Duration::from_secs(5)).await;
    publish(&swarms, &mut seen, PACED, Some(PACE)).await;
    publish(&swarms, &mut seen, AS_FAST, None).await;

    let by: Vec<_> = swarms.iter().map(|swarm| swarm.node().local_addr()).collect();
    let more = (quantity * 3).div_ceil(7);
    let mut child = spawn_child(more, &by);
    store_all(&swarms).await;
    println!("{more} more nodes: {}", look_up(&swarms, |asked| asked >= LOOKUPS).await);
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    println!("{more} of {} killed at once", quantity + more);
    for window in 1..=WINDOWS {
        let until = killed + WINDOW * window;
        let found = look_up(&swarms, |_| Instant::now() >= until).await;
        println!("lookups begun up to {:?} later: {found}", WINDOW * window);
    }
}
