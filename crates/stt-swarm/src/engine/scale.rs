//! Many nodes over links in memory, in real time: what is found and delivered, how soon, and what
//! it costs. A few nodes in each run of the tests, 100 in the heavy ones, and as many as are asked
//! for:
//!
//! `STT_SCALE_NODES=300 cargo test -p stt-swarm --lib --release -- --ignored many --nocapture`
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints what it measures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use stc::Key;
use stt::{Mode, Node, SharedSeed};
use tokio::{sync::mpsc, task::JoinSet};

use super::simulated::{Network, Path};
use crate::{MessageRate, Swarm, SwarmOptions, TopicEvent};

/// Lookups and joins under way at once.
const AT_ONCE: usize = 32;
const LEN: usize = 1_024;
/// How long subscribers have to find each other.
const MESHES: Duration = Duration::from_secs(5);
/// What has not come after that does not come.
const LATE: Duration = Duration::from_secs(25);

struct Crowd {
    network: Arc<Network>,
    members: Vec<Swarm>,
    /// How often values were stored, and how many.
    round: usize,
    values: usize,
}

/// What became of some lookups.
struct Found {
    asked: usize,
    times: Vec<Duration>,
    streams: f64,
}

impl Found {
    fn share(&self) -> f64 {
        self.times.len() as f64 / self.asked.max(1) as f64
    }

    fn print(mut self, what: &str) -> f64 {
        println!(
            "{what}: {} of {} found ({:.2} %), p50 {:.0} ms, p99 {:.0} ms, {:.1} streams each",
            self.times.len(),
            self.asked,
            100.0 * self.share(),
            percentile(&mut self.times, 50),
            percentile(&mut self.times, 99),
            self.streams / self.asked.max(1) as f64,
        );
        self.share()
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
}

/// A key has one publisher, so each round has keys of its own.
fn key(round: usize, number: usize) -> Vec<u8> {
    format!("value {number} of {round}").into_bytes()
}

/// Seconds of processor time of this process, on Linux.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Mebibytes of memory of this process, on Linux.
fn memory() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|it| it.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4_096.0 / f64::from(1 << 20)
}

impl Crowd {
    fn new() -> Self {
        let path =
            Path { delay: Duration::from_millis(20), jitter: Duration::from_millis(10), lost: 5 };
        Self { network: Network::new(path), members: Vec::new(), round: 0, values: 0 }
    }

    async fn start(&self) -> Swarm {
        let none = MessageRate { messages: u32::MAX, bytes: u32::MAX };
        let options = SwarmOptions::default().publisher_rate(none).topic_rate(none);
        let seed = SharedSeed::from_key(Key::from_bytes([42; 32]));
        let node = Node::builder(seed).host("127.0.0.1").port(0);
        let node = node.start(Mode::Server).await.unwrap();
        Swarm::simulated(&node, &options, &self.network)
    }

    fn any(&self) -> &Swarm {
        &self.members[fastrand::usize(..self.members.len())]
    }

    /// Starts one that joins by three others.
    async fn join(&self) -> Swarm {
        let swarm = self.start().await;
        for _ in 0..3.min(self.members.len()) {
            self.network.link(swarm.node().node_id(), self.any().node().node_id());
        }
        swarm
    }

    async fn grow(&mut self, to: usize) {
        while self.members.len() < to {
            let mut joining = JoinSet::new();
            let some = AT_ONCE.min(self.members.len().max(1)).min(to - self.members.len());
            let mut new = Vec::new();
            for _ in 0..some {
                new.push(self.join().await);
            }
            if !self.members.is_empty() {
                for swarm in &new {
                    let swarm = swarm.clone();
                    joining.spawn(async move { swarm.bootstrap_simulated().await.unwrap() });
                }
            }
            joining.join_all().await;
            self.members.extend(new);
        }
    }

    /// Each of the first stores a value: at how many others, at least.
    async fn store(&mut self, values: usize) -> usize {
        self.round += 1;
        self.values = values;
        let round = self.round;
        let (mut storing, mut copies) = (JoinSet::new(), Vec::new());
        for (number, swarm) in self.members.iter().take(values).enumerate() {
            let dht = swarm.dht();
            storing.spawn(async move { dht.store(&key(round, number), vec![7; 256]).await });
            if storing.len() >= AT_ONCE {
                copies.push(storing.join_next().await.unwrap().unwrap().unwrap().copies);
            }
        }
        copies.extend(storing.join_all().await.into_iter().map(|stored| stored.unwrap().copies));
        copies.into_iter().min().unwrap()
    }

