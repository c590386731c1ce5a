//! Managed streams between programs: they outlive the sessions that carry them.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{Stream as FutureStream, stream};
use stt::{NodeId, ProtocolHandler, ProtocolStream};
use stt_streams::{
    BidirectionalStream, Coded, Connector, ErrorClass, PROTOCOL_LABEL, Pending, ProtocolTransport,
    StreamConfig, StreamEvent, StreamEventKind, StreamManager, StreamMultiplexer, StreamingService,
    StreamsError, Transport, TransportError,
};
use tokio::{runtime::Handle, sync::broadcast, task::JoinHandle};
use tonic::{Status, Streaming};

use crate::{
    GatewayError,
    arrivals::Arrivals,
    peers,
    proto::v1::{
        ExchangeRequest, ExchangeResponse, Opened, Pressure, StreamStats, exchange_request,
        exchange_response,
    },
    state::{Shared, State},
    status::ToStatus,
    streams::{join, wrong_part},
};

/// How long a program that left has its peer told so.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Managed streams that one peer may have here.
const OF_PEER_MAX: usize = 128;

/// The managed streams of a gateway.
pub(crate) struct Managed {
    pub(crate) service: StreamingService,
    /// Those that a program has, by id.
    pub(crate) attached: StreamMultiplexer,
    /// Those that peers began and no program has accepted yet.
    pub(crate) arrivals: Arrivals<BidirectionalStream>,
}

impl Managed {
    pub(crate) fn new(config: StreamConfig) -> Result<Self, GatewayError> {
        let manager = StreamManager::new(config).map_err(|error| match error {
            StreamsError::OutOfRange { what, min, max, got } => {
                GatewayError::OutOfRange { name: what, value: got, min, max }
            }
            other => GatewayError::Internal { cause: other.into() },
        })?;
        Ok(Self {
            service: StreamingService::new(manager),
            attached: StreamMultiplexer::new(),
            arrivals: Arrivals::default(),
        })
    }

    pub(crate) fn manager(&self) -> &StreamManager {
        self.service.manager()
    }
}

/// Takes in the managed streams of peers, until the guard is dropped.
pub(crate) fn take_in(state: &Shared) -> Result<ProtocolHandler, GatewayError> {
    let weak = Arc::downgrade(state);
    let handler = state.node.handle_protocol(PROTOCOL_LABEL, move |session, stream| {
        let weak = weak.clone();
        async move {
            if let Some(state) = weak.upgrade() {
                arrived(&state, session.peer_node_id(), stream).await;
            }
        }
    });
    handler.map_err(|error| GatewayError::Internal { cause: error.into() })
}

async fn arrived(state: &Shared, peer: NodeId, stream: ProtocolStream) {
    let manager = state.managed.manager();
    let prefix = format!("{peer}/");
    match manager.accept_under(&prefix, ProtocolTransport::new(stream, manager.config())).await {
        // One that goes on.
        Ok(None) => {}
        Ok(Some(stream)) => {
            let mut of_peer = 0;
            for one in manager.list_streams().iter().filter(|one| one.id().starts_with(&prefix)) {
                manager.forget(one);
                of_peer += usize::from(one.ended().is_none());
            }
            if of_peer > OF_PEER_MAX {
                stream.stream().abort();
            } else {
                state.managed.arrivals.offer(peer, stream);
            }
        }
        Err(error) => tracing::debug!(%peer, %error, "a managed stream was not taken in"),
    }
}

/// Reaches a peer over its session, or a new one to where it was added.
struct ToPeer {
    // The streams of a gateway must not keep it alive.
    state: Weak<State>,
    peer: NodeId,
    name: String,
}

impl Connector for ToPeer {
    fn destination(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let gone = || TransportError::new(ErrorClass::Permanent, "the gateway is gone");
            let state = self.state.upgrade().ok_or_else(gone)?;
            let session = peers::reach(&state, self.peer).await?;
            let stream = session.open_protocol(PROTOCOL_LABEL)?;
            let transport: Arc<dyn Transport> =
                ProtocolTransport::new(stream, state.managed.manager().config());
            Ok(transport)
        })
    }
}

