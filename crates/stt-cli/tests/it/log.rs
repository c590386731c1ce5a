//! The log of `stt up`, and its levels while it runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::children::{DEADLINE, Running, finished, told};
use crate::common::{home, stt};

fn levels(home: &Path, more: &[&str]) -> Command {
    let mut command = stt();
    command.args(["log", "--json", "--dir"]).arg(home.join("a")).args(more);
    command
}

#[test]
fn levels_change_while_the_node_runs() {
    let home = home();
    let log = home.path().join("log");
    let mut command = stt();
    command.args(["up", "--listen", "127.0.0.1:0", "--json", "--log", "off", "--seed-file"]);
    command.arg(home.path().join("seed")).arg("--dir").arg(home.path().join("a"));
    command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
    let mut node = Running::of(command.spawn().unwrap());
    let up = node.line_with("up");
    let before = fs::read_to_string(&log).unwrap();
    assert!(!before.contains("DEBUG"), "{before}");

    assert_eq!(told(&finished(&mut levels(home.path(), &[])), "log")["levels"], "off");
    let set = finished(&mut levels(home.path(), &["warn,stt_swarm=debug"]));
    let set = told(&set, "log")["levels"].take();
    assert!(set.as_str().unwrap().contains("stt_swarm=debug"), "{set}");
    // Something happens, and is told.
    let began = Instant::now();
    loop {
        let mut peers = stt();
        peers.args(["peers", "--json", "--bootstrap", up["address"].as_str().unwrap()]);
        let peers = finished(peers.arg("--seed-file").arg(home.path().join("seed")));
        assert!(peers.status.success(), "{peers:?}");
        let now = fs::read_to_string(&log).unwrap();
        if now.contains("DEBUG stt_swarm") && now.contains("linked") {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "{now}");
    }
    let refused = told(&finished(&mut levels(home.path(), &["loudly"])), "error");
    assert_eq!(refused["code"], "request.invalid", "{refused}");
}
