//! Publish and subscribe between processes, and who is in their swarm.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use crate::children::{DEADLINE, Running, all_told, finished, told};
use crate::common::{self, home, stt};

/// `stt sub` of a topic, and where it is.
struct Subscriber {
    running: Running,
    address: String,
    node_id: String,
}

impl Subscriber {
    fn start(home: &Path, topic: &str, more: &[&str]) -> Self {
        let mut command = stt();
        command.args(["sub", topic, "--json", "--listen", "127.0.0.1:0", "--seed-file"]);
        let mut running = Running::start(command.arg(home.join("seed")).args(more));
        let about = running.line_with("subscribed");
        let text = |key: &str| about[key].as_str().unwrap().to_owned();
        Self { address: text("address"), node_id: text("node_id"), running }
    }

    /// The text of the next message.
    fn next(&mut self) -> String {
        self.running.line_with("message")["text"].as_str().unwrap().to_owned()
    }
}

fn client(home: &Path, command: &str, more: &[&str]) -> Command {
    let mut client = stt();
    client.arg(command).args(more).args(["--json", "--seed-file"]).arg(home.join("seed"));
    client
}

fn publish(home: &Path, by: &str, message: &str) -> serde_json::Value {
    let published = finished(&mut client(home, "pub", &["news", message, "--bootstrap", by]));
    assert!(published.status.success(), "{published:?}");
    told(&published, "published")
}

#[test]
fn messages_reach_all_who_subscribe_and_all_are_seen() {
    let home = home();
    let mut first = Subscriber::start(home.path(), "news", &[]);
    let published = publish(home.path(), &first.address, "hello");
    assert_eq!((&published["messages"], &published["topic"]), (&1.into(), &"news".into()));
    assert_eq!((&published["subscribers"], &published["confirmed"]), (&1.into(), &1.into()));
    assert_eq!(first.next(), "hello");

    let mut second = Subscriber::start(home.path(), "news", &["--bootstrap", &first.address]);
    assert_eq!(second.running.line_with("joined")["reached"], first.node_id.as_str());
    // Until both know of each other's subscriptions.
    let began = Instant::now();
    for number in 0.. {
        assert!(began.elapsed() < DEADLINE);
        publish(home.path(), &first.address, &format!("number {number}"));
        assert_eq!(first.next(), format!("number {number}"));
        if second.running.has_line_with("message") {
            break;
        }
    }
    // Lines of standard input; either node is a way in.
    let lines = client(home.path(), "pub", &["news", "--bootstrap", &second.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Running::of(lines);
    lines.stdin().write_all("one\r\n\ntwo\nthrée".as_bytes()).unwrap();
    let published = lines.line_with("published");
    assert_eq!(published["messages"], 4);
    for subscriber in [&mut first, &mut second] {
        let mut wanted = vec!["", "one", "thrée", "two"];
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            let next = subscriber.next();
            if !next.starts_with("number") {
                got.push(next);
            }
        }
        got.sort();
        wanted.sort_unstable();
        assert_eq!(got, wanted);
    }

    let began = Instant::now();
    loop {
        assert!(began.elapsed() < DEADLINE);
        let mut peers = client(home.path(), "peers", &["--bootstrap", &first.address]);
        let peers = all_told(&finished(&mut peers), "peer");
        let seen = |subscriber: &Subscriber| {
            peers.iter().any(|peer| {
                peer["node_id"] == subscriber.node_id.as_str()
                    && peer["addresses"][0] == subscriber.address.as_str()
            })
        };
        if seen(&first) && seen(&second) {
            break;
        }
    }
}

/// Here nobody reads until all is published. A reader that stops reading loses messages, is told
/// how many, and holds up nobody.
#[test]
fn who_reads_too_slowly_is_told_what_it_missed() {
    let home = home();
    let mut subscriber = Subscriber::start(home.path(), "news", &[]);
    let long = "x".repeat(55_000);
    let mut publisher = Running::of(
        client(home.path(), "pub", &["news", "--bootstrap", &subscriber.address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut stdin = publisher.stdin();
    // It ends with the process, whatever that does.
    thread::spawn(move || (0..160).try_for_each(|number| writeln!(stdin, "{number} {long}")));
    assert_eq!(publisher.line_with("published")["messages"], 160);
    let (mut messages, mut missed) = (0, 0);
    while messages + missed < 160 {
        let line = subscriber.running.line();
        messages += u64::from(line.get("message").is_some());
        missed += line["gap"]["missed"].as_u64().unwrap_or(0);
    }
    assert!(messages > 0 && missed > 0, "{messages} {missed}");
}

#[test]
fn what_cannot_be_published_is_said() {
    let home = home();
    let subscriber = Subscriber::start(home.path(), "other", &[]);
    let by = ["--bootstrap", subscriber.address.as_str()];
    let error = |command: &mut Command| {
        let failed = finished(command);
        assert!(!failed.status.success(), "{failed:?}");
        told(&failed, "error")["code"].as_str().unwrap().to_owned()
    };
    let nobody = ["news", "hello", "--timeout", "0.5", by[0], by[1]];
    assert_eq!(error(&mut client(home.path(), "pub", &nobody)), "swarm.no_subscribers");
    let long = "x".repeat(60_001);
    assert_eq!(
        error(&mut client(home.path(), "pub", &["other", &long, by[0], by[1]])),
        "swarm.too_large"
    );
    for command in [&["pub", "news", "hello"][..], &["peers"], &["pub", "news", "--end-with-stdin"]]
    {
        let wrong = &mut client(home.path(), command[0], &command[1..]);
        if command.contains(&"--end-with-stdin") {
            wrong.args(by);
        }
        assert_eq!(error(wrong), "usage.arguments");
    }
    // A node with another seed is no member.
    let stranger = common::home();
    assert_eq!(error(&mut client(stranger.path(), "peers", &by)), "swarm.no_bootstrap");
}

#[test]
fn the_swarm_names_who_else_has_a_file() {
    let home = home();
    let file = home.path().join("film.mkv");
    fs::write(&file, "something").unwrap();
    let share = |more: &[&str]| {
        let mut command = stt();
        command.arg("share").arg(&file).args(["--json", "--listen", "127.0.0.1:0", "--seed-file"]);
        let mut running = Running::start(command.arg(home.path().join("seed")).args(more));
        let about = running.line_with("shared");
        (running, about)
    };
    let (_first, about) = share(&[]);
    let by = about["addresses"][0].as_str().unwrap().to_owned();
    let (mut second, _) = share(&["--bootstrap", &by]);
    second.line_with("joined");
    let began = Instant::now();
    for number in 0.. {
        assert!(began.elapsed() < DEADLINE);
        let name = number.to_string();
        let ticket = about["ticket"].as_str().unwrap();
        let mut fetch =
            client(home.path(), "fetch", &[ticket, "--bootstrap", &by, "--name", &name]);
        let fetched = finished(fetch.arg("--out").arg(home.path().join("out")));
        assert!(fetched.status.success(), "{fetched:?}");
        let path = home.path().join("out").join(&name);
        assert_eq!(fs::read_to_string(path).unwrap(), "something");
        // Announcements are not confirmed, so the first ones may be too early.
        if told(&fetched, "found")["providers"] == 1 {
            break;
        }
    }
}