/// Begins a stream with a peer. Its id begins with that of this node, so that no other peer has it.
pub(crate) fn open(
    state: &Shared,
    peer: NodeId,
    id: &str,
) -> Result<BidirectionalStream, StreamsError> {
    let id = format!("{}/{id}", state.node.node_id());
    let connector = ToPeer { state: Arc::downgrade(state), peer, name: peer.to_string() };
    state.managed.manager().connect_bidirectional_stream(&id, Arc::new(connector))
}

type Answers = Pin<Box<dyn FutureStream<Item = Result<ExchangeResponse, Status>> + Send>>;

/// Gives a stream to a program.
pub(crate) fn exchange(
    state: &Shared,
    peer: NodeId,
    stream: BidirectionalStream,
    requests: Streaming<ExchangeRequest>,
) -> Result<Answers, Status> {
    let id = stream.stream().id().to_owned();
    if let Err(error) = state.managed.attached.add_stream(&id, stream.stream().clone()) {
        // A call of an earlier stream of that id is not over yet. Nobody has this one.
        stream.stream().abort();
        return Err(error.to_status());
    }
    let opened = exchange_response::Part::Opened(Opened {
        peer: peer.to_string(),
        id: id.clone(),
        ..Default::default()
    });
    let (closing, unsent) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let events = state.managed.manager().events();
    let flags = (Arc::clone(&closing), Arc::clone(&unsent));
    let sending = tokio::spawn(send_all(requests, stream.clone(), flags));
    let state = Arc::clone(state);
    let exchange = Exchange {
        state,
        id,
        stream,
        events,
        sending: Some(sending),
        closing,
        unsent,
        orderly: false,
        over: false,
    };
    let answers = stream::unfold(exchange, Exchange::next);
    let opened = stream::iter([Ok(ExchangeResponse { part: Some(opened) })]);
    Ok(Box::pin(futures_util::StreamExt::chain(opened, answers)))
}

/// Hands the program's messages to the stream, and closes it. The flags: the program ended its
/// requests; the peer had closed before one of them was sent.
async fn send_all(
    mut requests: Streaming<ExchangeRequest>,
    stream: BidirectionalStream,
    (closing, unsent): (Arc<AtomicBool>, Arc<AtomicBool>),
) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let sent = match request.part {
            Some(exchange_request::Part::Data(data)) => stream.send(data).await,
            Some(exchange_request::Part::Error(text)) => stream.stream().send_error(&text).await,
            _ => return Err(wrong_part("messages after the first are `data` or `error`")),
        };
        if sent == Err(StreamsError::Closed) {
            // What arrived before the peer closed comes first; after it the call ends.
            unsent.store(true, Relaxed);
            return std::future::pending().await;
        }
        sent.map_err(|error| error.to_status())?;
    }
    closing.store(true, Relaxed);
    stream.close().await.map_err(|error| error.to_status())
}

/// A stream that a program has. Dropped, it ends.
struct Exchange {
    state: Shared,
    id: String,
    stream: BidirectionalStream,
    events: broadcast::Receiver<StreamEvent>,
    /// The other direction, until it is over.
    sending: Option<JoinHandle<Result<(), Status>>>,
    /// Whether the program ended its requests.
    closing: Arc<AtomicBool>,
    /// Whether a message of the program came after the peer's close.
    unsent: Arc<AtomicBool>,
    /// Whether the stream ends by itself.
    orderly: bool,
    over: bool,
}

enum Next {
    Sent(Result<(), Status>),
    Received(Result<bytes::Bytes, StreamsError>),
    Event(Result<StreamEvent, broadcast::error::RecvError>),
}

