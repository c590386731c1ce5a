//! What Prometheus reads: calls, and how node, store and streams are.

use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State as Extract},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use prost::Message;
use stt_streams::StreamEventKind;
use tokio::sync::broadcast::error::RecvError;
use tonic::Code;

use crate::{proto::DESCRIPTORS, state::Shared, system};

/// What a scraper is told that it gets.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper ends of the classes of durations, in seconds.
const SECONDS: [f64; 12] =
    [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0];

/// A method that is served; others count as `unknown`, so that callers make no new ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    grpc_service: String,
    grpc_method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    grpc_service: String,
    grpc_method: String,
    grpc_code: String,
}

/// What is counted as calls come and go.
pub(crate) struct Metrics {
    /// Paths of all methods.
    known: BTreeSet<String>,
    handled: Family<Outcome, Counter>,
    seconds: Family<Method, Histogram, fn() -> Histogram>,
    running: Gauge,
    streams: Family<StreamsEvent, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            known: methods(),
            handled: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            running: Gauge::default(),
            streams: Family::default(),
        }
    }

    fn method(&self, path: &str) -> Method {
        let parts = path.trim_start_matches('/').split_once('/');
        let (service, method) =
            parts.filter(|_| self.known.contains(path)).unwrap_or(("unknown", "unknown"));
        Method { grpc_service: service.to_owned(), grpc_method: method.to_owned() }
    }
}

/// `/package.Service/Method` of everything that is described, and of reflection.
fn methods() -> BTreeSet<String> {
    let reflection = ["v1", "v1alpha"]
        .map(|v| format!("/grpc.reflection.{v}.ServerReflection/ServerReflectionInfo"));
    // They are our own and always whole; without them all calls count as unknown.
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let described = set.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let begin = format!("/{package}.{}/", service.name());
            service.method.into_iter().map(move |method| format!("{begin}{}", method.name()))
        })
    });
    described.chain(reflection).collect()
}

/// One call under way.
struct Call {
    state: Shared,
    method: Method,
    begun: Instant,
    /// What it ended with; a call that is dropped before was cancelled.
    code: Code,
}

impl Drop for Call {
    fn drop(&mut self) {
        let metrics = &self.state.metrics;
        metrics.running.dec();
        let Method { grpc_service, grpc_method } = self.method.clone();
        let grpc_code = match self.code {
            Code::Ok => "OK".to_owned(),
            code => format!("{code:?}"),
        };
        let outcome = Outcome { grpc_service, grpc_method, grpc_code };
        metrics.handled.get_or_create(&outcome).inc();
        let took = self.begun.elapsed().as_secs_f64();
        metrics.seconds.get_or_create(&self.method).observe(took);
    }
}

impl Call {
    fn read(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

/// The layer: counts each call when it ends.
pub(crate) async fn count(
    Extract(state): Extract<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let method = state.metrics.method(request.uri().path());
    state.metrics.running.inc();
    let mut call = Call { state, method, begun: Instant::now(), code: Code::Cancelled };
    let response = next.run(request).await;
    call.read(response.headers());
    response.map(|body| Body::new(Counted { body, call }))
}

struct Counted {
    body: Body,
    call: Call,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            this.call.read(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// The page.
pub(crate) async fn page(state: &Shared) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry(state).await) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::warn!(%error, "metrics were not written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// All metrics as they are now.
async fn registry(state: &Shared) -> Registry {
    let mut all = Registry::default();
    let metrics = &state.metrics;
    all.register("grpc_server_handled", "Calls that ended, by code", metrics.handled.clone());
    all.register_with_unit(
        "grpc_server_handling",
        "Time from the request to the end of the answer",
        Unit::Seconds,
        metrics.seconds.clone(),
    );
    all.register("grpc_server_running", "Calls under way", metrics.running.clone());

    all.register(
        "stt_managed_stream_events",
        "What happened to managed streams",
        metrics.streams.clone(),
    );

    let mut gauge = |name: &str, help: &str, value: f64| {
        all.register(name, help, ConstGauge::new(value));
    };
    gauge("stt_uptime_seconds", "Age of the gateway", state.started.elapsed().as_secs_f64());
    let components = system::components(state).await;
    for one in &components {
        let name = format!("stt_{}_health", one.component);
        let help = "1 healthy, 2 degraded, 3 unhealthy";
        gauge(&name, help, f64::from(one.status));
    }
    let stats = state.node.stats();
    gauge("stt_sessions", "Sessions with peers", wide(stats.sessions.active));
    gauge("stt_unread_bytes", "Bytes of peers that nobody took", float(stats.limits.unread_bytes));
    gauge("stt_handshakes_half_open", "Handshakes under way", wide(stats.limits.half_open));
    let manager = state.managed.manager();
    gauge("stt_managed_streams", "Managed streams", wide(manager.list_streams().len()));
    gauge("stt_managed_stream_bytes", "Bytes that managed streams hold", wide(manager.memory()));
    gauge("stt_event_subscribers", "Open calls of EventService", wide(state.events.subscribers()));
    if let Ok(bytes) = state.chamber.stored_bytes().await {
        gauge("stt_stored_bytes", "Bytes in the store, encrypted and padded", float(bytes));
    }

    let mut counter = |name: &str, help: &str, value: u64| {
        all.register(name, help, ConstCounter::new(value));
    };
    let udp = &stats.udp_transport;
    counter("stt_sessions_begun", "Sessions since the start", stats.sessions.total);
    counter("stt_sessions_refused", "Sessions that a limit refused", stats.limits.sessions_refused);
    counter("stt_streams_refused", "Streams that a limit refused", stats.limits.streams_refused);
    counter("stt_udp_sent_bytes", "Bytes of datagrams sent", udp.bytes_sent);
    counter("stt_udp_received_bytes", "Bytes of datagrams received", udp.bytes_received);
    counter("stt_handshakes_failed", "Handshakes that failed after a knock", udp.handshakes_failed);
    counter(
        "stt_datagrams_of_strangers",
        "Datagrams that fit no seed, and got no answer",
        udp.dropped_unknown,
    );
    all
}

#[allow(clippy::cast_precision_loss, reason = "gauges are read by people")]
const fn float(value: u64) -> f64 {
    value as f64
}

fn wide(value: usize) -> f64 {
    float(u64::try_from(value).unwrap_or(u64::MAX))
}

/// What happened to managed streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamsEvent {
    event: &'static str,
    /// A class, a trigger, a state or a code.
    detail: String,
}

/// Counts what happens to managed streams, as long as the gateway lives.
pub(crate) async fn follow_streams(state: Shared) {
    let mut events = state.managed.manager().events();
    loop {
        let (event, detail) = match events.recv().await {
            Ok(event) => match event.kind {
                StreamEventKind::Created => ("created", String::new()),
                StreamEventKind::Connected => ("connected", String::new()),
                StreamEventKind::Disconnected { class, .. } => ("disconnected", class.to_string()),
                StreamEventKind::Retry { .. } => ("retry", String::new()),
                StreamEventKind::Breaker(state) => ("breaker", state.to_string()),
                StreamEventKind::BackpressureOn(trigger) => ("backpressure", trigger.to_string()),
                StreamEventKind::HeartbeatMissed { .. } => ("heartbeat_missed", String::new()),
                StreamEventKind::Ended { cause } => ("ended", cause.unwrap_or_default().to_owned()),
                _ => continue,
            },
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events of managed streams were not counted");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        state.metrics.streams.get_or_create(&StreamsEvent { event, detail }).inc();
    }
}
