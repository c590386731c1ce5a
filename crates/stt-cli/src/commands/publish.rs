//! `stt pub`: messages to all members who subscribe to a topic.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use stt::Mode;
use stt_swarm::PubSub;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::{
    daemon::{self, NodeArgs},
    error::CliError,
    figures,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
    publisher::{Confirmed, Published, Publisher},
};

/// After so many messages subscribers are asked whether they have had them, so that no queue on the
/// way is full.
const AT_ONCE: u64 = 32;
/// How long they have to answer then.
const BETWEEN: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(mut_arg("bootstrap", |argument| argument.required_unless_present("dir")))]
#[command(mut_arg("end_with_stdin", |argument| argument.requires("message")))]
pub(crate) struct PubCommand {
    /// The topic.
    topic: String,
    /// The message. Without one, each line of standard input is one.
    message: Option<String>,
    /// Seconds to wait for a subscriber, and for subscribers to have had the messages.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = network::seconds)]
    timeout: f64,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    join: JoinArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

/// What was published.
#[derive(Default)]
struct Sum {
    messages: u64,
    last: Option<Published>,
}

impl PubCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let done = match self.node.dir() {
            Some(dir) => {
                self.seed.watch_stdin();
                network::run(async {
                    let client = daemon::connect(dir).await?;
                    self.join.join_by(&client, output).await?;
                    self.publish_all(Publisher::Running(Box::new(client.topics()))).await
                })?
            }
            None => {
                let builder = self.seed.builder(output)?.host(network::any_host());
                network::run(async {
                    let node = network::start(builder, Mode::Client).await?;
                    let swarm = members::take_part(&node, false)?;
                    self.join.join(&swarm, output).await?;
                    let done = self.publish_all(Publisher::Own(swarm.pubsub())).await?;
                    network::stop(&node).await;
                    Ok(done)
                })?
            }
        };
        let (sum, confirmed) = done.ok_or_else(|| CliError::interrupted("publishing"))?;
        self.report(&sum, confirmed, output)
    }

    async fn publish_all(&self, mut publisher: Publisher) -> Result<(Sum, Confirmed), CliError> {
        let mut sum = Sum::default();
        match &self.message {
            Some(message) => self.publish(&mut publisher, message.as_bytes(), &mut sum).await?,
            None => self.publish_lines(&mut publisher, &mut sum).await?,
        }
        let confirmed = self.receipts(&mut publisher, &sum, self.timeout()).await?;
        Ok((sum, confirmed))
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    /// Every line of standard input is a message.
    async fn publish_lines(
        &self,
        publisher: &mut Publisher,
        sum: &mut Sum,
    ) -> Result<(), CliError> {
        let mut lines = BufReader::new(tokio::io::stdin());
        // What is longer is refused, and not read to its end.
        let most = u64::try_from(PubSub::MAX_MESSAGE).unwrap_or(u64::MAX).saturating_add(2);
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(most).read_until(b'\n', &mut line).await;
            let read = read.map_err(|error| {
                CliError::file("could not read", "standard input".as_ref(), &error)
            })?;
            if read == 0 {
                return Ok(());
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.publish(publisher, line, sum).await?;
            if sum.messages.is_multiple_of(AT_ONCE) {
                self.receipts(publisher, sum, BETWEEN).await?;
            }
        }
    }

    async fn publish(
        &self,
        publisher: &mut Publisher,
        message: &[u8],
        sum: &mut Sum,
    ) -> Result<(), CliError> {
        match publisher.publish(&self.topic, message, self.timeout()).await {
            Ok(published) => {
                sum.messages += 1;
                sum.last = Some(published);
                Ok(())
            }
            Err(error) => {
                let what = match sum.messages {
                    0 => String::from("the message was not published"),
                    before => {
                        let before = figures::counted(before, "message");
                        format!("{before} were published, the next one not")
                    }
                };
                Err(error.doing(what))
            }
        }
    }

    /// Which linked subscribers have had the last message, and so those before it.
    async fn receipts(
        &self,
        publisher: &mut Publisher,
        sum: &Sum,
        within: Duration,
    ) -> Result<Confirmed, CliError> {
        let Some(last) = sum.last else { return Ok(Confirmed::default()) };
        let confirmed = publisher.receipts(&self.topic, last.sequence, within).await;
        confirmed.map_err(|error| error.doing("nobody was asked for it"))
    }

    fn report(&self, sum: &Sum, receipts: Confirmed, output: &Output) -> Result<(), CliError> {
        let Confirmed { asked, confirmed } = receipts;
        // A running node's own subscribers have a message once it is published.
        let is_elsewhere = sum.last.is_some_and(|last| last.has_neighbours);
        if is_elsewhere && confirmed == 0 {
            return Err(CliError::new(
                "pub.unconfirmed",
                format!("no linked subscriber of {} says that it has had the message", self.topic),
            ));
        }
        let messages = figures::counted(sum.messages, "message");
        let heard = if asked == 0 && sum.messages > 0 {
            String::from("only this node's own programs subscribe")
        } else {
            let subscribers = figures::counted(asked, "linked subscriber");
            format!("{confirmed} of {subscribers} confirmed")
        };
        output.note(&format!("Published {messages} on {}; {heard}.", self.topic));
        output.json_line(&json!({
            "published": {
                "topic": self.topic,
                "messages": sum.messages,
                "subscribers": asked,
                "confirmed": confirmed,
            }
        }));
        Ok(())
    }
}
