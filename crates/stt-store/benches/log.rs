//! The log against plain appends to a file with one sync for a batch, beside redb, and with the
//! feature `jetstream` and `STT_TEST_NATS_SERVER` a JetStream server; the disk it takes while
//! retention works; and how long a log takes to open after a kill -9, a small one and one of 4 GiB.
//!
//! `cargo bench -p stt-store --bench log` runs everything; `batch`, `lone`, `disk` or `opening` one
//! part. The sides take turns, the first round is thrown away, medians and the middle 80 % are
//! printed, and the ratio is the time of plain appends over that of the side, taken round by round.
//! User time is that of this process, in steps of 10 ms, so it is an average only.
#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark prints, and stops at the first thing that is wrong"
)]

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use bytes::Bytes;
use stc::Key;
#[cfg(feature = "jetstream")]
use stt_store::log::jetstream::JetStreamLog;
use stt_store::{
    ChamberKey,
    log::{DurableLog, Log, LogOptions},
};

/// Bytes of a record, as in the figures.
const LEN: usize = 150;

fn main() {
    if let Some(dir) = std::env::var_os(FILLED) {
        return fill(dir.as_ref());
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == part);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for (part, records) in [("batch", 100), ("lone", 1)] {
            if wants(part) {
                append(records, 400).await;
            }
        }
        if wants("disk") {
            disk(200).await;
        }
        if wants("opening") {
            opening().await;
        }
    });
}

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([1; 32]))
}

/// Values below which 10, 50 and 90 % lie.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [10, 50, 90].map(|share| values[(values.len() - 1) * share / 100])
}

fn row(what: &str, unit: &str, values: Vec<f64>) {
    let [low, median, high] = spread(values);
    println!("  {what:<40} {median:>9.3} {unit}  ({low:.3} to {high:.3})");
}

/// A function that takes a batch and returns when it is durable.
enum Side {
    /// The same bytes with their lengths; no cipher, no checksum.
    Plain(File),
    Log(Log),
    /// One transaction a batch, with the offset as the key; no cipher.
    Redb(redb::Database, u64),
    #[cfg(feature = "jetstream")]
    JetStream(JetStreamLog),
}

const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

impl Side {
    const fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain append and fdatasync",
            Self::Log(_) => "log",
            Self::Redb(..) => "redb, one commit",
            #[cfg(feature = "jetstream")]
            Self::JetStream(_) => "log on JetStream, sync_interval always",
        }
    }

    async fn append(&mut self, batch: &[Bytes]) {
        match self {
            Self::Plain(file) => {
                let mut bytes = Vec::with_capacity(batch.len() * (LEN + 4));
                for record in batch {
                    bytes.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
                    bytes.extend_from_slice(record);
                }
                file.write_all(&bytes).unwrap();
                file.sync_data().unwrap();
            }
            Self::Log(log) => {
                log.append_all(batch.to_vec()).await.unwrap();
            }
            Self::Redb(database, next) => {
                let write = database.begin_write().unwrap();
                {
                    let mut table = write.open_table(TABLE).unwrap();
                    for record in batch {
                        table.insert(*next, record.as_ref()).unwrap();
                        *next += 1;
                    }
                }
                write.commit().unwrap();
            }
            #[cfg(feature = "jetstream")]
            Self::JetStream(log) => {
                log.append_all(batch.to_vec()).await.unwrap();
            }
        }
    }
}

/// Processor time of this process and of those that it started, in user mode, in seconds.
fn user_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<f64>().ok());
    ticks.unwrap_or_default() / 100.0
}

async fn append(records: usize, rounds: usize) {
    println!("{records} records of {LEN} bytes, one sync, {rounds} rounds");
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(&key(), dir.path().join("log"), LogOptions::default()).await.unwrap();
    let database = redb::Database::create(dir.path().join("redb")).unwrap();
    #[cfg_attr(
        not(feature = "jetstream"),
        allow(clippy::useless_vec, reason = "a server may join them")
    )]
    let mut sides = vec![
        Side::Plain(File::create(dir.path().join("plain")).unwrap()),
        Side::Log(log),
        Side::Redb(database, 0),
    ];
    #[cfg(feature = "jetstream")]
    let server = jetstream::Server::start(dir.path());
    #[cfg(feature = "jetstream")]
    if let Some(server) = &server {
        sides.push(Side::JetStream(server.log(&format!("batches-of-{records}")).await));
    }
    let batch = vec![Bytes::from(vec![7; LEN]); records];
    let mut times = vec![Vec::new(); sides.len()];
    let mut user = vec![0.0; sides.len()];
    for round in 0..=rounds {
        for turn in 0..sides.len() {
            let at = (round + turn) % sides.len();
            let (start, before) = (Instant::now(), user_time());
            sides[at].append(&batch).await;
            if round > 0 {
                times[at].push(start.elapsed().as_secs_f64() * 1e3);
                user[at] += user_time() - before;
            }
        }
    }
    for ((side, times), user) in sides.iter().zip(&times).zip(user) {
        row(side.name(), "ms", times.clone());
        println!("  {:<40} {:>9.3} ms of user time for each", "", user * 1e3 / rounds as f64);
    }
    for (side, of_side) in sides.iter().zip(&times).skip(1) {
        let ratios = times[0].iter().zip(of_side).map(|(plain, ours)| plain / ours).collect();
        row(&format!("plain to {}", side.name()), "  ", ratios);
    }
}

