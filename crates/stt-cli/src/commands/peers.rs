//! `stt peers`: who is in the swarm.

use clap::Args;
use serde_json::json;
use stt::Mode;

use crate::{
    error::CliError,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
};

#[derive(Args)]
#[command(mut_arg("bootstrap", |argument| argument.required(true)))]
pub(crate) struct PeersCommand {
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl PeersCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let builder = self.seed.builder(output)?.host(network::any_host());
        let found = network::run(async {
            let node = network::start(builder, Mode::Client).await?;
            let swarm = members::take_part(&node, false)?;
            self.join.join(&swarm, output).await?;
            let peers = swarm.dht().peers().await;
            let peers =
                peers.map_err(|error| CliError::doing("the swarm does not answer", &error))?;
            for peer in &peers {
                let addresses: Vec<_> = peer.addresses.iter().map(ToString::to_string).collect();
                output.result(
                    &format!("{} {}", peer.node_id, addresses.join(",")),
                    &json!({
                        "peer": {
                            "node_id": peer.node_id.to_string(),
                            "addresses": addresses,
                            "linked": peer.linked,
                        }
                    }),
                );
            }
            network::stop(&node).await;
            Ok(())
        })?;
        found.ok_or_else(|| CliError::interrupted("looking for peers"))
    }
}
