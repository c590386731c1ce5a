//! Commands that use the node of `stt up`, and the swarm that it takes part in.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{fs, path::Path, process::Command, time::Instant};

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

    // It joins again by the members that it kept.
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

#[test]
fn nodes_share_and_fetch_for_commands() {
    let home = home();
    let a = Daemon::start(home.path(), "a", &[]);
    let b = Daemon::start(home.path(), "b", &["--bootstrap", a.told("address")]);
    fs::write(home.path().join("film.mkv"), "a film").unwrap();
    let mut share = by(home.path(), "a", &["share", "film.mkv"]);
    let shared = told(&finished(share.current_dir(home.path())), "shared");
    assert_eq!((&shared["name"], &shared["bytes"]), (&"film.mkv".into(), &6.into()));
    assert_eq!((&shared["node_id"], &shared["files"]), (&a.up["node_id"], &1.into()));
    assert_eq!(shared["addresses"][0], a.up["address"]);
    let ticket = shared["ticket"].as_str().unwrap();

    let mut fetch = by(home.path(), "b", &["fetch", ticket, "-o", "inbox"]);
    let fetched = finished(fetch.current_dir(home.path()));
    assert!(fetched.status.success(), "{fetched:?}");
    let fetched = told(&fetched, "fetched");
    assert_eq!((&fetched["bytes"], &fetched["name"]), (&6.into(), &"film.mkv".into()));
    assert_eq!(fetched["providers"][0]["node_id"], a.up["node_id"]);
    assert_eq!(fs::read_to_string(home.path().join("inbox/film.mkv")).unwrap(), "a film");
    // The same once more: it is there, and is not replaced.
    assert_eq!(code(fetch.current_dir(home.path())), "content.exists");

    // A node of the command's own fetches from it, too.
    let mut own = stt();
    own.args(["fetch", ticket, "--json", "--name", "again", "-o", "inbox", "--seed-file", "seed"]);
    let fetched = finished(own.current_dir(home.path()));
    assert!(fetched.status.success(), "{fetched:?}");

    let mut end = by(home.path(), "a", &["share", "film.mkv", "--end"]);
    let ended = finished(end.current_dir(home.path()));
    assert_eq!(told(&ended, "unshared")["blake3"], shared["blake3"]);
    assert_eq!(code(end.current_dir(home.path())), "share.unknown");
    let mut gone = by(home.path(), "b", &["fetch", ticket, "--name", "third", "-o", "inbox"]);
    assert_eq!(code(gone.current_dir(home.path())), "content.unavailable");
    assert_eq!(code(&mut by(home.path(), "b", &["fetch", "no ticket"])), "ticket.malformed");
    drop(b);
}

/// What commands see of a node's store is the same whether it runs or not.
#[test]
fn the_store_of_a_node_is_used_while_it_runs_and_after() {
    let home = home();
    let mut node = Daemon::start(home.path(), "a", &[]);
    let large: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(home.path().join("report"), &large).unwrap();
    let store = |words: &[&str]| {
        let words = [&["store"], words].concat();
        finished(by(home.path(), "a", &words).current_dir(home.path()))
    };
    let one = |words: &[&str]| -> Value {
        let done = store(words);
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let seen = || {
        let got = store(&["get", "greeting", "-o", "out", "--force"]);
        assert!(got.status.success(), "{got:?}");
        assert_eq!(fs::read(home.path().join("out")).unwrap(), large);
        let verified = one(&["verify"]);
        let stats = one(&["stats"]);
        let listed = store(&["ls"]);
        assert!(listed.status.success(), "{listed:?}");
        let mut listed: Vec<_> =
            listed.stdout.split(|byte| *byte == b'\n').map(Vec::from).collect();
        listed.sort();
        let files = [&verified["files"], &stats["files"], &stats["names"]].map(Clone::clone);
        (listed, files)
    };

    let first = one(&["put", "report", "--name", "greeting"]);
    assert_eq!((&first["bytes"], &first["name_pointed_to"]), (&300_000.into(), &Value::Null));
    fs::write(home.path().join("other"), "another").unwrap();
    let other = one(&["put", "other", "--name", "greeting"]);
    assert_eq!(other["name_pointed_to"], first["id"]);
    let third = one(&["put", "report", "--name", "greeting"]);
    assert_eq!((&third["id"], &third["name_pointed_to"]), (&first["id"], &other["id"]));
    assert_eq!(one(&["gc", "--dry-run"])["files"], 1);
    assert_eq!(one(&["gc"])["files"], 1);
    let pinned = one(&["put", "other"]);
    assert_eq!(one(&["put", "-"])["bytes"], 0);
    let gone = one(&["rm", pinned["id"].as_str().unwrap()]);
    assert!(gone["freed_bytes"].as_u64().unwrap() > 0, "{gone}");
    let running = seen();
    assert_eq!(running.1[0], 2);

    for (words, code) in [
        (&["get", "nothing", "-o", "none"][..], "store.not_found"),
        (&["rm", first["id"].as_str().unwrap()], "store.still_named"),
        (&["rm", ".stt/file/x"], "request.invalid"),
        (&["put", "report", "--quota", "5"], "usage.quota"),
        (&["ls", "--node-seed-file", "seed"], "usage.node_seed"),
    ] {
        assert_eq!(told(&store(words), "error")["code"], code);
    }
    // By the store's own directory it is somebody else's; and it is not made anew under its node.
    let seed = home.path().join("a/node.seed");
    let words = ["store", "ls", "--node-seed-file", seed.to_str().unwrap()];
    let mut inside = by(home.path(), "a/store", &words);
    for (refused, hint) in
        [(finished(&mut inside), "use --dir"), (store(&["rebuild"]), "end the node")]
    {
        let refused = told(&refused, "error");
        assert_eq!(refused["code"], "store.in_use", "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains(hint), "{refused}");
    }

    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
    assert_eq!(seen(), running);
}
