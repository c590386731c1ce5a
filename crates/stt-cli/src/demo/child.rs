//! This program, run as a node of its own, and what it prints.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{error::CliError, signals};

/// How long a node may stay silent before the demonstration gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether the demonstration was told to end.
const LOOK: Duration = Duration::from_millis(100);

/// A node in a process of its own. Dropping it ends the process.
pub(crate) struct Child {
    role: &'static str,
    process: std::process::Child,
    lines: Receiver<Value>,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Child {
    /// Starts this program with `--json`, the seed in a file, and the given arguments.
    pub(crate) fn start(
        role: &'static str,
        seed: &Path,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Self, CliError> {
        let failed = |error| CliError::new("demo.process", format!("no {role}: {error}"));
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        arguments(&mut command);
        command.args(["--json", "--end-with-stdin", "--seed-file"]).arg(seed);
        // Its other end goes with this process, however that ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        let (said, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let Ok(line) = serde_json::from_str(&line) else { continue };
                    if said.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = process.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = stderr.read_to_string(&mut text);
                text
            })
        });
        Ok(Self { role, process, lines, stderr })
    }

    /// Waits until it says something under the key `what`; every other line goes to `other`.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        mut other: impl FnMut(&Value),
    ) -> Result<Value, CliError> {
        let mut waited = Duration::ZERO;
        loop {
            if signals::seen() {
                return Err(CliError::interrupted("the demonstration"));
            }
            match self.lines.recv_timeout(LOOK) {
                Ok(mut line) => {
                    if let Some(error) = line.get("error") {
                        let message = error.get("message").and_then(Value::as_str);
                        let message = message.unwrap_or("it failed");
                        let causes = error.get("causes").and_then(Value::as_array);
                        let causes = causes.into_iter().flatten().filter_map(Value::as_str);
                        let causes: Vec<_> = causes.collect();
                        let text = format!("the {}: {message}", self.role);
                        return Err(
                            CliError::new("demo.node", text).with_causes(&causes.join("\n"))
                        );
                    }
                    if let Some(value) = line.get_mut(what) {
                        return Ok(value.take());
                    }
                    other(&line);
                    waited = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout) if waited < PATIENCE => waited += LOOK,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = PATIENCE.as_secs();
                    let text = format!("the {} said nothing for {seconds} s", self.role);
                    return Err(CliError::new("demo.silent", text));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let stderr = self.stderr.take().and_then(|stderr| stderr.join().ok());
                    let text = format!("the {} ended too early", self.role);
                    return Err(
                        CliError::new("demo.ended", text).with_causes(&stderr.unwrap_or_default())
                    );
                }
            }
        }
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        // `wait` would close it, and tell the node to end.
        let _stdin = self.process.stdin.take();
        match self.process.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(CliError::new("demo.exit", format!("the {} ended with {status}", self.role)))
            }
            Err(error) => Err(CliError::new("demo.process", format!("the {}: {error}", self.role))),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Only one that is still running is affected, and there is nobody to tell of a failure.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
