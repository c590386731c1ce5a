//! `stt ping`: is it there, does it hold the seed, how far is it.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use stt::Session;
use tokio::time::{sleep, timeout};

use crate::{
    error::CliError,
    figures,
    network::{self, PeerArgs, SeedArgs},
    output::Output,
    signals,
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

/// What came back.
struct Answers {
    asked: u32,
    times: Vec<Duration>,
}

impl PingCommand {
    /// Asks as often as was wanted. An answer that does not come in time is told, and the next
    /// question asked.
    async fn ask_all(
        &self,
        session: &Session,
        answers: &mut Answers,
        output: &Output,
    ) -> Result<(), CliError> {
        for number in 1..=self.count {
            answers.asked = number;
            match timeout(self.peer.timeout(), session.ping()).await {
                Ok(Ok(time)) => {
                    output.result(
                        &format!("{number}: {}", figures::duration(time)),
                        &json!({ "ping": number, "ms": figures::milliseconds(time) }),
                    );
                    answers.times.push(time);
                }
                Ok(Err(error)) => {
                    return Err(CliError::doing(format!("no answer {number}"), &error));
                }
                Err(_) => output.result(
                    &format!("{number}: no answer"),
                    &json!({ "ping": number, "ms": null }),
                ),
            }
            if number < self.count {
                sleep(Duration::from_millis(self.interval)).await;
            }
        }
        Ok(())
    }

    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let builder = self.seed.builder(output)?;
        let answers = network::run_to_its_end(async {
            let (node, session) = tokio::select! {
                connected = self.peer.connect(builder, &self.address) => connected?,
                () = signals::wait() => return Err(CliError::interrupted("connecting")),
            };
            let handshake = session.stats().handshake_time;
            let peer = session.peer_node_id().to_string();
            output.result(
                &format!("{} is {peer}, handshake {}", self.address, figures::duration(handshake)),
                &json!({ "connected": figures::session(&session) }),
            );
            let mut answers = Answers { asked: 0, times: Vec::new() };
            let asked = tokio::select! {
                asked = self.ask_all(&session, &mut answers, output) => asked,
                () = signals::wait() => Ok(()),
            };
            network::stop(&node).await;
            asked.map(|()| answers)
        })?;
        let Answers { asked, mut times } = answers;
        if times.is_empty() {
            return Err(CliError::new(
                "ping.no_answer",
                format!("{} did not answer", self.address),
            ));
        }
        times.sort_unstable();
        if let (Some(least), Some(most), Some(median)) =
            (times.first(), times.last(), times.get(times.len() / 2))
        {
            let [least, median, most] = [*least, *median, *most];
            output.result(
                &format!(
                    "{} answers to {asked}: least {}, median {}, most {}",
                    times.len(),
                    figures::duration(least),
                    figures::duration(median),
                    figures::duration(most)
                ),
                &json!({
                    "answers": times.len(),
                    "asked": asked,
                    "least_ms": figures::milliseconds(least),
                    "median_ms": figures::milliseconds(median),
                    "most_ms": figures::milliseconds(most),
                }),
            );
        }
        Ok(())
    }
}
