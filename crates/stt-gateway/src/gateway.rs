//! The gateway: what is served, from the start to the end.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, middleware, response::IntoResponse, routing::get};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use stc::Cause;
use stt::{Event, EventFilter, Node, ProtocolHandler, Session, Subscription};
use stt_store::Chamber;
use stt_swarm::ContentLibrary;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::service::Routes;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    GatewayError, GatewaySettings,
    arrivals::Arrivals,
    content::ContentOver,
    deadline,
    events::{Events, EventsOver},
    files::FilesOver,
    guard,
    health::{HealthBoard, HealthService},
    listener,
    managed::{self, Managed},
    message_size,
    metrics::{self, Metrics},
    peers::{PeerTable, PeersOver},
    proto::{
        DESCRIPTORS,
        health::health_server::HealthServer,
        v1::{
            HealthEvent, PeerEvent, PeerEventKind, SystemEvent, SystemEventKind,
            content_service_server::ContentServiceServer, event_service_server::EventServiceServer,
            file_service_server::FileServiceServer, peer_service_server::PeerServiceServer,
            store_service_server::StoreServiceServer, stream_service_server::StreamServiceServer,
            swarm_service_server::SwarmServiceServer, system_service_server::SystemServiceServer,
            topic_service_server::TopicServiceServer,
        },
    },
    state::{Phase, Shared, State, now_ms},
    store::StoreOver,
    streams::{self, StreamsOver},
    swarm::SwarmOver,
    system::{self, SystemOver},
    topics::TopicsOver,
};

/// Services that health knows.
const SERVICES: [&str; 9] = [
    "stt.gateway.v1.ContentService",
    "stt.gateway.v1.EventService",
    "stt.gateway.v1.FileService",
    "stt.gateway.v1.PeerService",
    "stt.gateway.v1.StoreService",
    "stt.gateway.v1.StreamService",
    "stt.gateway.v1.SwarmService",
    "stt.gateway.v1.SystemService",
    "stt.gateway.v1.TopicService",
];
/// How often the components' health is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Of the time to drain, what is left for calls that have to be ended, and again for streams.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A gateway that runs. Dropped, it ends at once.
pub struct Gateway {
    state: Shared,
    address: SocketAddr,
    serving: JoinHandle<()>,
    beside: Vec<JoinHandle<()>>,
    /// Dropped, no events of the node are told.
    _events: Option<Subscription>,
    /// Dropped, no managed streams of peers are taken in.
    _protocol: ProtocolHandler,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All calls ended by themselves.
    Whole,
    /// Some had to be ended when the time was over.
    Cut,
}