/// A server beside the benchmark, if the variable says where its program is.
#[cfg(feature = "jetstream")]
mod jetstream {
    use std::{
        net::TcpListener,
        path::Path,
        process::{Child, Command, Stdio},
    };

    use stt_store::log::jetstream::{JetStreamLog, JetStreamOptions, async_nats};

    pub(crate) struct Server(Child, u16);

    impl Server {
        pub(crate) fn start(dir: &Path) -> Option<Self> {
            let program = std::env::var_os("STT_TEST_NATS_SERVER")?;
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let config = format!(
                "listen: \"127.0.0.1:{port}\"\n\
                 jetstream {{ store_dir: {:?}, sync_interval: always }}\n",
                dir.join("nats")
            );
            let path = dir.join("server.conf");
            std::fs::write(&path, config).unwrap();
            let mut command = Command::new(program);
            command.arg("-c").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
            Some(Self(command.spawn().unwrap(), port))
        }

        pub(crate) async fn log(&self, name: &str) -> JetStreamLog {
            let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
            let client = options.connect(format!("127.0.0.1:{}", self.1)).await.unwrap();
            let options = JetStreamOptions::new(name);
            JetStreamLog::open(client, &super::key(), options).await.unwrap()
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

async fn disk(turnovers: u64) {
    const KEEP: u64 = 1 << 20;
    const SEGMENT: u64 = 64 << 10;
    println!("{turnovers} turnovers of segments of {SEGMENT} bytes, {KEEP} kept");
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::default().segment_bytes(SEGMENT).keep_bytes(KEEP);
    let log = Log::open(&key(), dir.path().join("log"), options).await.unwrap();
    let batch = vec![Bytes::from(vec![7; LEN]); 20];
    let (mut made, mut before, mut ratios) = (0, 0, Vec::new());
    while made < turnovers {
        log.append_all(batch.clone()).await.unwrap();
        let stats = log.stats();
        let live = (stats.end.offset - stats.start.offset) * LEN as u64;
        // Until there is a megabyte of records the header of the segment counts most.
        if stats.start.offset > 0 {
            ratios.push(stats.bytes as f64 / live as f64);
        }
        let newest = stats.end.offset * LEN as u64 / SEGMENT;
        made += newest - before;
        before = newest;
    }
    let most = ratios.iter().copied().fold(0.0, f64::max);
    row("bytes on disk to bytes of records kept", "  ", ratios);
    println!("  most {most:.3}");
}

/// For the process that fills a log until it is killed: where.
const FILLED: &str = "STT_BENCH_FILLED_LOG";

/// Appends until this process is killed; the lengths of the log go to stdout.
fn fill(dir: &Path) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let log = Log::open(&key(), dir, LogOptions::default()).await.unwrap();
        let record = Bytes::from(vec![7; 256 << 10]);
        loop {
            log.append_all(vec![record.clone(); 16]).await.unwrap();
            println!("{}", log.stats().bytes);
        }
    });
}

/// Each size ends in the middle of a segment, so that the tails are of one length.
async fn opening() {
    const SEGMENT: u64 = 64 << 20;
    println!("opening after a kill -9, segments of {SEGMENT} bytes");
    for segments in [1, 64] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("log");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(FILLED, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let bytes = lines.map(|line| line.unwrap().parse::<u64>().unwrap());
        let enough = SEGMENT * segments - SEGMENT / 2;
        let bytes = bytes.into_iter().find(|bytes| *bytes >= enough).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut times = Vec::new();
        for _ in 0..7 {
            let begun = Instant::now();
            let log = Log::open(&key(), &dir, LogOptions::default()).await.unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            assert!(log.stats().bytes >= enough);
        }
        println!("  {:<40} {:>9.3} ms", "the first time", times[0]);
        row(&format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)), "ms", times);
    }
}
