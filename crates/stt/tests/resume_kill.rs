//! Two processes with a resumable session that a disk keeps, killed at any moment: each message is
//! handed out once and in order at the line that `commit` draws.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test states what it expects by unwrapping it"
)]

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use stc::Key;
use stt::{
    Coded, Identity, Mode, Node, NodeId, SharedSeed,
    resume::{Continuity, ResumableSession, ResumeError, ResumeOptions},
};

/// What the children are told: which side, where, how many messages.
const SIDE: &str = "STT_RESUME_KILL_SIDE";
const DIR: &str = "STT_RESUME_KILL_DIR";
const ADDRESS: &str = "STT_RESUME_KILL_ADDRESS";
const COUNT: &str = "STT_RESUME_KILL_COUNT";

/// A file that is there once nobody is killed any more.
const NO_MORE_KILLS: &str = "no-more-kills";

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(300);

fn node_seed(side: &str) -> String {
    // A printed key is not stretched for the disk.
    let byte = if side == "server" { 1 } else { 2 };
    Key::from_bytes([byte; 32]).to_printable().to_string()
}

fn server_id() -> NodeId {
    Identity::persistent(node_seed("server").as_bytes()).unwrap().node_id()
}

/// What a child did, for the parent: whole lines, which a kill does not take away.
struct Diary(Mutex<File>);

impl Diary {
    fn open(dir: &Path, side: &str) -> Self {
        let path = dir.join(format!("{side}.diary"));
        Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path).unwrap()))
    }

    fn note(&self, line: &str) {
        self.0.lock().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Not a test: one of the two processes that are killed.
#[test]
#[ignore = "heavy: the child of the kill tests; does nothing when run alone"]
fn child() {
    let Ok(side) = std::env::var(SIDE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(live(&side));
    // Nothing that waits keeps the process.
    runtime.shutdown_background();
}

async fn start(side: &str, dir: &Path, address: &str) -> (Node, Continuity) {
    let seed = SharedSeed::from_key(Key::from_bytes([77; 32]));
    let builder = Node::builder(seed).host("127.0.0.1").persistent_identity(true);
    let builder = builder.node_seed(node_seed(side)).chamber_path(dir.join("chamber"));
    // A process that is killed says nothing: its peer notices by its silence.
    let builder = builder.heartbeat(Duration::from_millis(200));
    let mut builder = builder.idle_timeout(Duration::from_secs(1));
    let mut mode = Mode::Client;
    if side == "server" {
        let at: SocketAddr = address.rsplit('/').next().unwrap().parse().unwrap();
        builder = builder.port(at.port());
        if address.starts_with("ws") {
            builder = builder.websocket(at);
        }
        mode = Mode::Server;
    }
    let node = builder.start(mode).await.unwrap();
    let options = ResumeOptions::new().unacknowledged_bytes(100_000);
    let continuity = Continuity::open(&node, options, dir.join(side)).await.unwrap();
    (node, continuity)
}

async fn live(side: &str) {
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let address = std::env::var(ADDRESS).unwrap();
    let count: u64 = std::env::var(COUNT).unwrap().parse().unwrap();
    let (node, continuity) = start(side, &dir, &address).await;
    let session = match continuity.restored().pop() {
        Some(session) => session,
        None if side == "server" => continuity.accept().await.unwrap(),
        None => loop {
            match continuity.connect(&address, server_id()).await {
                Ok(session) => break session,
                Err(error) if error.retry_helps() => {}
                Err(ResumeError::Protocol(_)) => {}
                Err(error) => panic!("{error}"),
            }
        },
    };
    let diary = Diary::open(&dir, side);
    let (sent, received) = (session.next_sent(), session.next_received());
    diary.note(&format!("start {} {sent} {received}", session.id()));
    tokio::join!(send(&session, &dir, &diary, count), receive(&session, &diary, count));
    let end = session.ended().await;
    assert!(matches!(end, ResumeError::Finished), "{end}");
    diary.note("finished");
    if side == "server" {
        // The dialler may not have heard so yet, and asks until it has.
        std::future::pending::<()>().await;
    }
    continuity.close().await;
    node.stop_within(Duration::from_secs(5)).await;
}

async fn send(session: &ResumableSession, dir: &Path, diary: &Diary, count: u64) {
    for number in session.next_sent()..count {
        // Whoever is killed has something left to do: one that was through would begin anew.
        while number >= count / 10 * 9 && !dir.join(NO_MORE_KILLS).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stream = u32::try_from(number % 5).unwrap();
        // Another process sends something else under a number that this one lost.
        let text = format!("{number} of {}", std::process::id());
        assert_eq!(session.send_on(stream, text).await.unwrap(), number);
        if number % 97 == 0 {
            session.durable(number).await.unwrap();
            diary.note(&format!("durable {number}"));
        }
    }
    session.close().await.unwrap();
}

async fn receive(session: &ResumableSession, diary: &Diary, count: u64) {
    while let Some(message) = session.receive().await.unwrap() {
        let (position, text) = (message.position, String::from_utf8_lossy(&message.data));
        assert_eq!(u64::from(message.stream), position % 5);
        // What the application has to do with it, and then the line.
        diary.note(&format!("message {position} {text}"));
        session.commit(position).unwrap();
        if position % 89 == 0 || position + 1 == count {
            session.committed(position).await.unwrap();
            diary.note(&format!("committed {position}"));
        }
    }
    assert_eq!(session.next_received(), count + 1, "the end takes a position too");
}

/// What one side was given and promised, over all its processes.
#[derive(Default)]
struct Found {
    given: BTreeMap<u64, String>,
    ids: Vec<String>,
    starts: usize,
    again: u64,
}

/// Reads a diary, and checks what it says line by line.
fn check(dir: &Path, side: &str) -> Found {
    let mut found = Found::default();
    let text = std::fs::read_to_string(dir.join(format!("{side}.diary"))).unwrap_or_default();
    let (mut next, mut committed, mut durable) = (0, None, None);
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let (what, rest) = (words.next().unwrap(), words.next().unwrap_or_default());
        match what {
            "start" => {
                let (sent, received) = words.next().unwrap().split_once(' ').unwrap();
                let (sent, received): (u64, u64) =
                    (sent.parse().unwrap(), received.parse().unwrap());
                assert!(durable < Some(sent), "{durable:?} was durable, and {sent} comes next");
                assert!(committed < Some(received), "{committed:?} comes again: {received}");
                assert!(received <= found.given.len() as u64 + 1, "{received} left some out");
                next = received;
                found.ids.push(rest.to_owned());
                found.starts += 1;
            }
            "message" => {
                let position: u64 = rest.parse().unwrap();
                assert_eq!(position, next, "lost, doubled or out of order");
                next += 1;
                let text = words.next().unwrap().to_owned();
                assert!(text.starts_with(&format!("{position} of ")), "{text}");
                match found.given.get(&position) {
                    Some(before) => {
                        assert_eq!(*before, text, "{position} is another one now");
                        found.again += 1;
                    }
                    None => assert!(found.given.insert(position, text).is_none()),
                }
            }
            "committed" => committed = committed.max(Some(rest.parse::<u64>().unwrap())),
            "durable" => durable = durable.max(Some(rest.parse::<u64>().unwrap())),
            _ => assert_eq!(what, "finished"),
        }
    }
    found
}

/// The two processes; those that are left are killed.
struct Pair<'a> {
    dir: &'a Path,
    address: String,
    count: u64,
    children: [Option<Child>; 2],
}