impl Gateway {
    /// Serves `node` and `chamber`. It takes all sessions that peers begin from [`Node::accept`], and
    /// the streams that peers begin in any session.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn start(
        node: Node,
        chamber: Chamber,
        settings: GatewaySettings,
    ) -> Result<Self, GatewayError> {
        settings.check()?;
        let tls = match &settings.tls {
            Some((certificate, key)) => Some(listener::tls(certificate, key)?),
            None => None,
        };
        let bind = |cause: std::io::Error| match cause.kind() {
            std::io::ErrorKind::AddrInUse => GatewayError::PortInUse { address: settings.listen },
            _ => GatewayError::Bind { address: settings.listen, cause },
        };
        let listening = TcpListener::bind(settings.listen).await.map_err(bind)?;
        let address = listening.local_addr().map_err(bind)?;
        let state = Arc::new(State {
            node,
            chamber,
            swarm: settings.swarm.clone(),
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Serving),
            health: HealthBoard::new(&SERVICES),
            events: Events::new(now_ms()),
            peers: PeerTable::default(),
            arrivals: Arrivals::default(),
            managed: Managed::new(settings.stream_config())?,
            metrics: Metrics::new(),
            log_levels: settings.log_levels.clone(),
            max_message: settings.max_message,
        });
        let library = ContentLibrary::new(&state.node);
        let library = library.map_err(|error| GatewayError::Internal { cause: error.into() })?;
        let app = app(&state, &settings, library)?;
        let protocol = managed::take_in(&state)?;
        let events = listen_to_node(&state);
        let beside = vec![
            tokio::spawn(streams::take_in_all(Arc::clone(&state))),
            tokio::spawn(watch_health(Arc::clone(&state))),
            tokio::spawn(metrics::follow_streams(Arc::clone(&state))),
        ];
        let max = settings.max_connections;
        let serving = tokio::spawn(listener::serve(listening, tls, app, Arc::clone(&state), max));
        state.health.set_all(true);
        emit_system(&state, SystemEventKind::Startup, "", "the gateway takes calls");
        Ok(Self { state, address, serving, beside, _events: events, _protocol: protocol })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends it within `patience`: health says NOT_SERVING first, no call is taken any more, those that
    /// run may end, and what is left then is ended with UNAVAILABLE. The node goes on.
    pub async fn stop(mut self, patience: Duration) -> Drained {
        self.state.health.set_all(false);
        emit_system(&self.state, SystemEventKind::Shutdown, "", "the gateway is stopping");
        self.state.phase.send_replace(Phase::Draining);
        let gently = patience.saturating_sub(LAST_WORDS * 2);
        let whole = tokio::time::timeout(gently, &mut self.serving).await.is_ok();
        if !whole {
            self.state.phase.send_replace(Phase::Ending);
            let _ = tokio::time::timeout(patience.min(LAST_WORDS), &mut self.serving).await;
        }
        // What is left are streams that no program has.
        self.state.managed.service.shutdown(patience.min(LAST_WORDS)).await;
        if whole { Drained::Whole } else { Drained::Cut }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.state.phase.send_replace(Phase::Ending);
        self.serving.abort();
        self.beside.iter().for_each(JoinHandle::abort);
    }
}

/// What answers, layer by layer.
fn app(
    state: &Shared,
    settings: &GatewaySettings,
    library: ContentLibrary,
) -> Result<Router, GatewayError> {
    let internal = |cause: Cause| GatewayError::Internal { cause };
    let max = settings.max_message;
    macro_rules! limited {
        ($server:expr) => {
            $server.max_decoding_message_size(max).max_encoding_message_size(max)
        };
    }
    let content = ContentOver::new(Arc::clone(state), library);
    let files = FilesOver { state: Arc::clone(state), changing: tokio::sync::Mutex::default() };
    let mut routes = Routes::new(limited!(HealthServer::new(HealthService(Arc::clone(state)))))
        .add_service(limited!(ContentServiceServer::new(content)))
        .add_service(limited!(FileServiceServer::new(Arc::new(files))))
        .add_service(limited!(PeerServiceServer::new(PeersOver(Arc::clone(state)))))
        .add_service(limited!(StoreServiceServer::new(StoreOver::new(Arc::clone(state)))))
        .add_service(limited!(StreamServiceServer::new(StreamsOver(Arc::clone(state)))))
        .add_service(limited!(SwarmServiceServer::new(SwarmOver(Arc::clone(state)))))
        .add_service(limited!(TopicServiceServer::new(TopicsOver(Arc::clone(state)))))
        .add_service(limited!(SystemServiceServer::new(SystemOver(Arc::clone(state)))))
        .add_service(limited!(EventServiceServer::new(EventsOver(Arc::clone(state)))));
    if settings.reflection {
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
        };
        let v1 = describe().build_v1().map_err(|error| internal(error.into()))?;
        let v1alpha = describe().build_v1alpha().map_err(|error| internal(error.into()))?;
        routes = routes.add_service(v1).add_service(v1alpha);
    }
    let token = settings.token.clone();
    let (measured, shown) = (Arc::clone(state), settings.token.clone());
    // On this machine, who collects them needs no token.
    let open = settings.listen.ip().is_loopback();
    let metrics = move |request: axum::extract::Request| async move {
        if open || guard::is_shown(shown.as_ref(), &request) {
            metrics::page(&measured).await
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    };
    let calls = routes
        .into_axum_router()
        .layer(middleware::from_fn_with_state(Arc::clone(state), message_size::limit))
        .layer(middleware::from_fn_with_state(Arc::clone(state), deadline::keep))
        .layer(middleware::from_fn_with_state(token, guard::check))
        .layer(middleware::from_fn_with_state(Arc::clone(state), metrics::count))
        // It answers every other request of HTTP/1 with 400, so it stands before the calls alone.
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(cors(&settings.origins)?);
    let healthy = Arc::clone(state);
    let healthz = move || async move {
        match *healthy.phase.borrow() {
            Phase::Serving => (StatusCode::OK, "serving\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    };
    let beside = Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics));
    Ok(beside.fallback_service(calls))
}

/// What pages of other origins may do: call, and read how the call ended.
fn cors(origins: &[String]) -> Result<CorsLayer, GatewayError> {
    let parse = |origin: &String| {
        HeaderValue::from_str(origin).map_err(|error| GatewayError::Internal {
            cause: Cause::text(format!("{origin:?}: {error}")),
        })
    };
    let origins = origins.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let names = |names: &[&'static str]| -> Vec<HeaderName> {
        names.iter().map(|name| HeaderName::from_static(name)).collect()
    };
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers(names(&[
            "authorization",
            "content-type",
            "grpc-timeout",
            "x-grpc-web",
            "x-user-agent",
        ]))
        .expose_headers(names(&["grpc-status", "grpc-message", "grpc-status-details-bin"])))
}

