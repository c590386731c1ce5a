//! Joining the swarm: the arguments for it, and what commands print about it.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use stt::Node;
use stt_gateway::proto::v1::JoinSwarmRequest;
use stt_store::Chamber;
use stt_swarm::{Bootstrapped, Swarm, SwarmError, SwarmOptions};

use crate::{daemon::Client, error::CliError, figures, output::Output};

/// How often a node that stays looks whether it is linked with anybody.
const LOOK: Duration = Duration::from_secs(5);

/// The nodes that the swarm is joined through.
#[derive(Args)]
pub(crate) struct JoinArgs {
    /// Join the swarm by the node at this address; may be repeated, one that answers is enough.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Vec<String>,
}

/// Takes part for as long as the node is there. `chamber` keeps what outlives a restart.
pub(crate) async fn take_part_from(node: &Node, chamber: &Chamber) -> Result<Swarm, CliError> {
    let started = Swarm::start_with(node, &SwarmOptions::default(), chamber).await;
    started.map_err(|error| refused(&error))
}

/// Begins to take part. A node that `serves` keeps values for others and is named to them.
pub(crate) fn take_part(node: &Node, serves: bool) -> Result<Swarm, CliError> {
    Swarm::start(node, &SwarmOptions::default().serve(serves)).map_err(|error| refused(&error))
}

fn refused(error: &SwarmError) -> CliError {
    CliError::doing("this node takes no part in the swarm", error)
}

impl JoinArgs {
    /// Whether there is nobody to join by.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bootstrap.is_empty()
    }

    /// Joins, for a command that has to.
    pub(crate) async fn join(&self, swarm: &Swarm, output: &Output) -> Result<(), CliError> {
        let joined = swarm.dht().bootstrap(&self.bootstrap).await;
        let joined = joined.map_err(|error| refused(&error))?;
        tell(output, &joined);
        Ok(())
    }

    /// Has the running node join by these nodes as well, if any are named.
    pub(crate) async fn join_by(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        if self.is_empty() {
            return Ok(());
        }
        let request = JoinSwarmRequest { addresses: self.bootstrap.clone() };
        let joined = client.swarm().join_swarm(request).await;
        let joined = joined
            .map_err(|status| CliError::refused("the node did not join the swarm", &status))?
            .into_inner();
        told(output, &joined.reached, joined.known);
        Ok(())
    }

    /// Joins, and joins again whenever the node is linked with nobody. Who is not there yet is told
    /// once, if anybody is told anything, and tried again. Never ends.
    pub(crate) async fn stay(&self, swarm: &Swarm, output: Option<&Output>) {
        let (dht, mut told) = (swarm.dht(), false);
        while !self.is_empty() {
            let peers = dht.peers().await.unwrap_or_default();
            if !peers.iter().any(|peer| peer.linked) {
                match dht.bootstrap(&self.bootstrap).await {
                    Ok(joined) => {
                        if let Some(output) = output {
                            tell(output, &joined);
                        }
                        told = false;
                    }
                    Err(error) => {
                        if let Some(output) = output.filter(|_| !told) {
                            output.warning(&format!("{error}. It is tried again."));
                        }
                        told = true;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        std::future::pending().await
    }
}

fn tell(output: &Output, joined: &Bootstrapped) {
    let known = u64::try_from(joined.known).unwrap_or(u64::MAX);
    told(output, &joined.reached.to_string(), known);
}

fn told(output: &Output, reached: &str, known: u64) {
    let nodes = figures::counted(known, "node");
    output.note(&format!("Joined the swarm by {reached}; {nodes} known."));
    output.json_line(&json!({ "joined": { "reached": reached, "known": known } }));
}
