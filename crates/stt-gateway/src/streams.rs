//! `StreamService`: a stream of a session for a program beside the node.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream as FutureStream, stream};
use stt::{NodeId, Session, Stream, StreamOptions};
use tokio::{sync::Notify, task::JoinHandle};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    RequestError, peers,
    proto::v1::{
        Ended, ExchangeRequest, ExchangeResponse, Opened, exchange_request, exchange_response,
        stream_service_server::StreamService,
    },
    state::{Phase, Shared},
    status::ToStatus,
};

/// Streams of peers that wait for a program to accept them, of all peers and of one.
const WAITING_MAX: (usize, usize) = (256, 32);
/// Tells a peer that nobody takes its stream.
const NOBODY: u32 = 1;
/// Room for what surrounds the data of a message.
const FRAMING: usize = 64;

/// Streams that peers began and no program has accepted yet, in the order of their arrival.
#[derive(Default)]
pub(crate) struct Arrivals {
    waiting: Mutex<VecDeque<(NodeId, Stream)>>,
    news: Notify,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(NodeId, Stream)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, peer: NodeId, stream: Stream) {
        let mut waiting = self.lock();
        waiting.retain(|(_, stream)| stream.session().close_reason().is_none());
        let of_peer = waiting.iter().filter(|(from, _)| *from == peer).count();
        if waiting.len() >= WAITING_MAX.0 || of_peer >= WAITING_MAX.1 {
            drop(waiting);
            stream.reset(NOBODY);
            return;
        }
        waiting.push_back((peer, stream));
        drop(waiting);
        self.news.notify_waiters();
    }

    fn try_take(&self, wanted: Option<NodeId>) -> Option<(NodeId, Stream)> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(peer, stream)| {
            wanted.is_none_or(|wanted| wanted == *peer) && stream.session().close_reason().is_none()
        })?;
        waiting.remove(at)
    }

    async fn take(&self, wanted: Option<NodeId>) -> (NodeId, Stream) {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // From here on no arrival is missed.
            news.as_mut().enable();
            if let Some(arrived) = self.try_take(wanted) {
                return arrived;
            }
            news.await;
        }
    }
}

/// Takes in the streams that the peer of `session` begins, until it ends.
pub(crate) fn take_in(state: &Shared, session: Session) {
    let state = Arc::clone(state);
    tokio::spawn(async move {
        let peer = session.peer_node_id();
        loop {
            tokio::select! {
                arrived = session.accept_stream() => match arrived {
                    Ok(stream) => state.arrivals.offer(peer, stream),
                    Err(_) => return,
                },
                () = state.reached(Phase::Ending) => return,
            }
        }
    });
}

/// Takes in the streams of all sessions that peers begin, until the gateway ends.
pub(crate) async fn take_in_all(state: Shared) {
    loop {
        tokio::select! {
            session = state.node.accept() => match session {
                Some(session) => take_in(&state, session),
                None => return,
            },
            () = state.reached(Phase::Ending) => return,
        }
    }
}

/// The service.
pub(crate) struct StreamsOver(pub(crate) Shared);

impl StreamsOver {
    /// The stream that the first request asks for.
    async fn begin(&self, first: Option<ExchangeRequest>) -> Result<(NodeId, Stream), Status> {
        let state = &self.0;
        match first.and_then(|first| first.part) {
            Some(exchange_request::Part::Open(open)) => {
                let peer = peers::parse(&open.peer)?;
                let session = peers::session(state, peer).map_err(|error| error.to_status())?;
                let limit = state.max_message.saturating_sub(FRAMING) as u64;
                let options = StreamOptions::new().max_frame_size(limit);
                let stream = session.open_stream_with(&options);
                Ok((peer, stream.map_err(|error| error.to_status())?))
            }
            Some(exchange_request::Part::Accept(accept)) => {
                let wanted = match accept.peer.as_str() {
                    "" => None,
                    peer => Some(peers::parse(peer)?),
                };
                tokio::select! {
                    arrived = state.arrivals.take(wanted) => Ok(arrived),
                    () = state.reached(Phase::Draining) => {
                        Err(RequestError::Stopping.to_status())
                    }
                }
            }
            _ => Err(wrong_part("the first message is `open` or `accept`")),
        }
    }
}

fn wrong_part(what: &str) -> Status {
    RequestError::Invalid { field: "part", what: what.to_owned() }.to_status()
}

#[tonic::async_trait]
impl StreamService for StreamsOver {
    type ExchangeStream =
        Pin<Box<dyn FutureStream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut requests = request.into_inner();
        let (peer, stream) = self.begin(requests.message().await?).await?;
        let opened = ExchangeResponse {
            part: Some(exchange_response::Part::Opened(Opened {
                peer: peer.to_string(),
                session: stream.session().id().to_string(),
                stream: stream.id(),
            })),
        };
        let sending = tokio::spawn(send_all(requests, stream.clone()));
        let max = self.0.max_message.saturating_sub(FRAMING);
        let exchange =
            Exchange { stream, sending: Some(sending), receiving: true, over: false, max };
        let answers = stream::unfold(exchange, Exchange::next);
        let answers = futures_util::StreamExt::chain(stream::iter([Ok(opened)]), answers);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Hands the program's messages to the peer.
async fn send_all(mut requests: Streaming<ExchangeRequest>, stream: Stream) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let Some(exchange_request::Part::Data(data)) = request.part else {
            return Err(wrong_part("messages after the first are `data`"));
        };
        stream.send_bytes(data).await.map_err(|error| error.to_status())?;
    }
    stream.close().await.map_err(|error| error.to_status())
}

/// A stream under way. Dropped, it is given up in both directions.
struct Exchange {
    stream: Stream,
    /// This side's direction, until it is over.
    sending: Option<JoinHandle<Result<(), Status>>>,
    /// Whether the peer may still send.
    receiving: bool,
    over: bool,
    max: usize,
}

impl Exchange {
    async fn next(mut self) -> Option<(Result<ExchangeResponse, Status>, Self)> {
        while !self.over {
            let answer = tokio::select! {
                biased;
                sent = join(&mut self.sending), if self.sending.is_some() => {
                    self.sending = None;
                    match sent {
                        Ok(()) => continue,
                        Err(status) => Err(status),
                    }
                }
                received = self.stream.receive(), if self.receiving => match received {
                    Ok(Some(data)) => self.answer(data),
                    Ok(None) => {
                        self.receiving = false;
                        Ok(ExchangeResponse { part: Some(exchange_response::Part::Ended(Ended {})) })
                    }
                    Err(error) => Err(error.to_status()),
                },
                else => return None,
            };
            self.over = answer.is_err();
            return Some((answer, self));
        }
        None
    }

    fn answer(&self, data: Bytes) -> Result<ExchangeResponse, Status> {
        if data.len() > self.max {
            let (size, limit) = (data.len() as u64, self.max as u64);
            return Err(RequestError::TooLarge { size, limit }.to_status());
        }
        Ok(ExchangeResponse { part: Some(exchange_response::Part::Data(data)) })
    }
}

/// Waits for the task, if there is one.
async fn join(sending: &mut Option<JoinHandle<Result<(), Status>>>) -> Result<(), Status> {
    match sending {
        Some(task) => {
            task.await.unwrap_or_else(|_| Err(Status::internal("the sending side failed")))
        }
        None => Ok(()),
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        } else if !self.receiving {
            return;
        }
        self.stream.reset(NOBODY);
    }
}