const SIDES: [&str; 2] = ["server", "client"];

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Pair<'_> {
    fn start(&mut self, side: usize) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SIDE, SIDES[side])
            .env(DIR, self.dir)
            .env(ADDRESS, &self.address)
            .env(COUNT, self.count.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        self.children[side] = Some(child);
    }

    fn kill(&mut self, side: usize) {
        let mut child = self.children[side].take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_ne!(status.code(), Some(101), "{} had panicked", SIDES[side]);
    }

    /// Messages in both diaries. With the first of them both have the session on their disks.
    fn progress(&self) -> usize {
        let lines = |side: &&str| {
            let text = std::fs::read(self.dir.join(format!("{side}.diary"))).unwrap_or_default();
            text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"message")).count()
        };
        SIDES.iter().map(lines).sum()
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < PATIENCE, "{what}: {} messages", self.progress());
            for (child, side) in self.children.iter_mut().flatten().zip(SIDES) {
                let status = child.try_wait().unwrap();
                assert!(status.is_none_or(|status| status.success()), "{side}: {status:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn free_address(websocket: bool) -> String {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = udp.local_addr().unwrap();
        if TcpListener::bind(at).is_ok() {
            return if websocket { format!("ws://{at}") } else { format!("udp://{at}") };
        }
    }
}

/// Kills one of the two `kills` times while `count` messages go each way.
fn kill_often(websocket: bool, count: u64, kills: u64, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let address = free_address(websocket);
    let mut pair = Pair { dir: dir.path(), address, count, children: [None, None] };
    pair.start(0);
    pair.start(1);
    for kill in 0..kills {
        // In the first four fifths: nine tenths are sent before the last of them.
        let most = usize::try_from(count * 2 * 4 / 5).unwrap();
        let step = most / usize::try_from(kills).unwrap();
        let at = step * usize::try_from(kill).unwrap() + rng.usize(1..step);
        pair.until("some messages", |pair| pair.progress() >= at);
        std::thread::sleep(Duration::from_micros(rng.u64(0..20_000)));
        // Each side in turns, and at times one that has just begun.
        let side = if kill < 2 { usize::try_from(kill).unwrap() } else { rng.usize(..2) };
        pair.kill(side);
        pair.start(side);
        if rng.u8(..4) == 0 {
            std::thread::sleep(Duration::from_micros(rng.u64(0..300_000)));
            pair.kill(side);
            pair.start(side);
        }
    }
    File::create(dir.path().join(NO_MORE_KILLS)).unwrap();
    pair.until("the end", |pair| {
        let client = pair.children[1].as_mut().unwrap().try_wait().unwrap();
        let server = std::fs::read_to_string(pair.dir.join("server.diary")).unwrap_or_default();
        client.is_some() && server.ends_with("finished\n")
    });
    let mut starts = 0;
    for side in SIDES {
        let found = check(dir.path(), side);
        assert_eq!(found.given.len() as u64, count, "{side} was not given all");
        assert!(found.ids.windows(2).all(|ids| ids[0] == ids[1]), "another session");
        println!("{side}: {} processes, {} given again", found.starts, found.again);
        starts += found.starts as u64;
    }
    // One that was killed as it began may have written nothing.
    assert!(starts * 4 > kills * 3, "{starts} processes, {kills} kills");
}

#[test]
fn each_message_is_handed_out_once_when_processes_are_killed_over_udp() {
    kill_often(false, 2_000, 3, 1);
}

#[test]
fn each_message_is_handed_out_once_when_processes_are_killed_over_a_websocket() {
    kill_often(true, 2_000, 3, 2);
}

#[test]
#[ignore = "heavy: 100,000 messages each way over each route, and dozens of killed processes"]
fn each_of_many_messages_is_handed_out_once_when_processes_are_killed() {
    for (websocket, seed) in [(false, 3), (true, 4)] {
        kill_often(websocket, 100_000, 40, seed);
    }
}
