//! `stt up` as a process, and calls to it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it"
)]

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use stt_gateway::Token;
use tonic::{Request, transport::Channel};

use crate::common::stt;

/// How long anything may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A node that runs, and is killed with this.
pub(crate) struct Daemon {
    pub(crate) process: Child,
    /// What it told of itself.
    pub(crate) up: Value,
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Daemon {
    /// Starts one in `dir` with the seed of `home`.
    pub(crate) fn start(home: &Path, dir: &str, more: &[&str]) -> Self {
        let mut process = stt()
            .args(["up", "--listen", "127.0.0.1:0", "--json", "--seed-file"])
            .arg(home.join("seed"))
            .arg("--dir")
            .arg(home.join(dir))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let mut line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["up"].is_object(), "{line}");
        Self { process, up: line["up"].take(), _lines: lines }
    }

    pub(crate) fn told(&self, name: &str) -> &str {
        self.up[name].as_str().unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.told("gateway").to_owned()).unwrap().connect().await.unwrap()
    }

    /// A request that shows the token.
    pub(crate) fn shown<T>(&self, message: T) -> Request<T> {
        let token = Token::load(Path::new(self.told("token_file"))).unwrap();
        let mut request = Request::new(message);
        let header = format!("Bearer {}", token.reveal()).parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        request
    }

    /// Asks it to end, as a supervisor does.
    pub(crate) fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LONG, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
