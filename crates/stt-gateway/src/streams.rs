//! `StreamService`: a stream of a session for a program beside the node.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream as FutureStream, stream};
use stt::{NodeId, Session, Stream, StreamOptions};
use stt_streams::{BidirectionalStream, Coded};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    RequestError,
    arrivals::{Arrival, Arrivals, NOBODY},
    managed, peers,
    proto::v1::{
        BroadcastMessageRequest, BroadcastMessageResponse, BroadcastResult, CloseAllStreamsRequest,
        CloseAllStreamsResponse, CloseStreamRequest, CloseStreamResponse, Ended, ExchangeRequest,
        ExchangeResponse, GetStreamRequest, GetStreamStatsRequest, GetStreamStatsResponse,
        ListStreamsRequest, ListStreamsResponse, Opened, StreamHealth, StreamHealthRequest,
        StreamStats, exchange_request, exchange_response, stream_service_server::StreamService,
    },
    state::{Phase, Shared},
    status::ToStatus,
    system,
};

/// Room for what surrounds the data of a message.
pub(crate) const FRAMING: usize = 64;

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

/// What a call carries.
enum Begun {
    Plain(Stream),
    Managed(BidirectionalStream),
}

impl StreamsOver {
    /// The stream that the first request asks for.
    async fn begin(&self, first: Option<ExchangeRequest>) -> Result<(NodeId, Begun), Status> {
        let state = &self.0;
        match first.and_then(|first| first.part) {
            Some(exchange_request::Part::Open(open)) => {
                let peer = peers::parse(&open.peer)?;
                let session = peers::session(state, peer);
                if !open.id.is_empty() {
                    match session {
                        // It is dialled again.
                        Ok(_) | Err(RequestError::NotConnected { .. }) => {}
                        Err(error) => return Err(error.to_status()),
                    }
                    let stream = managed::open(state, peer, &open.id);
                    return Ok((peer, Begun::Managed(stream.map_err(|error| error.to_status())?)));
                }
                let limit = state.max_message.saturating_sub(FRAMING) as u64;
                let options = StreamOptions::new().max_frame_size(limit);
                let session = session.map_err(|error| error.to_status())?;
                let stream = session.open_stream_with(&options);
                Ok((peer, Begun::Plain(stream.map_err(|error| error.to_status())?)))
            }
            Some(exchange_request::Part::Accept(accept)) => {
                let wanted = match accept.peer.as_str() {
                    "" => None,
                    peer => Some(peers::parse(peer)?),
                };
                if accept.managed {
                    let (peer, stream) = self.wait(&state.managed.arrivals, wanted).await?;
                    return Ok((peer, Begun::Managed(stream)));
                }
                let (peer, stream) = self.wait(&state.arrivals, wanted).await?;
                Ok((peer, Begun::Plain(stream)))
            }
            _ => Err(wrong_part("the first message is `open` or `accept`")),
        }
    }

    async fn wait<S: Arrival>(
        &self,
        arrivals: &Arrivals<S>,
        wanted: Option<NodeId>,
    ) -> Result<(NodeId, S), Status> {
        tokio::select! {
            arrived = arrivals.take(wanted) => Ok(arrived),
            () = self.0.reached(Phase::Draining) => Err(RequestError::Stopping.to_status()),
        }
    }

    fn plain(&self, peer: NodeId, stream: Stream, requests: Streaming<ExchangeRequest>) -> Answers {
        let opened = ExchangeResponse {
            part: Some(exchange_response::Part::Opened(Opened {
                peer: peer.to_string(),
                session: stream.session().id().to_string(),
                stream: stream.id(),
                id: String::new(),
            })),
        };
        let sending = tokio::spawn(send_all(requests, stream.clone()));
        let max = self.0.max_message.saturating_sub(FRAMING);
        let exchange =
            Exchange { stream, sending: Some(sending), receiving: true, over: false, max };
        let answers = stream::unfold(exchange, Exchange::next);
        Box::pin(futures_util::StreamExt::chain(stream::iter([Ok(opened)]), answers))
    }
}

