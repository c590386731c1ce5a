//! What a member leaves out: a node in a process of its own, and another process that writes
//! packets by hand, whose pieces stand behind holes, without a beginning, or each in a long
//! datagram.
#![cfg(target_os = "linux")] // Resident memory, and more than one loopback address.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use stt_transport::testing::{Member, put};

use super::*;
use crate::{Mode, Node, StreamOptions};

const ADDRESS: &str = "STT_TEST_HOLES_ADDRESS";
const KIND: &str = "STT_TEST_HOLES_KIND";
/// Set: the usual settings with 64 MiB, for a minute.
const HEAVY: &str = "STT_TEST_HOLES_HEAVY";
/// Addresses, and sessions of each.
const ATTACKERS: u8 = 12;
const SESSIONS: usize = 4;
/// Payload of a packet that fits the loopback interface.
const LONG: usize = 60_000;
/// What a stream takes at first (STREAM-6).
const CREDIT: u64 = 1 << 20;

/// A session, and how far its streams are.
struct Attack {
    member: Member,
    /// The next offset of each stream; the first of them still has to begin if it has a header.
    streams: Vec<u64>,
}

impl Attack {
    /// A piece of one byte in the next stream whose turn it is, or nothing when all is used up.
    fn piece(&mut self, kind: &str, turn: usize, frames: &mut Vec<u8>) {
        let count = usize::try_from(self.member.max_streams).unwrap().min(16);
        self.streams.resize(count, 0);
        let total: u64 = self.streams.iter().sum();
        let index = turn % count.max(1);
        let Some(offset) = self.streams.get_mut(index) else { return };
        if total + 16 > self.member.max_data || *offset + 16 > CREDIT {
            return;
        }
        let header = [2, 1 + 2 * u8::try_from(index).unwrap()];
        let data = if *offset == 0 && kind != "headless" { &header[..] } else { &[7][..] };
        // The byte before it never comes.
        let at = if data.len() == 2 { 0 } else { *offset + 1 };
        *offset = at + data.len() as u64;
        frames.push(0x0e);
        for number in [2 + 4 * index as u64, at, data.len() as u64] {
            put(frames, number);
        }
        frames.extend(data);
    }
}

