//! `TopicService`: messages to all who subscribe.

use std::time::Duration;

use futures_util::stream;
use stt_swarm::{PubSub, Sequence, TopicEvent, TopicSubscription};
use tonic::{Request, Response, Status};

use crate::{
    RequestError,
    answers::Answers,
    proto::v1::{
        self, GetReceiptsRequest, PublishRequest, PublishResponse, Receipts, SubscribeRequest,
        TopicGap, TopicMessage, topic_event::Event, topic_service_server::TopicService,
    },
    state::{Phase, Shared},
    status::ToStatus,
    swarm::swarm,
};

/// Longest that a call may ask to wait: a day, so that no sum overflows.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The service.
pub(crate) struct TopicsOver(pub(crate) Shared);

impl TopicsOver {
    fn pubsub(&self) -> Result<PubSub, Status> {
        Ok(swarm(&self.0)?.pubsub())
    }
}

fn patience(millis: Option<u64>) -> Duration {
    millis.map_or(PubSub::READY_WITHIN, Duration::from_millis).min(LONGEST)
}

const fn sequence(of: Sequence) -> v1::Sequence {
    v1::Sequence { started: of.started, count: of.count }
}

#[tonic::async_trait]
impl TopicService for TopicsOver {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let PublishRequest { topic, data, ready_ms } = request.into_inner();
        let published = self.pubsub()?.publish_within(&topic, data, patience(ready_ms)).await;
        let published = published.map_err(|error| error.to_status())?;
        Ok(Response::new(PublishResponse {
            sequence: Some(sequence(published.sequence)),
            neighbours: published.neighbours as u64,
        }))
    }

    async fn get_receipts(
        &self,
        request: Request<GetReceiptsRequest>,
    ) -> Result<Response<Receipts>, Status> {
        let GetReceiptsRequest { topic, sequence, within_ms } = request.into_inner();
        let missing = || {
            let what = "there is none".to_owned();
            RequestError::Invalid { field: "sequence", what }.to_status()
        };
        let v1::Sequence { started, count } = sequence.ok_or_else(missing)?;
        let sequence = Sequence { started, count };
        let receipts = self.pubsub()?.receipts(&topic, sequence, patience(within_ms)).await;
        let receipts = receipts.map_err(|error| error.to_status())?;
        Ok(Response::new(Receipts {
            asked: receipts.asked as u64,
            confirmed: receipts.confirmed as u64,
        }))
    }

    type SubscribeStream = Answers<v1::TopicEvent>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let subscription = self.pubsub()?.subscribe(&request.into_inner().topic).await;
        let subscription = subscription.map_err(|error| error.to_status())?;
        let begin = (subscription, Shared::clone(&self.0));
        let events = stream::unfold(begin, |(mut subscription, state)| async move {
            let event = tokio::select! {
                event = next(&mut subscription) => event?,
                // Nothing that is left to say would end it.
                () = state.reached(Phase::Draining) => return None,
            };
            Some((Ok(event), (subscription, state)))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// The next event that callers know of.
async fn next(subscription: &mut TopicSubscription) -> Option<v1::TopicEvent> {
    loop {
        let event = match subscription.next().await? {
            TopicEvent::Message(message) => Event::Message(TopicMessage {
                topic: message.topic.to_string(),
                data: message.data,
                publisher: message.publisher.to_string(),
                sequence: Some(sequence(message.sequence)),
            }),
            TopicEvent::Gap { missed } => Event::Gap(TopicGap { missed }),
            _ => continue,
        };
        return Some(v1::TopicEvent { event: Some(event) });
    }
}
