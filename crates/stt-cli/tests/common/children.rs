//! Processes of a test: whatever they do, it ends.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it"
)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel},
    thread,
    time::Duration,
};

use serde_json::Value;

/// Longest time of anything here, on a machine that does much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A process whose standard output is JSON lines. Killed with this.
pub(crate) struct Running {
    process: Child,
    lines: Receiver<Value>,
}

impl Running {
    /// Starts one without a standard input.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::of(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// One whose standard output is a pipe.
    pub(crate) fn of(mut process: Child) -> Self {
        let from = BufReader::new(process.stdout.take().unwrap());
        // Lines that nobody takes are left to the process.
        let (sender, lines) = sync_channel(0);
        thread::spawn(move || {
            for line in from.lines() {
                let Ok(line) = line else { return };
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { process, lines }
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.process.stdin.take().unwrap()
    }

    pub(crate) fn line(&mut self) -> Value {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// What stands under `key` in the next line that has it.
    pub(crate) fn line_with(&mut self, key: &str) -> Value {
        loop {
            if let Some(value) = self.line().get_mut(key) {
                return value.take();
            }
        }
    }

    /// Whether a line with `key` comes within a second.
    pub(crate) fn has_line_with(&mut self, key: &str) -> bool {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(1)) {
                Ok(line) if line.get(key).is_some() => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a process to its end.
pub(crate) fn finished(command: &mut Command) -> Output {
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = process.id();
    let (sender, output) = channel();
    thread::spawn(move || sender.send(process.wait_with_output()));
    output
        .recv_timeout(DEADLINE)
        .unwrap_or_else(|_| {
            let id = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            panic!("it does not end");
        })
        .unwrap()
}

/// What stands under `key` in all lines of JSON that have it.
pub(crate) fn all_told(output: &Output, key: &str) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|mut line| line.get_mut(key).map(Value::take)).collect()
}

/// What stands under `key` in the last line of JSON that has it.
pub(crate) fn told(output: &Output, key: &str) -> Value {
    all_told(output, key).pop().unwrap_or_else(|| panic!("no {key} in {output:?}"))
}