/// Not a test: the other process.
#[test]
#[ignore = "the attack itself, started by the node"]
fn attack() {
    let (Ok(address), Ok(kind)) = (std::env::var(ADDRESS), std::env::var(KIND)) else { return };
    let address = address.parse().unwrap();
    let mut attacks = Vec::new();
    for last in 10..10 + ATTACKERS {
        for _ in 0..SESSIONS {
            // It sends each datagram once, and a busy machine loses some.
            let connect = |_| Member::connect(&format!("127.0.0.{last}"), address, &seed(1)).ok();
            if let Some(member) = (0..3).find_map(connect) {
                attacks.push(Attack { member, streams: Vec::new() });
            }
        }
    }
    println!("\n{} sessions", attacks.len());
    for turn in 0.. {
        attacks.retain_mut(|attack| {
            attack.member.listen();
            let mut frames = Vec::new();
            if kind == "pins" {
                attack.piece(&kind, turn, &mut frames);
                frames.resize(LONG, 0);
            } else {
                for piece in 0..1_000 {
                    attack.piece(&kind, turn * 1_000 + piece, &mut frames);
                }
            }
            attack.member.send(&frames);
            !attack.member.is_closed
        });
        if attacks.is_empty() {
            return;
        }
    }
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn process(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    command.args(["--exact", &name, "--ignored", "--nocapture"]);
    command
}

/// Not a test: the node.
#[test]
#[ignore = "the node, started by the tests below"]
fn node() {
    let Ok(kind) = std::env::var(KIND) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(withstand(&kind));
    // What the runtime still does is of no interest.
    runtime.shutdown_background();
}

async fn withstand(kind: &str) {
    let is_heavy = std::env::var_os(HEAVY).is_some();
    let builder = Node::builder(seed(1)).host("127.0.0.1");
    let builder = if is_heavy { builder.max_node_buffer(64 << 20) } else { builder.low_memory() };
    let builder = builder.max_sessions(64);
    let builder =
        builder.heartbeat(Duration::from_millis(500)).idle_timeout(Duration::from_secs(3));
    let node = builder.start(Mode::Server).await.unwrap();
    let honest = Node::builder(seed(1)).host("127.0.0.1").start(Mode::Client).await.unwrap();
    let before = resident();
    let mut attacker = process("attack");
    attacker.env(ADDRESS, node.local_addr().to_string()).env(KIND, kind).stdout(Stdio::piped());
    let mut attacker = Process(attacker.spawn().unwrap());
    let mut lines = BufReader::new(attacker.0.stdout.take().unwrap()).lines();
    let begun = lines.any(|line| line.unwrap() == format!("{} sessions", 4 * ATTACKERS));
    assert!(begun, "not all got in");

    let since = Instant::now();
    let mut most = 0;
    let mut filled = None;
    let enough = |filled: Option<Duration>| {
        since.elapsed() > Duration::from_secs(if is_heavy { 60 } else { 10 })
            || (filled.is_some() && !is_heavy)
    };
    while !enough(filled) {
        most = most.max(resident());
        if filled.is_none() && node.stats().limits.unread_bytes > 1 << 20 {
            filled = Some(since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let session = honest.connect(&node.local_addr().to_string()).await.unwrap();
    let theirs = loop {
        match node.session(session.id()) {
            Some(theirs) => break theirs,
            None => tokio::task::yield_now().await,
        }
    };
    let stream = session.open_stream_with(&StreamOptions::new()).unwrap();
    let there = theirs.get_stream(stream.id()).unwrap();
    let mut round_trips = Vec::new();
    for _ in 0..200 {
        let sent = Instant::now();
        stream.send(&[7; 100]).await.unwrap();
        there.send(there.receive().await.unwrap().unwrap()).await.unwrap();
        stream.receive().await.unwrap().unwrap();
        round_trips.push(sent.elapsed());
        most = most.max(resident());
    }
    round_trips.sort_unstable();
    let (stats, grown) = (node.stats().limits, most.saturating_sub(before));
    println!(
        "\n{kind}: full after {filled:?}, {} KiB more, bound {} KiB, echo {:?} and {:?}, {stats:?}",
        grown >> 10,
        stats.memory_bound >> 10,
        round_trips[100],
        round_trips[198],
    );
    let bound = usize::try_from(stats.memory_bound).unwrap();
    assert!(grown < bound / 5 * 6, "{grown} bytes, bound {bound}");
    drop(attacker);
    let gone = Instant::now();
    session.close("thank you").await;
    while !node.sessions().is_empty() || node.stats().limits.unread_bytes > 0 {
        assert!(gone.elapsed() < Duration::from_secs(60), "{:?}", node.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn withstands(kind: &str, is_heavy: bool) {
    let mut node = process("node");
    node.env(KIND, kind);
    if is_heavy {
        node.env(HEAVY, "1");
    }
    let node = node.output().unwrap();
    let told = String::from_utf8_lossy(&node.stdout);
    println!("{told}");
    assert!(node.status.success(), "{told}{}", String::from_utf8_lossy(&node.stderr));
}

#[test]
fn bytes_behind_holes_take_no_more_memory_than_the_node_says() {
    withstands("holes", false);
}

#[test]
fn nor_do_streams_without_a_beginning() {
    withstands("headless", false);
}

#[test]
fn nor_does_a_byte_in_each_long_datagram() {
    withstands("pins", false);
}

#[test]
#[ignore = "heavy: three minutes"]
fn all_of_them_for_a_minute_each_with_the_usual_settings() {
    for kind in ["holes", "headless", "pins"] {
        withstands(kind, true);
    }
}