    /// Members ask for values, until it is `enough`.
    async fn look_up(&self, enough: impl Fn(usize) -> bool) -> Found {
        let ((_, before), round) = (self.network.sent(), self.round);
        let (mut asking, mut asked, mut times) = (JoinSet::new(), 0, Vec::new());
        loop {
            while asking.len() < AT_ONCE && !enough(asked) {
                asked += 1;
                let (dht, number) = (self.any().dht(), fastrand::usize(..self.values));
                asking.spawn(async move {
                    let begun = Instant::now();
                    let found = dht.find_value(&key(round, number)).await;
                    matches!(found, Ok(Some(_))).then(|| begun.elapsed())
                });
            }
            match asking.join_next().await {
                Some(found) => times.extend(found.unwrap()),
                None => break,
            }
        }
        Found { asked, times, streams: (self.network.sent().1 - before) as f64 }
    }

    /// So many vanish at once.
    fn kill(&mut self, count: usize) {
        fastrand::shuffle(&mut self.members);
        let left = self.members.len().saturating_sub(count);
        let gone = self.members.split_off(left);
        let ids: Vec<_> = gone.iter().map(|swarm| swarm.node().node_id()).collect();
        self.network.kill(&ids);
    }

    /// All subscribe, one publishes: how many deliveries there were, were told as gaps and were
    /// expected, and how long they took.
    async fn publish(&self, subscribers: usize, messages: usize, pace: Duration) -> Delivered {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let mut reading = JoinSet::new();
        for swarm in &self.members[1..=subscribers] {
            let mut topic = swarm.pubsub().subscribe("scale").await.unwrap();
            let sender = sender.clone();
            reading.spawn(async move {
                while let Some(event) = topic.next().await {
                    let _ = sender.send((Instant::now(), event));
                }
            });
        }
        let publisher = self.members[0].pubsub();
        // Subscribers find each other by the DHT, and meshes form with the heartbeat.
        tokio::time::sleep(MESHES).await;
        let (before, busy) = (self.network.sent().0, processor());
        let publishing = tokio::spawn(async move {
            let (mut at, mut clock) = (Vec::new(), tokio::time::interval(pace));
            for number in 0..messages {
                clock.tick().await;
                let mut data = vec![0; LEN];
                data[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
                at.push(Instant::now());
                publisher.publish("scale", data).await.unwrap();
            }
            at
        });
        let expected = messages * subscribers;
        let (mut came, mut missed) = (Vec::new(), 0);
        while came.len() + missed < expected {
            match tokio::time::timeout(LATE, seen.recv()).await {
                Ok(Some((at, TopicEvent::Message(message)))) => {
                    let number = u64::from_be_bytes(message.data[..8].try_into().unwrap());
                    came.push((at, usize::try_from(number).unwrap()));
                }
                Ok(Some((_, TopicEvent::Gap { missed: some }))) => {
                    missed += usize::try_from(some).unwrap();
                }
                _ => break,
            }
        }
        let at = publishing.await.unwrap();
        let times = came.iter().map(|(when, number)| when.duration_since(at[*number])).collect();
        let bytes = (self.network.sent().0 - before) as f64;
        Delivered { came: came.len(), missed, expected, times, bytes, busy: processor() - busy }
    }
}

struct Delivered {
    came: usize,
    missed: usize,
    expected: usize,
    times: Vec<Duration>,
    bytes: f64,
    busy: f64,
}

impl Delivered {
    fn print(&mut self, what: &str) {
        let came = self.came.max(1) as f64;
        println!(
            "{what}: {} of {} delivered ({:.3} %), {} told as gaps; p50 {:.0} ms, p99 {:.0} ms; \
             {:.1} bytes sent and {:.0} us of processor time for each delivered",
            self.came,
            self.expected,
            100.0 * self.came as f64 / self.expected as f64,
            self.missed,
            percentile(&mut self.times, 50),
            percentile(&mut self.times, 99),
            self.bytes / (came * LEN as f64),
            1e6 * self.busy / came,
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_nodes_find_and_hear_each_other_also_when_some_vanish() {
    let mut crowd = Crowd::new();
    crowd.grow(24).await;
    crowd.store(16).await;
    assert!((crowd.look_up(|asked| asked >= 50).await.share() - 1.0).abs() < 1e-9);
    let delivered = crowd.publish(20, 10, Duration::from_millis(50)).await;
    assert_eq!(delivered.came, delivered.expected);
    crowd.kill(7);
    let share = crowd.look_up(|asked| asked >= 100).await.share();
    assert!(share >= 0.99, "{share}");
}

/// A subscriber whose queues are full while others have room is told what it lacks, also when
/// nothing comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_slow_for_its_neighbours_is_told_of_each_message_that_it_lacks() {
    let mut crowd = Crowd::new();
    crowd.grow(4).await;
    let (network, slow) = (Arc::clone(&crowd.network), crowd.members[3].node().node_id());
    let stalling = tokio::spawn(async move {
        tokio::time::sleep(MESHES + Duration::from_millis(500)).await;
        network.stall(slow, Duration::from_secs(9));
    });
    let delivered = crowd.publish(3, 1_200, Duration::from_millis(2)).await;
    stalling.await.unwrap();
    let Delivered { came, missed, expected, .. } = delivered;
    assert!(missed > 0, "{came} came");
    assert_eq!(came + missed, expected);
}

/// Minutes, and as much memory and processor as there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn many_nodes() {
    let nodes = std::env::var("STT_SCALE_NODES").ok().and_then(|it| it.parse().ok());
    let nodes: usize = nodes.unwrap_or(100);
    let (mut crowd, begun) = (Crowd::new(), Instant::now());
    crowd.grow(nodes).await;
    let bytes = crowd.network.sent().0 as f64 / nodes as f64;
    println!(
        "{nodes} nodes (log2 {:.1}): joined in {:.0?}, {:.1} s of processor time, {:.0} MiB, \
         {bytes:.0} bytes sent and {:.0} links a node",
        (nodes as f64).log2(),
        begun.elapsed(),
        processor(),
        memory(),
        crowd.network.degree(),
    );
    println!("values: {} copies at least", crowd.store(nodes.min(200)).await);
    let steady = crowd.look_up(|asked| asked >= 1_000).await.print("lookups");

    let (before, busy) = (crowd.network.sent().0, processor());
    tokio::time::sleep(Duration::from_secs(30)).await;
    println!(
        "doing nothing: {:.0} bytes sent and {:.1} ms of processor time, a node and minute; \
         {:.0} links a node",
        (crowd.network.sent().0 - before) as f64 * 2.0 / nodes as f64,
        (processor() - busy) * 2_000.0 / nodes as f64,
        crowd.network.degree(),
    );

    let mut delivered = crowd.publish(nodes - 1, 100, Duration::from_millis(200)).await;
    delivered.print("messages to all, 5 a second");

    crowd.kill(nodes * 3 / 10);
    println!("{} vanish", nodes * 3 / 10);
    let killed = Instant::now();
    let (mut found, mut asked) = (0, 0);
    for window in 1..=6 {
        let until = killed + Duration::from_secs(5) * window;
        let lookups = crowd.look_up(|_| Instant::now() >= until).await;
        found += lookups.times.len();
        asked += lookups.asked;
        lookups.print(&format!("lookups begun up to {} s later", 5 * window));
    }
    let crashed = found as f64 / asked as f64;

    crowd.grow(nodes).await;
    crowd.store(nodes.min(200)).await;
    let (each, begun_leaving) = ((nodes / 100).max(1), Instant::now());
    let (mut found, mut asked) = (0, 0);
    let mut joining = JoinSet::new();
    for second in 1..=30 {
        crowd.kill(each);
        for _ in 0..each {
            let swarm = crowd.join().await;
            joining.spawn(async move {
                swarm.bootstrap_simulated().await.unwrap();
                swarm
            });
        }
        let until = begun_leaving + Duration::from_secs(second);
        let lookups = crowd.look_up(|_| Instant::now() >= until).await;
        found += lookups.times.len();
        asked += lookups.asked;
        while let Some(joined) = joining.try_join_next() {
            crowd.members.push(joined.unwrap());
        }
    }
    println!(
        "{each} of {nodes} leave and join each second, {} s: {found} of {asked} found",
        begun_leaving.elapsed().as_secs(),
    );
    crowd.members.extend(joining.join_all().await);

    crowd.store(crowd.members.len().min(200)).await;

    let half: Vec<_> = crowd.members[..crowd.members.len() / 2]
        .iter()
        .map(|swarm| swarm.node().node_id())
        .collect();
    crowd.network.part(&half);
    tokio::time::sleep(Duration::from_secs(30)).await;
    crowd.look_up(|asked| asked >= 500).await.print("in two halves");
    crowd.network.heal();
    let healed = Instant::now();
    for window in 1..=6 {
        let until = healed + Duration::from_secs(10) * window;
        let lookups = crowd.look_up(|_| Instant::now() >= until).await;
        lookups.print(&format!("lookups begun up to {} s after it is one again", 10 * window));
    }
    assert!(steady >= 0.999, "{steady}");
    assert!(crashed >= 0.99, "{crashed}");
}
