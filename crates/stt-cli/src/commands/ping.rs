//! `stt ping`: is it there, does it hold the seed, how far is it.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    error::CliError,
    figures,
    network::{self, PeerArgs, SeedArgs},
    output::Output,
};

#[derive(Args)]
pub(crate) struct PingCommand {
    /// The node to ask.
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// How often to ask.
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Milliseconds from one question to the next.
    #[arg(short, long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    interval: u64,
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl PingCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let builder = self.seed.builder(output)?;
        let times = network::run(async {
            let (node, session) = self.peer.connect(builder, &self.address).await?;
            let handshake = session.stats().handshake_time;
            let peer = session.peer_node_id().to_string();
            output.result(
                &format!("{} is {peer}, handshake {}", self.address, figures::duration(handshake)),
                &json!({ "connected": figures::session(&session) }),
            );
            let mut times = Vec::new();
            for number in 1..=self.count {
                let time = session
                    .ping()
                    .await
                    .map_err(|error| CliError::doing(format!("no answer {number}"), &error))?;
                output.result(
                    &format!("{number}: {}", figures::duration(time)),
                    &json!({ "ping": number, "ms": figures::milliseconds(time) }),
                );
                times.push(time);
                if number < self.count {
                    tokio::time::sleep(Duration::from_millis(self.interval)).await;
                }
            }
            network::stop(&node).await;
            Ok(times)
        })?;
        let Some(mut times) = times else { return Ok(()) };
        times.sort_unstable();
        if let (Some(least), Some(most), Some(median)) =
            (times.first(), times.last(), times.get(times.len() / 2))
        {
            let [least, median, most] = [*least, *median, *most];
            output.result(
                &format!(
                    "{} answers: least {}, median {}, most {}",
                    times.len(),
                    figures::duration(least),
                    figures::duration(median),
                    figures::duration(most)
                ),
                &json!({
                    "answers": times.len(),
                    "least_ms": figures::milliseconds(least),
                    "median_ms": figures::milliseconds(median),
                    "most_ms": figures::milliseconds(most),
                }),
            );
        }
        Ok(())
    }
}
