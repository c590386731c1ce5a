//! `stt up`: a node, its store and the gateway in one process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::json;
use stt::{Mode, Node};
use stt_gateway::{Drained, Gateway, GatewaySettings, Token};
use stt_store::{Chamber, ChamberKey, ChamberOptions};
use stt_swarm::Swarm;

use crate::{
    daemon::{Claim, Phase, Record},
    drops,
    error::CliError,
    listen::ListenArgs,
    logging,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    node_seed,
    output::Output,
    path_text::shown,
    settings_file, signals, supervisor,
};

#[derive(Args)]
#[command(mut_arg("bootstrap", |argument| argument.value_delimiter(',')))]
pub(crate) struct UpCommand {
    /// Directory of the node: what it is, its store, and what other commands need to reach it. Made
    /// if it is not there.
    #[arg(long, value_name = "DIR", env = "STT_UP_DIR", hide_env = true)]
    dir: PathBuf,
    /// Read settings from this file, or from DIR/stt.toml if there is one. `stt config` prints all.
    #[arg(long, value_name = "FILE", env = "STT_UP_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    /// Where the gateway listens for programs on this machine: a loopback address; port 0 is a
    /// random free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    gateway: SocketAddr,
    /// Let pages of this origin call by gRPC-Web, such as https://example.com. May be repeated.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    origin: Vec<String>,
    /// Do not tell callers which services there are.
    #[arg(long)]
    no_reflection: bool,
    /// Seconds that calls and sessions have to end when the node is told to.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = network::seconds)]
    drain: f64,
    /// What of the log is told on stderr: `warn` for all, `warn,stt_swarm=debug` for more of one
    /// component. off, error, warn, info, debug and trace are levels. `stt log` changes it later.
    // A node that is alone would warn of having nobody to ask.
    #[arg(long, value_name = "LEVELS", default_value = "warn,libp2p_kad=error")]
    log: String,
    #[command(flatten)]
    join: JoinArgs,
    /// Take no part in the swarm of those who hold the seed: no topics, and only its ticket says
    /// where a shared content is.
    #[arg(long)]
    no_swarm: bool,
    #[command(flatten)]
    seed: SeedArgs,
}

impl UpCommand {
    /// The file with its settings, if there is one.
    pub(crate) fn settings_file(&self) -> Option<PathBuf> {
        settings_file::file_of(&self.dir, self.config.as_ref())
    }

    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let refused = |error| CliError::doing("the gateway did not start", &error);
        if self.no_swarm && !self.join.is_empty() {
            let what = "a node that takes no part in the swarm has nobody to join it by";
            return Err(CliError::new("usage.no_swarm", what));
        }
        let log = logging::start(&self.log, output)?;
        let mut claim = Claim::take(&self.dir)?;
        let dir = claim.dir().to_owned();
        let seed = self.seed.or_node_seed(|| {
            let path = dir.join("node.seed");
            if !path.exists() {
                node_seed::create_at(&path, output)?;
            }
            Ok(path)
        })?;
        let token_file = dir.join("token");
        let mut settings = GatewaySettings::new()
            .listen(self.gateway)
            .origins(self.origin)
            .reflection(!self.no_reflection)
            .log_levels(log)
            .token(Token::load_or_create(&token_file).map_err(refused)?);
        settings.check().map_err(refused)?;
        let store = dir.join("store");
        let builder = self.listen.apply(seed.builder(output)?)?.chamber_path(&store);
        let drain = Duration::from_secs_f64(self.drain);
        network::run_to_its_end(async {
            let node = network::start(builder, Mode::Server).await?;
            let chamber = node.chamber().await;
            let chamber =
                chamber.map_err(|error| CliError::doing("the store was not opened", &error))?;
            let swarm = match self.no_swarm {
                true => None,
                false => Some(take_part(&node, &seed, &dir.join("swarm"), output).await?),
            };
            if let Some(swarm) = &swarm {
                settings = settings.swarm(swarm.clone());
            }
            let gateway = Gateway::start(node.clone(), chamber, settings).await.map_err(refused)?;
            let mut record = Record {
                state: Phase::Running,
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at_ms: now_ms(),
                node_id: node.node_id().to_string(),
                address: node.local_addr().to_string(),
                websocket: node.websocket_addr().map(|at| format!("ws://{at}")),
                gateway: format!("http://{}", gateway.local_addr()),
                token_file,
                store,
                swarm: swarm.is_some(),
            };
            claim.tell(&record)?;
            say_where(output, &record);
            supervisor::is_ready(output);
            tokio::select! {
                () = signals::wait() => {}
                () = complain(&node, output) => {}
                () = stay(&self.join, swarm.as_ref(), output) => {}
            }
            record.state = Phase::Stopping;
            supervisor::is_stopping(output);
            // Who does not learn of it in time finds a gateway that refuses.
            if let Err(error) = claim.tell(&record) {
                output.error(&error);
            }
            stop(&node, gateway, drain, output).await;
            Ok(())
        })
    }
}

/// Takes part in the swarm, with a chamber of its own: what others have the node keep is no file of
/// its user.
async fn take_part(
    node: &Node,
    seed: &SeedArgs,
    dir: &Path,
    output: &Output,
) -> Result<Swarm, CliError> {
    let unopened = |error| CliError::doing("the swarm's store was not opened", &error);
    let seed = node_seed::load(seed.node_seed_file(), false, output)?;
    let key = ChamberKey::from_seed_async(seed).await.map_err(unopened)?;
    let chamber = Chamber::open(&key, dir, ChamberOptions::default()).await.map_err(unopened)?;
    members::take_part_from(node, &chamber).await
}

/// Stays in the swarm. Never ends.
async fn stay(join: &JoinArgs, swarm: Option<&Swarm>, output: &Output) {
    match swarm {
        // Programs read one line, as below.
        Some(swarm) => join.stay(swarm, (!output.is_json()).then_some(output)).await,
        None => std::future::pending().await,
    }
}

/// Programs read one line and may never read another; a full pipe must not stop the node.
async fn complain(node: &Node, output: &Output) {
    if output.is_json() {
        return std::future::pending().await;
    }
    drops::watch(node, output).await;
}

fn say_where(output: &Output, record: &Record) {
    let websocket = record.websocket.as_ref();
    output.note(&format!(
        "Listening on {}{} as {}.\nGateway on {}; its token is in {}.\nCtrl-C ends it.",
        record.address,
        websocket.map(|at| format!(" and {at}")).unwrap_or_default(),
        record.node_id,
        record.gateway,
        shown(&record.token_file),
    ));
    output.json_line(&json!({ "up": record }));
}

/// Ends the gateway, then the node, within `drain`.
async fn stop(node: &Node, gateway: Gateway, drain: Duration, output: &Output) {
    output.note("Ending what runs. Ctrl-C once more ends it at once.");
    let begun = Instant::now();
    if gateway.stop(drain.mul_f64(0.75)).await == Drained::Cut {
        output.note("Some calls did not end in time, and were ended.");
    }
    node.stop_within(drain.saturating_sub(begun.elapsed())).await;
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
