//! A process that is killed while it stores: what it acknowledged is there.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use stc::Key;
use stt_store::{Chamber, ChamberKey, ChamberOptions, ContentId, Keep, StoreError};

/// Where the child finds its orders: a directory and a seed.
const DIR: &str = "STT_STORE_KILL_TEST_DIR";
const SEED: &str = "STT_STORE_KILL_TEST_SEED";

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([9; 32]))
}

async fn open(dir: &Path) -> Result<Chamber, StoreError> {
    Chamber::open(&key(), dir, ChamberOptions::default()).await
}

fn value(number: u64) -> Vec<u8> {
    let len = match number % 8 {
        0 => 0,
        1..=4 => 100 + number as usize % 5000,
        5 => 70_000,
        6 => 300_000,
        _ => 2_000_000,
    };
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Not a test: the process that is killed. It says on its output what was acknowledged.
#[test]
#[ignore = "heavy: the child of the kill tests; does nothing when run alone"]
fn child() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chamber = open(Path::new(&dir)).await.unwrap();
        let tasks: Vec<_> = (0..3u64)
            .map(|task| {
                let chamber = chamber.clone();
                tokio::spawn(async move {
                    for round in 0.. {
                        one(&chamber, seed * 1_000_000 + round * 3 + task).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn say(what: &str, number: u64) {
    // One write, so that no line is cut in two by another thread.
    std::io::stdout().lock().write_all(format!("\n@{what} {number}\n").as_bytes()).unwrap();
}

async fn one(chamber: &Chamber, number: u64) {
    let data = value(number);
    match number % 5 {
        0 => {
            say("naming", number);
            chamber.put_named(&format!("n{}", number % 3), data).await.unwrap();
            say("named", number);
        }
        1 => {
            chamber.put_reader(&data[..], Keep::Pinned).await.unwrap();
            say("put", number);
        }
        2 => {
            chamber.put(data.clone()).await.unwrap();
            say("put", number);
            say("removing", number);
            // The empty value is put by many, and may have a name.
            if !data.is_empty() {
                chamber.remove(&ContentId::of(&data)).await.unwrap();
                say("removed", number);
            }
        }
        _ => {
            chamber.put(data).await.unwrap();
            say("put", number);
        }
    }
}

/// What the children said, over all rounds.
#[derive(Default)]
struct Said {
    put: BTreeSet<u64>,
    removing: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    /// Name to the last one acknowledged, and those begun since.
    names: BTreeMap<u64, (Option<u64>, BTreeSet<u64>)>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some((what, number)) = line.strip_prefix('@').and_then(|line| line.split_once(' '))
        else {
            return;
        };
        let number: u64 = number.parse().unwrap();
        match what {
            "put" => {
                self.put.insert(number);
            }
            "removing" => {
                self.removing.insert(number);
            }
            "removed" => {
                self.removed.insert(number);
            }
            "naming" => {
                self.names.entry(number % 3).or_default().1.insert(number);
            }
            "named" => {
                let (last, begun) = self.names.entry(number % 3).or_default();
                *last = Some(number);
                begun.remove(&number);
            }
            _ => panic!("{line}"),
        }
    }

    async fn check(&self, chamber: &Chamber) {
        for number in &self.put {
            let data = value(*number);
            let got = chamber.get(&ContentId::of(&data)).await;
            if !self.removing.contains(number) || data.is_empty() {
                assert!(got.unwrap() == data, "{number} was acknowledged");
            } else if self.removed.contains(number) {
                assert!(matches!(got, Err(StoreError::NotFound { .. })), "{number} was removed");
            } else if let Ok(got) = got {
                assert!(got == data, "{number} is half removed");
            }
        }
        for (name, (last, begun)) in &self.names {
            let known: BTreeSet<_> =
                last.iter().chain(begun).map(|number| ContentId::of(&value(*number))).collect();
            match chamber.get_named(&format!("n{name}")).await {
                Ok(data) => assert!(known.contains(&ContentId::of(&data)), "n{name}"),
                Err(StoreError::NotFound { .. }) => assert_eq!(*last, None, "n{name}"),
                Err(error) => panic!("n{name}: {error}"),
            }
        }
        let report = chamber.verify(|_, _| {}).await.unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
    }
}

async fn kill_and_check(rounds: u64, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut said = Said::default();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(SEED, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, heard) = std::sync::mpsc::channel();
        let listener = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| sender.send(line).unwrap());
        });
        // Some are killed at any moment, perhaps while they make or open the store; most once they
        // have done some work, however slow the machine is, and in the middle of more.
        let (done, later) = if round % 3 == 0 { (0, 250_000) } else { (rng.usize(5..40), 5_000) };
        let mut heard_already = Vec::new();
        while heard_already.iter().filter(|line: &&String| line.starts_with("@put")).count() < done
        {
            heard_already.push(heard.recv().unwrap());
        }
        std::thread::sleep(Duration::from_micros(rng.u64(0..later)));
        child.kill().unwrap();
        child.wait().unwrap();
        listener.join().unwrap();
        heard_already.into_iter().chain(heard).for_each(|line| said.hear(&line));
        let chamber = open(dir.path()).await.unwrap();
        said.check(&chamber).await;
        if round % 4 == 3 {
            chamber.collect(false).await.unwrap();
            said.check(&chamber).await;
            assert_eq!(chamber.stats().await.unwrap().leftovers.files, 0);
        }
    }
    assert!(rounds < 5 || said.put.len() > 10, "only {} puts: nothing was tested", said.put.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill() {
    kill_and_check(6, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: 150 processes are killed"]
async fn what_was_acknowledged_survives_kill_often() {
    for seed in 2..17 {
        kill_and_check(10, seed).await;
    }
}

/// A second process is told who has the store.
#[tokio::test]
async fn a_second_process_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir.path())
        .env(SEED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("@put")));
    let error = open(dir.path()).await.unwrap_err();
    let StoreError::InUse { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(holder.pid, Some(child.id()));
    assert!(holder.since.is_some() && holder.program.is_some(), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path()).await.unwrap();
}