impl Exchange {
    async fn next(mut self) -> Option<(Result<ExchangeResponse, Status>, Self)> {
        while !self.over {
            let next = tokio::select! {
                sent = join(&mut self.sending), if self.sending.is_some() => Next::Sent(sent),
                received = self.stream.receive(), if !self.closing.load(Relaxed) => {
                    Next::Received(received)
                }
                event = self.events.recv() => Next::Event(event),
            };
            let answer = match next {
                Next::Sent(Ok(())) => {
                    (self.sending, self.orderly) = (None, true);
                    return None;
                }
                Next::Sent(Err(status)) => {
                    self.sending = None;
                    Err(status)
                }
                // Closing waits for the peer, and its outcome ends the call.
                Next::Received(Err(StreamsError::Closed)) if self.closing.load(Relaxed) => continue,
                Next::Received(Err(error @ StreamsError::Closed)) if self.unsent.load(Relaxed) => {
                    Err(error.to_status())
                }
                Next::Received(Err(StreamsError::Closed)) => {
                    // The peer is still to hear that its close arrived.
                    self.orderly = true;
                    return None;
                }
                Next::Received(Ok(data)) => Ok(exchange_response::Part::Data(data)),
                Next::Received(Err(StreamsError::Peer { text })) => {
                    Ok(exchange_response::Part::Error(text))
                }
                Next::Received(Err(error)) => Err(error.to_status()),
                Next::Event(Ok(event)) => match self.pressure(&event) {
                    Some(pressure) => Ok(exchange_response::Part::Pressure(pressure)),
                    None => continue,
                },
                // It missed some; which, nobody knows. What holds now is told.
                Next::Event(Err(broadcast::error::RecvError::Lagged(_))) => {
                    let on = self.stream.stream().get_stats().backpressure;
                    Ok(exchange_response::Part::Pressure(Pressure { on, trigger: String::new() }))
                }
                // The manager outlives the gateway's calls.
                Next::Event(Err(broadcast::error::RecvError::Closed)) => continue,
            };
            self.over = answer.is_err();
            return Some((answer.map(|part| ExchangeResponse { part: Some(part) }), self));
        }
        None
    }

    /// What the program is told of an event.
    fn pressure(&self, event: &StreamEvent) -> Option<Pressure> {
        if *event.stream != *self.id {
            return None;
        }
        match event.kind {
            StreamEventKind::BackpressureOn(trigger) => {
                Some(Pressure { on: true, trigger: trigger.to_string() })
            }
            StreamEventKind::BackpressureOff => Some(Pressure::default()),
            _ => None,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
        // It fails for one that was removed already.
        let _ = self.state.managed.attached.remove_stream(&self.id);
        // One that failed is told by this call, and nobody else closes it.
        self.state.managed.manager().forget(self.stream.stream());
        if self.orderly || self.stream.stream().ended().is_some() {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(give_up(self.stream.clone()));
            }
            Err(_) => self.stream.stream().abort(),
        }
    }
}

/// Lets the peer's program know that it is alone.
async fn give_up(stream: BidirectionalStream) {
    let words = stream.stream().send_error("the program gave the stream up");
    // A peer that is gone as well hears nothing of it.
    let _ = tokio::time::timeout(LAST_WORDS, words).await;
    let _ = stream.close().await;
}

/// What is said about a stream.
pub(crate) fn describe(stream: &stt_streams::ManagedStream) -> StreamStats {
    let (stats, metrics, window) = (stream.get_stats(), stream.metrics(), stream.flow_control());
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    StreamStats {
        id: stats.id,
        buffer_size: wide(stats.buffer_size),
        max_buffer: wide(stats.max_buffer),
        retry_count: stats.retry_count,
        last_activity: stats.last_activity,
        backpressure: stats.backpressure,
        healthy: stats.healthy,
        uptime: stats.uptime,
        window_size: wide(window.window_size()),
        current_window: wide(window.current_window()),
        sent: metrics.sent,
        received: metrics.received,
        consumed: metrics.consumed,
        outbound_bytes: wide(metrics.outbound_bytes),
        inbound_bytes: wide(metrics.inbound_bytes),
        backpressure_seconds: metrics.backpressure_time.as_secs_f64(),
        transient_errors: metrics.transient_errors,
        permanent_errors: metrics.permanent_errors,
        timeout_errors: metrics.timeout_errors,
        resource_errors: metrics.resource_errors,
        breaker: metrics.breaker.map(|state| state.to_string()).unwrap_or_default(),
        ended: stream.ended().map(|error| error.code().to_owned()).unwrap_or_default(),
    }
}
