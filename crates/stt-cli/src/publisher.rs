//! Who publishes: a node of the command's own, or the one that runs in a directory.

use std::time::Duration;

use stt_gateway::proto::v1::{
    self, GetReceiptsRequest, PublishRequest, topic_service_client::TopicServiceClient,
};
use stt_swarm::{PubSub, Sequence, SwarmError};
use tonic::Status;

use crate::{daemon::Calls, error::CliError};

/// Who publishes.
pub(crate) enum Publisher {
    Own(PubSub),
    Running(Box<TopicServiceClient<Calls>>),
}

/// A message that was published.
#[derive(Clone, Copy)]
pub(crate) struct Published {
    pub(crate) sequence: Sequence,
    /// Whether linked nodes subscribe; otherwise only programs of the publishing one do.
    pub(crate) has_neighbours: bool,
}

/// Which linked subscribers have had a message.
#[derive(Clone, Copy, Default)]
pub(crate) struct Confirmed {
    pub(crate) asked: u64,
    pub(crate) confirmed: u64,
}

/// Why a message was not published.
pub(crate) enum Refused {
    Own(SwarmError),
    Running(Status),
}

impl Refused {
    pub(crate) fn doing(&self, what: impl Into<String>) -> CliError {
        match self {
            Self::Own(error) => CliError::doing(what, error),
            Self::Running(status) => CliError::refused(what, status),
        }
    }
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Publisher {
    pub(crate) async fn publish(
        &mut self,
        topic: &str,
        message: &[u8],
        ready: Duration,
    ) -> Result<Published, Refused> {
        match self {
            Self::Own(pubsub) => {
                let published = pubsub.publish_within(topic, message.to_vec(), ready).await;
                let published = published.map_err(Refused::Own)?;
                let has_neighbours = published.neighbours > 0;
                Ok(Published { sequence: published.sequence, has_neighbours })
            }
            Self::Running(topics) => {
                let request = PublishRequest {
                    topic: topic.to_owned(),
                    data: message.to_vec().into(),
                    ready_ms: Some(millis(ready)),
                };
                let published = topics.publish(request).await.map_err(Refused::Running)?;
                let published = published.into_inner();
                let v1::Sequence { started, count } = published.sequence.unwrap_or_default();
                let sequence = Sequence { started, count };
                Ok(Published { sequence, has_neighbours: published.neighbours > 0 })
            }
        }
    }

    /// Which linked subscribers have had the message, and so those before it.
    pub(crate) async fn receipts(
        &mut self,
        topic: &str,
        sequence: Sequence,
        within: Duration,
    ) -> Result<Confirmed, Refused> {
        match self {
            Self::Own(pubsub) => {
                let receipts = pubsub.receipts(topic, sequence, within).await;
                let receipts = receipts.map_err(Refused::Own)?;
                let (asked, confirmed) = (number(receipts.asked), number(receipts.confirmed));
                Ok(Confirmed { asked, confirmed })
            }
            Self::Running(topics) => {
                let Sequence { started, count } = sequence;
                let request = GetReceiptsRequest {
                    topic: topic.to_owned(),
                    sequence: Some(v1::Sequence { started, count }),
                    within_ms: Some(millis(within)),
                };
                let receipts = topics.get_receipts(request).await.map_err(Refused::Running)?;
                let v1::Receipts { asked, confirmed } = receipts.into_inner();
                Ok(Confirmed { asked, confirmed })
            }
        }
    }
}
