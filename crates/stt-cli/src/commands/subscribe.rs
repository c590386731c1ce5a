//! `stt sub`: what members publish on a topic.

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::json;
use stt::{Bytes, Mode, Node};
use stt_gateway::proto::v1::{self, SubscribeRequest, topic_event};
use stt_swarm::{Sequence, TopicEvent, TopicSubscription};
use tonic::Streaming;

use super::send::hex;
use crate::{
    daemon::{self, Client, NodeArgs},
    drops,
    error::CliError,
    figures,
    listen::ListenArgs,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
};

/// How often it is looked whether a node runs again.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Args)]
#[command(mut_arg("dir", |argument| argument.conflicts_with_all(["listen", "websocket"])))]
pub(crate) struct SubCommand {
    /// The topic.
    topic: String,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl SubCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        if let Some(dir) = self.node.dir() {
            self.seed.watch_stdin();
            network::run(self.subscribe_by(dir, output))?;
            return Ok(());
        }
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
        self.say_so(&node.local_addr().to_string(), &node.node_id().to_string(), output);
        tokio::select! {
            () = print_all(subscription, output) => {}
            () = self.join.stay(&swarm, Some(output)) => {}
            () = network::take_sessions(node) => {}
            () = drops::watch(node, output) => {}
        }
        Ok(())
    }

    /// Subscribes by the node that runs in `dir`, and again whenever that was restarted. Never ends
    /// well.
    async fn subscribe_by(&self, dir: &Path, output: &Output) -> Result<(), CliError> {
        let mut client = daemon::connect(dir).await?;
        self.join.join_by(&client, output).await?;
        loop {
            let request = SubscribeRequest { topic: self.topic.clone() };
            let refused =
                |status| CliError::refused(format!("no subscription to {}", self.topic), &status);
            let events = client.topics().subscribe(request).await.map_err(refused)?.into_inner();
            let record = client.record();
            self.say_so(&record.address, &record.node_id, output);
            print_all_of(events, output).await;
            output.note("The node ended. Its messages come again once it runs again.");
            client = back(dir).await?;
        }
    }

    fn say_so(&self, address: &str, node_id: &str, output: &Output) {
        output.note(&format!(
            "Subscribed to {} on {address} as {node_id}, until Ctrl-C.",
            self.topic
        ));
        output.json_line(&json!({
            "subscribed": { "topic": self.topic, "address": address, "node_id": node_id }
        }));
    }
}

/// The node that runs in `dir`, once it runs again.
async fn back(dir: &Path) -> Result<Client, CliError> {
    loop {
        tokio::time::sleep(AGAIN).await;
        match Client::connect(dir).await {
            Ok(Some(client)) => return Ok(client),
            Ok(None) => {}
            Err(error) if error.has_code("up.stopping") || error.has_code("up.no_answer") => {}
            Err(error) => return Err(error),
        }
    }
}

/// Prints messages as they come, until the swarm ends.
async fn print_all(mut subscription: TopicSubscription, output: &Output) {
    while let Some(event) = subscription.next().await {
        match event {
            TopicEvent::Message(message) => {
                let heard = Heard {
                    topic: message.topic.to_string(),
                    data: message.data,
                    publisher: message.publisher.to_string(),
                    sequence: message.sequence,
                };
                heard.print(output).await;
            }
            TopicEvent::Gap { missed } => tell_gap(missed, output),
            _ => {}
        }
    }
}

/// The same for messages of a running node, until it ends.
async fn print_all_of(mut events: Streaming<v1::TopicEvent>, output: &Output) {
    // However it ends, there is nothing but to wait for the node.
    while let Ok(Some(event)) = events.message().await {
        match event.event {
            Some(topic_event::Event::Message(message)) => {
                let v1::Sequence { started, count } = message.sequence.unwrap_or_default();
                let heard = Heard {
                    topic: message.topic,
                    data: message.data,
                    publisher: message.publisher,
                    sequence: Sequence { started, count },
                };
                heard.print(output).await;
            }
            Some(topic_event::Event::Gap(gap)) => tell_gap(gap.missed, output),
            None => {}
        }
    }
}

fn tell_gap(missed: u64, output: &Output) {
    let lost = figures::counted(missed, "message");
    output.note(&format!("warning: {lost} lost here: this reader is too slow, or somebody floods"));
    output.json_line(&json!({ "gap": { "missed": missed } }));
}

/// A message as it is printed.
struct Heard {
    topic: String,
    data: Bytes,
    publisher: String,
    sequence: Sequence,
}

impl Heard {
    /// Prints it. A reader may be slow, which is not the network's fault.
    async fn print(self, output: &Output) {
        let output = output.clone();
        let printed = tokio::task::spawn_blocking(move || print(&self, &output));
        let _ = printed.await;
    }
}

fn print(message: &Heard, output: &Output) {
    let text = std::str::from_utf8(&message.data).ok();
    let hex = text.is_none().then(|| hex(&message.data));
    output.result(
        text.or(hex.as_deref()).unwrap_or_default(),
        &json!({
            "message": {
                "topic": message.topic,
                "text": text,
                "hex": hex,
                "publisher": message.publisher,
                "started": message.sequence.started,
                "count": message.sequence.count,
            }
        }),
    );
}