pub(crate) fn wrong_part(what: &str) -> Status {
    RequestError::Invalid { field: "part", what: what.to_owned() }.to_status()
}

type Answers = Pin<Box<dyn FutureStream<Item = Result<ExchangeResponse, Status>> + Send>>;

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl StreamService for StreamsOver {
    type ExchangeStream = Answers;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let (peer, begun) = self.begin(requests.message().await?).await?;
        Ok(Response::new(match begun {
            Begun::Plain(stream) => self.plain(peer, stream, requests),
            Begun::Managed(stream) => managed::exchange(&self.0, peer, stream, requests)?,
        }))
    }

    async fn list_streams(
        &self,
        _request: Request<ListStreamsRequest>,
    ) -> Result<Response<ListStreamsResponse>, Status> {
        let streams = self.0.managed.manager().list_streams();
        let streams = streams.iter().map(managed::describe).collect();
        Ok(Response::new(ListStreamsResponse { streams }))
    }

    async fn get_stream(
        &self,
        request: Request<GetStreamRequest>,
    ) -> Result<Response<StreamStats>, Status> {
        let found = self.0.managed.manager().get_stream(&request.get_ref().id);
        Ok(Response::new(managed::describe(&found.map_err(|error| error.to_status())?)))
    }

    async fn close_stream(
        &self,
        request: Request<CloseStreamRequest>,
    ) -> Result<Response<CloseStreamResponse>, Status> {
        let closed = self.0.managed.manager().close_stream(&request.get_ref().id).await;
        closed.map_err(|error| error.to_status())?;
        Ok(Response::new(CloseStreamResponse {}))
    }

    async fn close_all_streams(
        &self,
        _request: Request<CloseAllStreamsRequest>,
    ) -> Result<Response<CloseAllStreamsResponse>, Status> {
        let unconfirmed = wide(self.0.managed.manager().close_all_streams().await);
        Ok(Response::new(CloseAllStreamsResponse { unconfirmed }))
    }

    async fn broadcast_message(
        &self,
        request: Request<BroadcastMessageRequest>,
    ) -> Result<Response<BroadcastMessageResponse>, Status> {
        let results = self.0.managed.attached.broadcast_message(request.into_inner().data);
        let results = results.into_iter().map(|(id, result)| {
            let result = match result {
                Ok(()) => BroadcastResult::default(),
                Err(error) => {
                    BroadcastResult { code: error.code().to_owned(), message: error.to_string() }
                }
            };
            (id, result)
        });
        Ok(Response::new(BroadcastMessageResponse { results: results.collect() }))
    }

    async fn get_stream_stats(
        &self,
        _request: Request<GetStreamStatsRequest>,
    ) -> Result<Response<GetStreamStatsResponse>, Status> {
        let streams = self.0.managed.manager().list_streams();
        let active = streams.iter().filter(|stream| stream.ended().is_none()).count();
        Ok(Response::new(GetStreamStatsResponse {
            active_streams: wide(active),
            subscribers: wide(self.0.events.subscribers()),
            streams: streams
                .iter()
                .map(|stream| (stream.id().to_owned(), managed::describe(stream)))
                .collect(),
        }))
    }

    async fn health_check(
        &self,
        _request: Request<StreamHealthRequest>,
    ) -> Result<Response<StreamHealth>, Status> {
        let report = self.0.managed.service.health_check();
        Ok(Response::new(StreamHealth {
            status: system::verdict(report.status).into(),
            total_streams: wide(report.total_streams),
            healthy_streams: wide(report.healthy_streams),
            subscribers: wide(self.0.events.subscribers()),
            timestamp: report.timestamp,
        }))
    }
}

/// Hands the program's messages to the peer.
async fn send_all(mut requests: Streaming<ExchangeRequest>, stream: Stream) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let Some(exchange_request::Part::Data(data)) = request.part else {
            return Err(wrong_part("messages after the first are `data`"));
        };
        stream.send(data).await.map_err(|error| error.to_status())?;
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
pub(crate) async fn join(
    sending: &mut Option<JoinHandle<Result<(), Status>>>,
) -> Result<(), Status> {
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
