//! Joining the swarm: the arguments for it, and what commands print about it.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use stt::Node;
use stt_swarm::{Bootstrapped, Swarm, SwarmError, SwarmOptions};

use crate::{error::CliError, figures, output::Output};

/// How often a node that stays looks whether it is linked with anybody.
const LOOK: Duration = Duration::from_secs(5);

/// The nodes that the swarm is joined through.
#[derive(Args)]
pub(crate) struct JoinArgs {
    /// Join the swarm by the node at this address; may be repeated, one that answers is enough.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Vec<String>,
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
        tell(output, &joined.map_err(|error| refused(&error))?);
        Ok(())
    }

    /// Joins, and joins again whenever the node is linked with nobody. Who is not there yet is told
    /// once, and tried again. Never ends.
    pub(crate) async fn stay(&self, swarm: &Swarm, output: &Output) {
        let (dht, mut told) = (swarm.dht(), false);
        while !self.is_empty() {
            let peers = dht.peers().await.unwrap_or_default();
            if !peers.iter().any(|peer| peer.linked) {
                match dht.bootstrap(&self.bootstrap).await {
                    Ok(joined) => {
                        tell(output, &joined);
                        told = false;
                    }
                    Err(error) if !told => {
                        output.warning(&format!("{error}. It is tried again."));
                        told = true;
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        std::future::pending().await
    }
}

fn tell(output: &Output, joined: &Bootstrapped) {
    let known = u64::try_from(joined.known).unwrap_or(u64::MAX);
    output.note(&format!(
        "Joined the swarm by {}; {} known.",
        joined.reached,
        figures::counted(known, "node")
    ));
    output.json_line(&json!({
        "joined": { "reached": joined.reached.to_string(), "known": known }
    }));
}
