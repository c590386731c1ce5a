//! Content between processes: shared by some, fetched by another.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Output, Stdio},
};

use crate::common::{self, home, stt};
use serde_json::Value;
use stt_swarm::ContentTicket;

/// A process that shares a file, and is killed with this.
struct Sharing {
    process: Child,
    ticket: ContentTicket,
    text: String,
}

impl Sharing {
    fn start(home: &Path, file: &Path, more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", home, file, more)
    }

    fn start_at(listen: &str, home: &Path, file: &Path, more: &[&str]) -> Self {
        let mut process = stt()
            .arg("share")
            .arg(file)
            .args(["--listen", listen, "--seed-file"])
            .arg(home.join("seed"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let text = line(&mut process.stdout.take().map(BufReader::new).unwrap());
        Self { process, ticket: text.parse().unwrap(), text }
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn fetch(home: &Path, ticket: &str) -> std::process::Command {
    let mut command = stt();
    command.args(["fetch", ticket, "--json", "--seed-file"]).arg(home.join("seed"));
    command.arg("--out").arg(home.join("out"));
    command
}

/// The last line of JSON with that key.
fn told(output: &Output, key: &str) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.rev().find_map(|mut line| line.get_mut(key).map(Value::take)).unwrap()
}

fn file(home: &Path, len: usize) -> (std::path::PathBuf, Vec<u8>) {
    let data: Vec<u8> = (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
    let path = home.join("film.mkv");
    fs::write(&path, &data).unwrap();
    (path, data)
}

#[test]
fn one_file_comes_from_two_processes() {
    let home = home();
    let (file, data) = file(home.path(), 12_000_000);
    // So slow that neither is done before the other begins.
    let slowly = ["--limit", "6"];
    let first = Sharing::start(home.path(), &file, &slowly);
    let second = Sharing::start(home.path(), &file, &slowly);
    let mut both = first.ticket.clone();
    both.add_provider(second.ticket.providers()[0].clone()).unwrap();
    let fetched = fetch(home.path(), &both.to_string()).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    let fetched = told(&fetched, "fetched");
    let parts: Vec<_> =
        (0..2).map(|at| fetched["providers"][at]["bytes"].as_u64().unwrap()).collect();
    assert!(parts.iter().all(|part| *part > 0), "{fetched}");
    assert!(fs::read(home.path().join("out/film.mkv")).unwrap() == data);

    // From standard input, and from a file; the name is taken by now.
    let ticket = home.path().join("ticket");
    fs::write(&ticket, format!("{}\n", first.text)).unwrap();
    let again = fetch(home.path(), ticket.to_str().unwrap()).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(told(&again, "error")["code"], "content.exists");
    let mut piped = fetch(home.path(), "-");
    let piped = piped.args(["--name", "other"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    piped.stdin.take().unwrap().write_all(first.text.as_bytes()).unwrap();
    assert!(piped.wait_with_output().unwrap().status.success());
    assert!(fs::read(home.path().join("out/other")).unwrap() == data);
}

/// Kills a fetch as soon as something arrived. False when all had arrived by then.
fn killed_half_way(home: &Path, ticket: &str, out: &Path) -> bool {
    let mut fetching = fetch(home, ticket).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(fetching.stdout.take().unwrap());
    loop {
        let line: Value = serde_json::from_str(&line(&mut lines)).unwrap();
        if line["progress"]["done"].as_u64().is_some_and(|done| done > 0) {
            break;
        }
    }
    fetching.kill().unwrap();
    fetching.wait().unwrap();
    !out.exists()
}

#[test]
fn a_fetch_that_was_killed_goes_on_with_another_provider() {
    let home = home();
    let (file, data) = file(home.path(), 40_000_000);
    let first = Sharing::start(home.path(), &file, &["--limit", "10"]);
    let out = home.path().join("out/film.mkv");
    while !killed_half_way(home.path(), &first.text, &out) {
        fs::remove_file(&out).unwrap();
    }
    drop(first);
    let second = Sharing::start(home.path(), &file, &[]);
    let fetched = fetch(home.path(), &second.text).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    let fetched = told(&fetched, "fetched");
    let (resumed, got) = (&fetched["resumed"], &fetched["providers"][0]["bytes"]);
    assert!(resumed.as_u64().unwrap() > 0, "{fetched}");
    assert_eq!(resumed.as_u64().unwrap() + got.as_u64().unwrap(), 40_000_000);
    assert!(fs::read(home.path().join("out/film.mkv")).unwrap() == data);
}

#[test]
fn tickets_of_several_members_are_used_together() {
    let home = home();
    let (file, data) = file(home.path(), 6_000_000);
    let slowly = ["--limit", "3"];
    let one = Sharing::start(home.path(), &file, &slowly);
    let two = Sharing::start(home.path(), &file, &slowly);
    let fetched = fetch(home.path(), &one.text).arg(&two.text).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    assert_eq!(told(&fetched, "fetched")["providers"].as_array().unwrap().len(), 2);
    assert!(fs::read(home.path().join("out/film.mkv")).unwrap() == data);
    let (other, _) = self::file(home.path(), 10);
    let other = Sharing::start(home.path(), &other, &[]);
    let failed = fetch(home.path(), &one.text).arg(&other.text).output().unwrap();
    assert_eq!(told(&failed, "error")["code"], "ticket.different");
}

#[test]
fn a_folder_comes_with_all_that_is_in_it() {
    let home = home();
    let dir = home.path().join("films");
    for (path, text) in [("a/b/c.txt", "see"), ("a/d.txt", ""), ("e.txt", "and")] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let sharing = Sharing::start(home.path(), &dir, &[]);
    let fetched = fetch(home.path(), &sharing.text).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    let fetched = told(&fetched, "fetched");
    assert_eq!((&fetched["files"], &fetched["bytes"]), (&3.into(), &6.into()));
    for (path, text) in [("a/b/c.txt", "see"), ("a/d.txt", ""), ("e.txt", "and")] {
        let path = home.path().join("out/films").join(path);
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
}

#[test]
fn what_cannot_be_fetched_is_said() {
    let home = home();
    let (file, _) = file(home.path(), 100_000);
    let gone = Sharing::start(home.path(), &file, &[]).ticket.to_string();
    let failed = fetch(home.path(), &gone).args(["--timeout", "0.3"]).output().unwrap();
    let error = told(&failed, "error");
    assert_eq!(
        (&error["code"], &error["retry_helps"]),
        (&"content.unavailable".into(), &true.into())
    );
    for wrong in ["stt-ticket:content:abc", "no-such-file"] {
        let failed = fetch(home.path(), wrong).output().unwrap();
        assert_eq!(told(&failed, "error")["code"], "ticket.malformed");
    }
    // A node with another seed gets no session.
    let sharing = Sharing::start(home.path(), &file, &[]);
    let stranger = common::home();
    let failed = fetch(stranger.path(), &sharing.text).args(["--timeout", "1"]).output().unwrap();
    assert_eq!(told(&failed, "error")["code"], "content.unavailable");
    assert_eq!(
        fs::read_dir(stranger.path().join("out"))
            .unwrap()
            .flatten()
            .filter(|entry| { !entry.file_name().to_string_lossy().starts_with('.') })
            .count(),
        0
    );
}

#[test]
fn one_node_id_over_restarts_keeps_a_ticket_good() {
    let home = home();
    let (file, data) = file(home.path(), 100_000);
    let secret = home.path().join("node");
    let made = stt().args(["seed", "new", "--out"]).arg(&secret).output().unwrap();
    assert!(made.status.success());
    let keep = ["--node-seed-file", secret.to_str().unwrap()];
    let first = Sharing::start(home.path(), &file, &keep);
    let ticket = first.ticket.clone();
    drop(first);
    let address = ticket.providers()[0].addresses[0].to_string();
    let again = Sharing::start_at(&address, home.path(), &file, &keep);
    assert_eq!(again.ticket, ticket);
    assert!(fetch(home.path(), &ticket.to_string()).output().unwrap().status.success());
    assert!(fs::read(home.path().join("out/film.mkv")).unwrap() == data);
}
