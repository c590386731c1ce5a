//! The commands of docs/private-swarm.md, by three machines that are directories here.
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
    process::{Command, Stdio},
};

use crate::children::{Running, all_told, finished, told};

/// The address of A in the page.
const A: &str = "10.0.0.1:9337";

/// A line of the page: which machine runs it, and its words.
struct Line {
    machine: String,
    words: Vec<String>,
}

/// The words of a line; quotes hold some together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// All lines of the page that are commands.
fn lines() -> Vec<Line> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/private-swarm.md");
    let page = fs::read_to_string(page).unwrap();
    let mut shell = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        match line {
            "```sh" => shell = true,
            "```" => shell = false,
            line if shell => {
                let (command, machine) = line.split_once('#').unwrap();
                let machine = machine.trim().to_owned();
                lines.push(Line { machine, words: words(command) });
            }
            _ => {}
        }
    }
    lines
}

/// A command of the page as its machine runs it.
fn command(root: &Path, line: &Line, replace: &[(&str, &str)], more: &[&str]) -> Command {
    let mut command = common::stt();
    command.current_dir(root.join(&line.machine)).arg("--json");
    assert_eq!(line.words[0], "stt");
    for word in &line.words[1..] {
        let replaced = replace.iter().find(|(from, _)| from == word).map(|(_, to)| *to);
        command.arg(replaced.unwrap_or(word));
    }
    command.args(more).stdin(Stdio::null());
    command
}

#[test]
fn the_page_makes_a_private_swarm() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let machine = |name: &str| -> PathBuf { root.join(name) };
    for name in ["A", "B", "C"] {
        fs::create_dir(machine(name)).unwrap();
    }
    fs::write(machine("B").join("film.mkv"), "a film").unwrap();
    let lines = lines();
    let [seed, subscribe, share, publish, fetch, peers] = lines.as_slice() else {
        panic!("the page has other commands");
    };

    assert!(finished(&mut command(root, seed, &[], &[])).status.success());
    for name in ["B", "C"] {
        fs::copy(machine("A").join("seed"), machine(name).join("seed")).unwrap();
    }
    // All ports are of one machine here.
    let here = ["--listen", "127.0.0.1:0"];
    let mut subscriber = Running::start(&mut command(root, subscribe, &[], &here));
    let about = subscriber.line_with("subscribed");
    let at = about["address"].as_str().unwrap().to_owned();
    let by = [(A, at.as_str())];
    let mut sharing = Running::start(&mut command(root, share, &by, &here));
    let ticket = sharing.line_with("shared")["ticket"].as_str().unwrap().to_owned();
    assert_eq!(sharing.line_with("joined")["reached"], about["node_id"]);

    let published = finished(&mut command(root, publish, &by, &[]));
    assert!(published.status.success(), "{published:?}");
    assert_eq!(told(&published, "published")["confirmed"], 1);
    assert_eq!(subscriber.line_with("message")["text"], "film.mkv is on B");

    let fetched = finished(&mut command(root, fetch, &[by[0], ("TICKET", &ticket)], &[]));
    assert!(fetched.status.success(), "{fetched:?}");
    assert_eq!(fs::read_to_string(machine("C").join("inbox/film.mkv")).unwrap(), "a film");

    let found = finished(&mut command(root, peers, &by, &[]));
    assert!(found.status.success(), "{found:?}");
    let found = all_told(&found, "peer");
    assert!(found.iter().any(|peer| peer["node_id"] == about["node_id"]), "{found:?}");
}
