//! Commands that use the node of `stt up`, and the swarm that it takes part in.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{path::Path, process::Command, time::Instant};

use serde_json::Value;

use crate::children::{DEADLINE, Running, all_told, finished, told};
use crate::common::{home, stt};
use crate::daemon::Daemon;

/// A command that uses the node in `dir`.
fn by(home: &Path, dir: &str, words: &[&str]) -> Command {
    let mut command = stt();
    command.args(words).arg("--json").arg("--dir").arg(home.join(dir));
    command
}

fn code(command: &mut Command) -> Value {
    let failed = finished(command);
    assert!(!failed.status.success(), "{failed:?}");
    told(&failed, "error")["code"].take()
}

#[test]
fn two_nodes_are_one_swarm_and_commands_use_them() {
    let home = home();
    let a = Daemon::start(home.path(), "a", &[]);
    let at = a.told("address").to_owned();
    let mut b = Daemon::start(home.path(), "b", &["--bootstrap", &at]);
    assert_eq!(a.up["swarm"], true);

    let began = Instant::now();
    loop {
        assert!(began.elapsed() < DEADLINE);
        let found = finished(&mut by(home.path(), "b", &["peers"]));
        assert!(found.status.success(), "{found:?}");
        let found = all_told(&found, "peer");
        if found.iter().any(|peer| peer["node_id"] == a.up["node_id"] && peer["linked"] == true) {
            break;
        }
    }

    let mut subscriber = Running::start(&mut by(home.path(), "a", &["sub", "news"]));
    let about = subscriber.line_with("subscribed");
    assert_eq!((&about["node_id"], &about["address"]), (&a.up["node_id"], &a.up["address"]));
    let published = finished(&mut by(home.path(), "b", &["pub", "news", "hello"]));
    assert!(published.status.success(), "{published:?}");
    assert_eq!(told(&published, "published")["confirmed"], 1);
    let message = subscriber.line_with("message");
    assert_eq!((&message["text"], &message["publisher"]), (&"hello".into(), &b.up["node_id"]));
    // A node's own programs have it, too, though nobody else is asked.
    let published = finished(&mut by(home.path(), "a", &["pub", "news", "of its own"]));
    assert!(published.status.success(), "{published:?}");
    assert_eq!(told(&published, "published")["subscribers"], 0);
    assert_eq!(subscriber.line_with("message")["text"], "of its own");
    // A node of the command's own meets them.
    let mut command = stt();
    command.args(["pub", "news", "from outside", "--json", "--bootstrap", &at, "--seed-file"]);
    let published = finished(command.arg(home.path().join("seed")));
    assert_eq!(told(&published, "published")["confirmed"], 1);
    assert_eq!(subscriber.line_with("message")["text"], "from outside");

    b.terminate();
    assert_eq!(b.wait().code(), Some(0));
    assert_eq!(code(&mut by(home.path(), "b", &["pub", "news", "hello"])), "up.not_running");
}

#[test]
fn a_subscription_outlives_a_restart_of_its_node() {
    let home = home();
    let mut node = Daemon::start(home.path(), "a", &[]);
    let id = node.up["node_id"].clone();
    let mut subscriber = Running::start(&mut by(home.path(), "a", &["sub", "news"]));
    assert_eq!(subscriber.line_with("subscribed")["node_id"], id);
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
    let _again = Daemon::start(home.path(), "a", &[]);
    assert_eq!(subscriber.line_with("subscribed")["node_id"], id);
    let published = finished(&mut by(home.path(), "a", &["pub", "news", "still there"]));
    assert!(published.status.success(), "{published:?}");
    assert_eq!(subscriber.line_with("message")["text"], "still there");
}

#[test]
fn what_a_node_cannot_do_is_said_with_what_to_do() {
    let home = home();
    let node = Daemon::start(home.path(), "a", &["--no-swarm"]);
    assert_eq!(node.up["swarm"], false);
    for words in [&["pub", "news", "hello"][..], &["sub", "news"], &["peers"]] {
        assert_eq!(code(&mut by(home.path(), "a", words)), "request.no_swarm", "{words:?}");
        assert_eq!(code(&mut by(home.path(), "b", words)), "up.not_running", "{words:?}");
        // What a command's own node would need says nothing to one that runs.
        let mut both = by(home.path(), "a", words);
        assert_eq!(code(both.arg("--seed-file").arg(home.path().join("seed"))), "usage.arguments");
    }
    let mut other = stt();
    other.args(["up", "--no-swarm", "--bootstrap", "127.0.0.1:1", "--json", "--seed-file"]);
    other.arg(home.path().join("seed")).arg("--dir").arg(home.path().join("b"));
    assert_eq!(code(&mut other), "usage.no_swarm");
}
