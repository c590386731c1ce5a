//! `stt pub`: messages to all members who subscribe to a topic.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use stt::Mode;
use stt_swarm::{PubSub, Published, Receipts};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::{
    error::CliError,
    figures,
    members::{self, JoinArgs},
    network::{self, SeedArgs},
    output::Output,
};

/// After so many messages subscribers are asked whether they have had them, so that no queue on the
/// way is full.
const AT_ONCE: u64 = 32;
/// How long they have to answer then.
const BETWEEN: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(mut_arg("bootstrap", |argument| argument.required(true)))]
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
        let builder = self.seed.builder(output)?.host(network::any_host());
        let done = network::run(async {
            let node = network::start(builder, Mode::Client).await?;
            let swarm = members::take_part(&node, false)?;
            self.join.join(&swarm, output).await?;
            let pubsub = swarm.pubsub();
            let mut sum = Sum::default();
            match &self.message {
                Some(message) => self.publish(&pubsub, message.as_bytes(), &mut sum).await?,
                None => self.publish_lines(&pubsub, &mut sum).await?,
            }
            let receipts = self.receipts(&pubsub, &sum, self.timeout()).await?;
            network::stop(&node).await;
            Ok((sum, receipts))
        })?;
        let (sum, receipts) = done.ok_or_else(|| CliError::interrupted("publishing"))?;
        self.report(&sum, receipts, output)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    /// Every line of standard input is a message.
    async fn publish_lines(&self, pubsub: &PubSub, sum: &mut Sum) -> Result<(), CliError> {
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
            self.publish(pubsub, line, sum).await?;
            if sum.messages.is_multiple_of(AT_ONCE) {
                self.receipts(pubsub, sum, BETWEEN).await?;
            }
        }
    }

    async fn publish(
        &self,
        pubsub: &PubSub,
        message: &[u8],
        sum: &mut Sum,
    ) -> Result<(), CliError> {
        match pubsub.publish_within(&self.topic, message.to_vec(), self.timeout()).await {
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
                Err(CliError::doing(what, &error))
            }
        }
    }

    /// Which linked subscribers have had the last message, and so those before it.
    async fn receipts(
        &self,
        pubsub: &PubSub,
        sum: &Sum,
        within: Duration,
    ) -> Result<Option<Receipts>, CliError> {
        let Some(last) = sum.last else { return Ok(None) };
        let receipts = pubsub.receipts(&self.topic, last.sequence, within).await;
        receipts.map(Some).map_err(|error| CliError::doing("nobody was asked for it", &error))
    }

    fn report(
        &self,
        sum: &Sum,
        receipts: Option<Receipts>,
        output: &Output,
    ) -> Result<(), CliError> {
        let number = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let (asked, confirmed) = receipts
            .map_or((0, 0), |receipts| (number(receipts.asked), number(receipts.confirmed)));
        if sum.messages > 0 && confirmed == 0 {
            return Err(CliError::new(
                "pub.unconfirmed",
                format!("no linked subscriber of {} says that it has had the message", self.topic),
            )
            .with_hint("it may have arrived: subscribers see a message that is published again"));
        }
        output.note(&format!(
            "Published {} on {}; {confirmed} of {} confirmed.",
            figures::counted(sum.messages, "message"),
            self.topic,
            figures::counted(asked, "linked subscriber"),
        ));
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