fn emit_system(state: &State, kind: SystemEventKind, code: &str, message: &str) {
    state.events.system.emit(SystemEvent {
        header: None,
        kind: kind.into(),
        code: code.to_owned(),
        message: message.to_owned(),
    });
}

/// Turns events of the node into those of the gateway.
fn listen_to_node(state: &Shared) -> Option<Subscription> {
    let state_of_handler = Arc::downgrade(state);
    let handler = state.node.on(EventFilter::All, move |event: Arc<Event>| {
        if let Some(state) = state_of_handler.upgrade() {
            tell(&state, &event);
        }
        std::future::ready(())
    });
    match handler {
        Ok(handler) => Some(handler),
        Err(error) => {
            tracing::warn!(%error, "events of the node are not told");
            None
        }
    }
}

fn tell(state: &Shared, event: &Event) {
    let peer = |kind: PeerEventKind, peer: &stt::NodeId| {
        let event = PeerEvent { header: None, kind: kind.into(), peer: peer.to_string() };
        state.events.peers.emit(event);
    };
    match event {
        // Those that peers began come by `Node::accept`.
        Event::SessionCreated { session_id, .. } => {
            if let Some(session) = state.node.session(*session_id).filter(Session::is_initiator) {
                streams::take_in(state, session);
            }
        }
        Event::PeerConnected { peer: id } => peer(PeerEventKind::Connected, id),
        Event::PeerDisconnected { peer: id } => peer(PeerEventKind::Disconnected, id),
        Event::Error { code, details } => {
            emit_system(state, SystemEventKind::Error, code, details);
        }
        Event::Warning { code, details } => {
            emit_system(state, SystemEventKind::Warning, code, details);
        }
        _ => {}
    }
}

/// Tells of each change of a component's health.
async fn watch_health(state: Shared) {
    let mut before: Vec<(String, i32)> = Vec::new();
    loop {
        let now = system::components(&state).await;
        for one in &now {
            let known = before.iter().find(|(component, _)| *component == one.component);
            if known.is_some_and(|(_, status)| *status != one.status) {
                state.events.health.emit(HealthEvent {
                    header: None,
                    component: one.component.clone(),
                    status: one.status,
                    message: one.message.clone(),
                });
            }
        }
        before = now.into_iter().map(|one| (one.component, one.status)).collect();
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = state.reached(Phase::Draining) => return,
        }
    }
}
