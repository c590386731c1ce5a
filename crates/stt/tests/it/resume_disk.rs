//! Resumable sessions that a disk keeps: restarts, and what can be wrong with them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use crate::common;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use stc::Key;
use stt::{
    Coded, Mode, Node, NodeId, SharedSeed,
    resume::{Continuity, ResumableSession, ResumeError, ResumeOptions},
};
use tempfile::TempDir;

/// Nothing here takes nearly as long.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work).await.unwrap()
}

/// Two nodes that are started again and again.
struct World {
    dir: TempDir,
    seed: SharedSeed,
    options: ResumeOptions,
    port: u16,
}

/// One of them while it runs.
struct Side {
    node: Node,
    sessions: Continuity,
}

impl Side {
    async fn stop(self) {
        self.sessions.close().await;
        self.node.stop_within(Duration::ZERO).await;
    }
}

fn node_seed(name: &str) -> String {
    // A printed key is not stretched for the disk.
    Key::from_bytes(*blake3::hash(name.as_bytes()).as_bytes()).to_printable().to_string()
}

async fn node(seed: &SharedSeed, name: &str, mode: Mode, port: u16) -> Node {
    soon(async {
        loop {
            let builder = common::builder(seed).node_seed(node_seed(name)).port(port);
            match builder.persistent_identity(true).start(mode).await {
                Ok(node) => return node,
                // The port may be in use for a moment more.
                Err(error) => assert_eq!(error.code(), "node.port_in_use", "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

impl World {
    fn new() -> Self {
        let options = ResumeOptions::default();
        Self { dir: tempfile::tempdir().unwrap(), seed: common::seed(), options, port: 0 }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn start(&self, name: &str, mode: Mode, port: u16) -> Side {
        let node = node(&self.seed, name, mode, port).await;
        let sessions = Continuity::open(&node, self.options, self.place(name)).await.unwrap();
        Side { node, sessions }
    }

    async fn server(&mut self) -> Side {
        let side = self.start("server", Mode::Server, self.port).await;
        self.port = side.node.local_addr().port();
        side
    }

    async fn client(&self) -> Side {
        self.start("client", Mode::Client, 0).await
    }

    async fn connect(&self, client: &Side, server: &Side) -> (ResumableSession, ResumableSession) {
        let (at, id) = (server.node.local_addr().to_string(), server.node.node_id());
        let ours = client.sessions.connect(&at, id).await.unwrap();
        let theirs = soon(server.sessions.accept()).await.unwrap();
        (ours, theirs)
    }
}

fn only(side: &Side) -> ResumableSession {
    let mut restored = side.sessions.restored();
    assert!(side.sessions.restored().is_empty(), "handed out twice");
    assert_eq!(restored.len(), 1);
    restored.pop().unwrap()
}

async fn text(session: &ResumableSession) -> (u64, String) {
    let message = soon(session.receive()).await.unwrap().unwrap();
    (message.position, String::from_utf8(message.data.to_vec()).unwrap())
}

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_where_both_sides_were_when_both_are_started_again() {
    let mut world = World::new();
    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = world.connect(&client, &server).await;
    let id = ours.id();
    for number in 0..4_u64 {
        assert_eq!(ours.send_on(7, format!("{number}")).await.unwrap(), number);
    }
    theirs.send("back").await.unwrap();
    for number in 0..3 {
        assert_eq!(text(&theirs).await, (number, number.to_string()));
    }
    // Two of the three that were handed out are committed.
    theirs.commit(1).unwrap();
    soon(theirs.committed(1)).await.unwrap();
    soon(ours.acknowledged(1)).await.unwrap();
    client.stop().await;
    assert_eq!(soon(ours.ended()).await.code(), "resume.left");
    assert_eq!(ours.send("x").await.unwrap_err().code(), "resume.left");
    server.stop().await;
    // It holds the port of its node.
    drop(theirs);

    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = (only(&client), only(&server));
    assert_eq!((ours.id(), theirs.id()), (id, id));
    assert_eq!((ours.next_sent(), theirs.next_received()), (4, 2));
    assert_eq!((theirs.next_sent(), ours.next_received()), (1, 0));
    assert_eq!(ours.send_on(7, "4").await.unwrap(), 4);
    for number in 2..5 {
        let message = soon(theirs.receive()).await.unwrap().unwrap();
        assert_eq!((message.position, message.stream), (number, 7));
        assert_eq!(message.data, number.to_string());
    }
    assert_eq!(text(&ours).await, (0, "back".to_owned()));
    theirs.commit(4).unwrap();
    ours.commit(0).unwrap();
    // An end is committed when it is received.
    let ends =
        async { tokio::join!(ours.close(), theirs.close(), ours.receive(), theirs.receive()) };
    let (our_close, their_close, our_end, their_end) = soon(ends).await;
    assert!(our_close.is_ok() && their_close.is_ok());
    assert_eq!((our_end.unwrap(), their_end.unwrap()), (None, None));
    for session in [ours, theirs] {
        assert_eq!(soon(session.ended()).await.code(), "resume.finished");
        drop(session);
    }
    client.stop().await;
    server.stop().await;
    // What finished is no more.
    let (server, client) = (world.server().await, world.client().await);
    assert!(server.sessions.restored().is_empty() && client.sessions.restored().is_empty());
}

#[tokio::test]
async fn a_node_that_is_somebody_else_every_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("sessions");
    let node = common::builder(&common::seed()).node_seed("secret").start(Mode::Client).await;
    let node = node.unwrap();
    let error = Continuity::open(&node, ResumeOptions::default(), &place).await.unwrap_err();
    assert_eq!(error.code(), "resume.no_identity");
    let text = error.to_string();
    assert!(text.contains("node_seed") && text.contains("persistent_identity(true)"), "{text}");
    assert!(!place.exists());
    // In memory it may have them; then there is no disk to wait for.
    let (server, client) = common::nodes().await;
    let there = Continuity::new(&server, ResumeOptions::default()).unwrap();
    let here = Continuity::new(&client, ResumeOptions::default()).unwrap();
    let at = server.local_addr().to_string();
    let ours = here.connect(&at, server.node_id()).await.unwrap();
    let position = ours.send("x").await.unwrap();
    assert_eq!(ours.durable(position).await.unwrap_err().code(), "resume.in_memory");
    let theirs = soon(there.accept()).await.unwrap();
    assert_eq!(theirs.committed(0).await.unwrap_err().code(), "resume.in_memory");
    assert_eq!(theirs.dial_at("127.0.0.1:1").unwrap_err().code(), "resume.not_dialled");
    let endless = format!("{}:1", "x".repeat(2_000));
    assert_eq!(ours.dial_at(&endless).unwrap_err().code(), "resume.out_of_range");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_lost_stays_until_it_is_given_up() {
    let mut world = World::new();
    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = world.connect(&client, &server).await;
    let position = ours.send("kept").await.unwrap();
    soon(ours.durable(position)).await.unwrap();
    server.stop().await;
    drop(theirs);
    fs::remove_dir_all(world.place("server")).unwrap();
    let server = world.server().await;
    assert_eq!(soon(ours.ended()).await.code(), "resume.lost");
    assert_eq!(ours.take_unacknowledged().unwrap()[0].data, "kept");
    client.stop().await;
    // The process that took it may have died with it.
    let client = world.client().await;
    let ours = only(&client);
    assert!(matches!(soon(ours.ended()).await, ResumeError::Lost));
    assert_eq!(ours.take_unacknowledged().unwrap()[0].data, "kept");
    ours.give_up().await.unwrap();
    client.stop().await;
    let client = world.client().await;
    assert!(client.sessions.restored().is_empty());

    // With another secret nobody reads it.
    client.stop().await;
    let stranger = node(&world.seed, "somebody else", Mode::Client, 0).await;
    let error = Continuity::open(&stranger, world.options, world.place("client")).await;
    assert_eq!(error.unwrap_err().code(), "store.wrong_seed");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lifetime_goes_on_while_no_process_lives() {
    let mut world = World::new();
    world.options = world.options.lifetime(Duration::from_millis(1_500));
    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = world.connect(&client, &server).await;
    ours.send("late").await.unwrap();
    theirs.send("late as well").await.unwrap();
    client.stop().await;
    server.stop().await;
    drop((ours, theirs));
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let (server, client) = (world.server().await, world.client().await);
    for (side, kept) in [(&server, "late as well"), (&client, "late")] {
        let session = only(side);
        assert_eq!(soon(session.ended()).await.code(), "resume.expired");
        assert_eq!(session.take_unacknowledged().unwrap()[0].data, kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_gives_up_says_so_and_one_that_moved_is_found() {
    let mut world = World::new();
    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = world.connect(&client, &server).await;
    ours.send("one").await.unwrap();
    assert_eq!(text(&theirs).await.1, "one");
    theirs.commit(0).unwrap();
    soon(theirs.committed(0)).await.unwrap();
    server.stop().await;
    drop(theirs);
    // It is elsewhere now, and the client is told before and after a restart.
    let old = std::mem::take(&mut world.port);
    let server = world.server().await;
    assert_ne!(server.node.local_addr().port(), old);
    let theirs = only(&server);
    ours.dial_at(&server.node.local_addr().to_string()).unwrap();
    ours.send("two").await.unwrap();
    assert_eq!(text(&theirs).await, (1, "two".to_owned()));
    client.stop().await;
    let client = world.client().await;
    let ours = only(&client);
    ours.send("three").await.unwrap();
    assert_eq!(text(&theirs).await, (2, "three".to_owned()));
    theirs.give_up().await.unwrap();
    let why = soon(ours.ended()).await;
    assert!(matches!(why, ResumeError::GivenUp { by_peer: true } | ResumeError::Lost), "{why}");
    server.stop().await;
    drop(theirs);
    let server = world.server().await;
    assert!(server.sessions.restored().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_disk_is_noticed() {
    let mut world = World::new();
    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = world.connect(&client, &server).await;
    server.stop().await;
    drop(theirs);
    let (place, copy) = (world.place("server"), world.place("copy"));
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&place).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let server = world.server().await;
    let theirs = only(&server);
    ours.send("one").await.unwrap();
    assert_eq!(text(&theirs).await.1, "one");
    theirs.commit(0).unwrap();
    soon(ours.acknowledged(0)).await.unwrap();
    server.stop().await;
    drop(theirs);
    fs::remove_dir_all(&place).unwrap();
    fs::rename(&copy, &place).unwrap();
    let server = world.server().await;
    let why = soon(ours.ended()).await;
    // Its tickets are of the past, or else it has forgotten what it had committed.
    assert!(["resume.ticket", "resume.broken"].contains(&why.code()), "{why}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_disk_are_bounded_and_who_sends_too_much_waits() {
    const MESSAGE: usize = 20_000;
    let mut world = World::new();
    world.options = world.options.unacknowledged_bytes(100_000);
    let (server, client) = (world.server().await, world.client().await);
    let (ours, theirs) = world.connect(&client, &server).await;
    let receiving = tokio::spawn(async move {
        while let Some(message) = theirs.receive().await.unwrap() {
            theirs.commit(message.position).unwrap();
        }
        theirs
    });
    let mut most = 0;
    for number in 0..1_500_u64 {
        ours.send(vec![1; MESSAGE]).await.unwrap();
        if number % 125 == 0 {
            most = most.max(bytes_in(&world.place("client")));
        }
    }
    // 30 MB went through.
    assert!(most < 17 << 20, "{most} bytes on the disk");
    soon(ours.acknowledged(1_499)).await.unwrap();
    server.stop().await;
    // Nobody is there: four more fit.
    let error = loop {
        match ours.try_send_on(0, vec![2; MESSAGE]) {
            Ok(position) => assert!(position < 1_504),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ResumeError::Full { limit: 100_000, .. }), "{error}");
    let waiting = ours.clone();
    let waiting = tokio::spawn(async move { waiting.send(vec![3; MESSAGE]).await });
    soon(ours.durable(1_503)).await.unwrap();
    assert!(!waiting.is_finished());
    client.stop().await;
    assert_eq!(soon(waiting).await.unwrap().unwrap_err().code(), "resume.left");
    let client = world.client().await;
    let ours = only(&client);
    assert_eq!(ours.next_sent(), 1_504);
    assert_eq!(ours.try_send_on(0, vec![2; MESSAGE]).unwrap_err().code(), "resume.full");
    assert!(receiving.await.is_err(), "its session was let go of");
}

#[tokio::test]
async fn only_what_fits_a_record_is_kept_and_one_process_has_the_disk() {
    let world = World::new();
    let side = world.client().await;
    let node = node(&world.seed, "client", Mode::Client, 0).await;
    let error = Continuity::open(&node, world.options, world.place("client")).await.unwrap_err();
    assert_eq!(error.code(), "store.in_use");
    let options = world.options.max_message(16 << 20);
    let error = Continuity::open(&node, options, world.place("other")).await.unwrap_err();
    assert_eq!(error.code(), "resume.out_of_range");
    let nobody = NodeId::from_bytes([0; 32]);
    let endless = format!("{}:1", "x".repeat(2_000));
    let error = side.sessions.connect(&endless, nobody).await.unwrap_err();
    assert_eq!(error.code(), "resume.out_of_range");
}
