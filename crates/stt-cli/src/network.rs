//! What the commands that use a network share: the seed, the runtime, the end by Ctrl-C.

use std::{
    env,
    fmt::Display,
    future::Future,
    net::{Ipv6Addr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use stc::KeyParseError;
use stt::{ConnectOptions, Mode, Node, NodeBuilder, NodeId, SharedSeed, SharedSeedError};
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use crate::{error::CliError, output::Output, password, signals, terminal};

/// Environment variable that holds the seed.
const VARIABLE: &str = "STT_SEED";
/// How long a node that ends waits for what was sent to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a command that a signal ended, or that failed.
const LEAVE: Duration = Duration::from_secs(1);

/// Nodes that run. However a command ends, their peers are told.
static RUNNING: Mutex<Vec<Node>> = Mutex::new(Vec::new());

/// Which swarm, and who this node is in it.
#[derive(Args)]
pub(crate) struct SeedArgs {
    /// Read the shared seed from this file. STT_SEED works too; otherwise it is asked for.
    #[arg(long, value_name = "FILE")]
    seed_file: Option<PathBuf>,
    /// Refuse a seed that can be guessed instead of warning about it.
    #[arg(long)]
    strict_seed: bool,
    /// Keep one node id over restarts: it follows from the secret in this file.
    #[arg(long, value_name = "FILE")]
    node_seed_file: Option<PathBuf>,
    /// End when standard input ends, for programs that start this one.
    #[arg(long)]
    end_with_stdin: bool,
}

impl SeedArgs {
    /// The same, but the node id follows from the secret in `path` unless another file was named.
    pub(crate) fn or_node_seed(
        mut self,
        path: impl FnOnce() -> Result<PathBuf, CliError>,
    ) -> Result<Self, CliError> {
        if self.node_seed_file.is_none() {
            self.node_seed_file = Some(path()?);
        }
        Ok(self)
    }

    /// Ends the command when standard input ends, if that was asked for.
    pub(crate) fn watch_stdin(&self) {
        if self.end_with_stdin {
            signals::end_with_stdin();
        }
    }

    /// The file that the node id follows from, if one was named.
    pub(crate) fn node_seed_file(&self) -> Option<&Path> {
        self.node_seed_file.as_deref()
    }

    /// Settings of a node with this seed, after a warning if it can be guessed.
    pub(crate) fn builder(&self, output: &Output) -> Result<NodeBuilder, CliError> {
        self.watch_stdin();
        let seed = self.seed()?;
        if let (Some(warning), false) = (seed.is_guessable(), self.strict_seed) {
            output.warning(&warning.to_string());
        }
        let mut builder = Node::builder(seed).strict_seed(self.strict_seed);
        if let Some(path) = &self.node_seed_file {
            builder = builder.node_seed(password::from_file(path)?).persistent_identity(true);
        }
        Ok(builder)
    }

    fn seed(&self) -> Result<SharedSeed, CliError> {
        let bytes = match &self.seed_file {
            Some(path) => password::from_file(path)?,
            None => match env::var_os(VARIABLE) {
                Some(value) => Zeroizing::new(value.into_encoded_bytes()),
                None => ask()?,
            },
        };
        let bytes = password::composed(bytes);
        SharedSeed::from_bytes(&bytes).map_err(|error| {
            let failed = CliError::doing("the shared seed cannot be used", &error);
            match error {
                SharedSeedError::Key(KeyParseError::NotAKey) => failed
                    .with_hint("copy the whole line of `stt seed new`, with nothing beside it"),
                _ => failed,
            }
        })
    }
}

fn ask() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let typed = terminal::ask("Seed: ").map_err(|_| {
        CliError::new("seed.missing", "no seed was given, and there is no terminal to ask for it")
    })?;
    Ok(Zeroizing::new(typed.as_bytes().to_vec()))
}

/// Where to connect to.
#[derive(Args)]
pub(crate) struct PeerArgs {
    /// Reach only the node with this id, and nobody else who holds the seed.
    #[arg(long, value_name = "NODE_ID")]
    peer: Option<NodeId>,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,
}

impl PeerArgs {
    /// How long to wait for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    /// A node that only connects, and its session with `address`.
    pub(crate) async fn connect(
        &self,
        builder: NodeBuilder,
        address: &str,
    ) -> Result<(Node, stt::Session), CliError> {
        let node = start(builder.host(any_host()), Mode::Client).await?;
        let session = node
            .connect_with(address, &ConnectOptions::new().expect(self.peer).timeout(self.timeout()))
            .await
            .map_err(|error| CliError::doing(format!("no session with {address}"), &error))?;
        Ok((node, session))
    }
}

/// Where a node that only connects is bound. A name may have addresses of both families, and its
/// peer listen at any of them: a socket of IPv6 reaches both, but some machines have IPv4 only.
pub(crate) fn any_host() -> &'static str {
    if UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() { "::" } else { "0.0.0.0" }
}

/// Reads a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds, 0.01 to 86400".into()),
    }
}

/// Starts a node.
pub(crate) async fn start(builder: NodeBuilder, mode: Mode) -> Result<Node, CliError> {
    let started = builder.start(mode).await;
    let node = started.map_err(|error| CliError::doing("the node did not start", &error))?;
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(node.clone());
    Ok(node)
}

/// Takes sessions in, so that none waits to be accepted. Ends with the node.
pub(crate) async fn take_sessions(node: &Node) {
    while node.accept().await.is_some() {}
}

/// Ends the sessions of all nodes that still run, so that no peer waits for one that is gone.
async fn take_leave() {
    let nodes = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
    for node in nodes {
        node.stop_within(LEAVE).await;
    }
}

/// Stops a node after what it sent has arrived.
pub(crate) async fn stop(node: &Node) {
    RUNNING
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|other| other.node_id() != node.node_id());
    node.stop_within(PATIENCE).await;
}

/// Runs a command's future on a runtime of its own, until it is done or a signal ends it.
pub(crate) fn run<T>(
    command: impl Future<Output = Result<T, CliError>>,
) -> Result<Option<T>, CliError> {
    run_to_its_end(async {
        tokio::select! {
            done = command => done.map(Some),
            () = signals::wait() => Ok(None),
        }
    })
}

/// Runs a command's future, which waits for signals itself, on a runtime of its own.
pub(crate) fn run_to_its_end<T>(
    command: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let _hold = signals::hold();
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let done = command.await;
        take_leave().await;
        done
    });
    // A prompt or a slow disk must not keep a finished command.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

fn runtime() -> Result<Runtime, CliError> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new("system.runtime", format!("no runtime: {error}")))
}

/// The error for a transfer that was ended by a signal.
pub(crate) fn interrupted(what: impl Display) -> CliError {
    CliError::interrupted(what).with_hint("run the same again: it goes on where it stopped")
}
