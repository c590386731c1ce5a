//! `stt sub`: what members publish on a topic.

use clap::Args;
use serde_json::json;
use stt::{Mode, Node};
use stt_swarm::{TopicEvent, TopicMessage, TopicSubscription};

use super::send::hex;
use crate::{
    drops,
    error::CliError,
    figures,
    listen::ListenArgs,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
};

#[derive(Args)]
pub(crate) struct SubCommand {
    /// The topic.
    topic: String,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl SubCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let builder = self.listen.apply(self.seed.builder(output)?)?;
        network::run(async {
            let node = network::start(builder, Mode::Server).await?;
            let ended = self.subscribe(&node, output).await;
            network::stop(&node).await;
            ended
        })?;
        Ok(())
    }

    async fn subscribe(&self, node: &Node, output: &Output) -> Result<(), CliError> {
        let swarm = members::take_part(node, true)?;
        let subscription = swarm.pubsub().subscribe(&self.topic).await.map_err(|error| {
            CliError::doing(format!("no subscription to {}", self.topic), &error)
        })?;
        output.note(&format!(
            "Subscribed to {} on {} as {}, until Ctrl-C.",
            self.topic,
            node.local_addr(),
            node.node_id()
        ));
        output.json_line(&json!({
            "subscribed": {
                "topic": self.topic,
                "address": node.local_addr().to_string(),
                "node_id": node.node_id().to_string(),
            }
        }));
        tokio::select! {
            () = print_all(subscription, output) => {}
            () = self.join.stay(&swarm, output) => {}
            () = network::take_sessions(node) => {}
            () = drops::watch(node, output) => {}
        }
        Ok(())
    }
}

/// Prints messages as they come, until the swarm ends.
async fn print_all(mut subscription: TopicSubscription, output: &Output) {
    while let Some(event) = subscription.next().await {
        match event {
            TopicEvent::Message(message) => {
                let printing = output.clone();
                // A reader may be slow, which is not the network's fault.
                let printed = tokio::task::spawn_blocking(move || print(&message, &printing));
                let _ = printed.await;
            }
            TopicEvent::Gap { missed } => {
                let lost = figures::counted(missed, "message");
                output.note(&format!(
                    "warning: {lost} lost here: this reader is too slow, or somebody floods"
                ));
                output.json_line(&json!({ "gap": { "missed": missed } }));
            }
            _ => {}
        }
    }
}

fn print(message: &TopicMessage, output: &Output) {
    let text = std::str::from_utf8(&message.data).ok();
    let hex = text.is_none().then(|| hex(&message.data));
    output.result(
        text.or(hex.as_deref()).unwrap_or_default(),
        &json!({
            "message": {
                "topic": &*message.topic,
                "text": text,
                "hex": hex,
                "publisher": message.publisher.to_string(),
                "started": message.sequence.started,
                "count": message.sequence.count,
            }
        }),
    );
}
