//! `stt peers`: who is in the swarm.

use std::path::Path;

use clap::Args;
use serde_json::json;
use stt::Mode;
use stt_gateway::proto::v1::ListMembersRequest;

use crate::{
    daemon::{self, NodeArgs},
    error::CliError,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
};

#[derive(Args)]
#[command(mut_arg("bootstrap", |argument| argument.required_unless_present("dir")))]
pub(crate) struct PeersCommand {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl PeersCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let found = match self.node.dir() {
            Some(dir) => {
                self.seed.watch_stdin();
                network::run(self.ask(dir, output))
            }
            None => self.look(output),
        };
        found?.ok_or_else(|| CliError::interrupted("looking for peers"))
    }

    /// Asks the node that runs in `dir`.
    async fn ask(&self, dir: &Path, output: &Output) -> Result<(), CliError> {
        let client = daemon::connect(dir).await?;
        self.join.join_by(&client, output).await?;
        let members = client.swarm().list_members(ListMembersRequest {}).await;
        let members =
            members.map_err(|status| CliError::refused("the node does not say", &status))?;
        for member in members.into_inner().members {
            tell(&member.id, &member.addresses, member.linked, output);
        }
        Ok(())
    }

    /// Looks with a node of its own.
    fn look(&self, output: &Output) -> Result<Option<()>, CliError> {
        let builder = self.seed.builder(output)?.host(network::any_host());
        network::run(async {
            let node = network::start(builder, Mode::Client).await?;
            let swarm = members::take_part(&node, false)?;
            self.join.join(&swarm, output).await?;
            let peers = swarm.dht().peers().await;
            let peers =
                peers.map_err(|error| CliError::doing("the swarm does not answer", &error))?;
            for peer in &peers {
                let addresses: Vec<_> = peer.addresses.iter().map(ToString::to_string).collect();
                tell(&peer.node_id.to_string(), &addresses, peer.linked, output);
            }
            network::stop(&node).await;
            Ok(())
        })
    }
}

fn tell(node_id: &str, addresses: &[String], linked: bool, output: &Output) {
    output.result(
        &format!("{node_id} {}", addresses.join(",")),
        &json!({ "peer": { "node_id": node_id, "addresses": addresses, "linked": linked } }),
    );
}
