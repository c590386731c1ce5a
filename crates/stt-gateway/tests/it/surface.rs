//! What stands around the calls: reflection, gRPC-Web, TLS, metrics, the smaller calls, and managed
//! streams between two gateways.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use rustls::pki_types::ServerName;
use stt::{Coded, Mode, Node, SharedSeed};
use stt_gateway::{
    Gateway, GatewaySettings, Token,
    proto::{
        health::{
            HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
        },
        v1::{
            AcceptStream, AddPeerRequest, BroadcastMessageRequest, CloseAllStreamsRequest,
            CloseStreamRequest, ExchangeRequest, ExchangeResponse, GetComponentHealthRequest,
            GetPeerHealthRequest, GetPeerRequest, GetStreamRequest, GetStreamStatsRequest,
            HealthStatus, ListPeersRequest, ListStreamsRequest, OpenStream, PeerStatus,
            RemovePeerRequest, StreamHealthRequest, SystemHealthRequest, exchange_request,
            exchange_response, peer_service_client::PeerServiceClient,
            stream_service_client::StreamServiceClient, system_service_client::SystemServiceClient,
        },
    },
};
use stt_store::{Chamber, ChamberKey};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

const LONG: Duration = Duration::from_secs(60);
const ORIGIN: &str = "https://example.com";

async fn node_and_chamber() -> (Node, Chamber) {
    let seed = stc::Key::from_bytes([7; 32]).to_printable();
    let seed = SharedSeed::from_bytes(seed.as_bytes()).unwrap();
    let node = Node::builder(seed).host("127.0.0.1").start(Mode::Server).await.unwrap();
    let key = ChamberKey::from_key(&stc::Key::from_bytes([9; 32]));
    (node, Chamber::in_memory(&key).await.unwrap())
}

async fn start(settings: GatewaySettings) -> (Gateway, Node) {
    let (node, chamber) = node_and_chamber().await;
    (Gateway::start(node.clone(), chamber, settings).await.unwrap(), node)
}

/// Whatever the port was for, it is one failure, with one code.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_has_the_code_that_a_node_gives_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = GatewaySettings::new().listen(taken.local_addr().unwrap());
    let (node, chamber) = node_and_chamber().await;
    let refused = Gateway::start(node, chamber, settings).await.err().unwrap();
    assert_eq!((refused.code(), refused.retry_helps()), ("node.port_in_use", true));
}

async fn connect(gateway: &Gateway) -> Channel {
    let to = format!("http://{}", gateway.local_addr());
    Channel::from_shared(to).unwrap().connect().await.unwrap()
}

/// As [`connect`], with a handle that cuts the connection.
async fn connect_to_be_cut(gateway: &Gateway) -> (Channel, std::net::TcpStream) {
    let tcp = std::net::TcpStream::connect(gateway.local_addr()).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let handle = tcp.try_clone().unwrap();
    let once = std::sync::Mutex::new(Some(TcpStream::from_std(tcp).unwrap()));
    let over = tower::service_fn(move |_: http::Uri| {
        let tcp = once.lock().unwrap().take().map(hyper_util::rt::TokioIo::new);
        std::future::ready(tcp.ok_or_else(|| std::io::Error::other("it was cut")))
    });
    let endpoint = Channel::from_static("http://localhost");
    (endpoint.connect_with_connector(over).await.unwrap(), handle)
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn shown<T>(token: &Token, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = format!("Bearer {}", token.reveal()).parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

/// Writes a request of HTTP/1.1 and reads the whole answer.
async fn http(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Vec<u8> {
    io.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A peer of TLS may end without saying so.
    let _ = tokio::time::timeout(LONG, io.read_to_end(&mut answer)).await.unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let tcp = TcpStream::connect(address).await.unwrap();
    String::from_utf8(http(tcp, request.as_bytes()).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_all_services_and_can_be_switched_off() {
    let (gateway, _) = start(GatewaySettings::default()).await;
    let channel = connect(&gateway).await;
    let mut reflection = ServerReflectionClient::new(channel);
    let ask = |ask| ServerReflectionRequest { message_request: Some(ask), ..Default::default() };
    let asked = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("stt.gateway.v1.StreamService".into())),
        ask(MessageRequest::FileContainingSymbol("nobody".into())),
    ];
    let mut answers =
        reflection.server_reflection_info(stream::iter(asked)).await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
    let listed = match next().await {
        MessageResponse::ListServicesResponse(listed) => listed.service,
        other => return assert_eq!(format!("{other:?}"), "services"),
    };
    let listed: BTreeSet<_> = listed.into_iter().map(|service| service.name).collect();
    for name in ["Event", "File", "Peer", "Stream", "System"] {
        assert!(listed.contains(&format!("stt.gateway.v1.{name}Service")), "{listed:?}");
    }
    assert!(listed.contains("grpc.health.v1.Health"), "{listed:?}");
    assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
    gateway.stop(LONG).await;

    let (gateway, _) = start(GatewaySettings::new().reflection(false)).await;
    let mut reflection = ServerReflectionClient::new(connect(&gateway).await);
    let asked = vec![ask(MessageRequest::ListServices(String::new()))];
    let refused = reflection.server_reflection_info(stream::iter(asked)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    gateway.stop(LONG).await;
}

/// A call of gRPC-Web to a path, with what its headers are to hold besides.
async fn web(address: SocketAddr, path: &str, kind: &str, body: &[u8], more: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {ORIGIN}\r\n\
         content-type: {kind}\r\nx-grpc-web: 1\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    http(TcpStream::connect(address).await.unwrap(), &request).await
}

fn has(answer: &[u8], what: &str) -> bool {
    answer.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_named_origins_call_by_grpc_web() {
    let token = Token::generate().unwrap();
    let settings = GatewaySettings::new().token(token.clone()).origins([ORIGIN.into()]);
    let (gateway, _) = start(settings).await;
    let at = gateway.local_addr();
    let check = "/grpc.health.v1.Health/Check";
    let preflight = format!(
        "OPTIONS {check} HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {ORIGIN}\r\n\
         access-control-request-method: POST\r\n\
         access-control-request-headers: content-type,x-grpc-web,authorization\r\n\r\n"
    );
    let tcp = TcpStream::connect(at).await.unwrap();
    let allowed = http(tcp, preflight.as_bytes()).await;
    assert!(has(&allowed, "HTTP/1.1 200"), "{}", String::from_utf8_lossy(&allowed));
    assert!(has(&allowed, &format!("access-control-allow-origin: {ORIGIN}")));
    assert!(has(&allowed, "x-grpc-web"));
    let foreign = preflight.replace(ORIGIN, "https://elsewhere.example");
    let tcp = TcpStream::connect(at).await.unwrap();
    assert!(!has(&http(tcp, foreign.as_bytes()).await, "access-control-allow-origin"));

    let empty = [0; 5];
    let answer = web(at, check, "application/grpc-web+proto", &empty, "").await;
    assert!(has(&answer, "content-type: application/grpc-web"), "{answer:?}");
    assert!(has(&answer, &format!("access-control-allow-origin: {ORIGIN}")));
    assert!(has(&answer, "grpc-status-details-bin"), "it is exposed");
    // SERVING, and then the end as a frame of the body.
    assert!(has(&answer, "\0\0\0\0\x02\x08\x01"), "{answer:?}");
    assert!(has(&answer, "grpc-status:0"), "{}", String::from_utf8_lossy(&answer));

    let text = "application/grpc-web-text+proto";
    let accept = format!("accept: {text}\r\n");
    let answer = web(at, check, text, b"AAAAAAA=", &accept).await;
    assert!(has(&answer, "content-type: application/grpc-web-text"));
    assert!(has(&answer, "AAAAAAIIAQ"), "{}", String::from_utf8_lossy(&answer));

    // A stream of the server's, by who shows the token, and not by who does not.
    let events = "/stt.gateway.v1.EventService/StreamSystemEvents";
    let refused = web(at, events, "application/grpc-web+proto", &empty, "").await;
    assert!(has(&refused, "grpc-status: 16"), "{}", String::from_utf8_lossy(&refused));
    let bearer = format!("authorization: Bearer {}\r\ngrpc-timeout: 300m\r\n", token.reveal());
    let ended = web(at, events, "application/grpc-web+proto", &empty, &bearer).await;
    assert!(has(&ended, "HTTP/1.1 200") && has(&ended, "grpc-status:4"), "{ended:?}");
    // The rest of HTTP answers on the same port.
    assert!(get(at, "/healthz").await.contains("serving"));
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls_the_gateway_speaks_both_versions_of_http() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let token = Token::generate().unwrap();
    let settings = GatewaySettings::new().tls(certificate, key).token(token.clone());
    let (gateway, _) = start(settings).await;
    let at = gateway.local_addr();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = move |protocol: &str| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        async move {
            let tcp = TcpStream::connect(at).await?;
            connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await
        }
    };
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = http(tls("http/1.1").await.unwrap(), request).await;
    assert!(has(&answer, "200 OK") && has(&answer, "serving"), "{answer:?}");

    let over = tower::service_fn(move |_: http::Uri| {
        let connecting = tls("h2");
        async move { connecting.await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = Channel::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(over).await.unwrap();
    let mut system = SystemServiceClient::new(channel);
    let asked = shown(&token, SystemHealthRequest {});
    let health = system.health_check(asked).await.unwrap().into_inner();
    assert_eq!(health.status(), HealthStatus::Healthy);
    // Who does not speak TLS gets nothing.
    let plain = http(TcpStream::connect(at).await.unwrap(), request).await;
    assert!(!has(&plain, "HTTP/1.1"), "{plain:?}");
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_calls_by_code_and_need_no_token_on_this_machine() {
    let settings = GatewaySettings::new().token(Token::generate().unwrap());
    let (gateway, _) = start(settings).await;
    let channel = connect(&gateway).await;
    let mut health = HealthClient::new(channel.clone());
    for _ in 0..3 {
        let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let mut system = SystemServiceClient::new(channel);
    assert!(system.health_check(SystemHealthRequest {}).await.is_err());
    let wanted = [
        r#"grpc_server_handled_total{grpc_service="grpc.health.v1.Health",grpc_method="Check",grpc_code="OK"} 3"#,
        r#"grpc_server_handled_total{grpc_service="stt.gateway.v1.SystemService",grpc_method="HealthCheck",grpc_code="Unauthenticated"} 1"#,
        r#"grpc_server_handling_seconds_count{grpc_service="grpc.health.v1.Health",grpc_method="Check"} 3"#,
        "stt_store_health 1",
        "stt_streams_health 1",
        "stt_sessions 0",
        "stt_udp_sent_bytes_total 0",
    ];
    // A call is counted once its answer is gone, which may be a moment later.
    let mut page = String::new();
    for _ in 0..600 {
        page = get(gateway.local_addr(), "/metrics").await;
        if wanted.iter().all(|line| page.contains(line)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for line in wanted {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(page.contains("application/openmetrics-text") && page.contains("# EOF"), "{page}");
    // Callers make no new lines.
    get(gateway.local_addr(), "/made.up/Path").await;
    assert!(!get(gateway.local_addr(), "/metrics").await.contains("made.up"));
    gateway.stop(LONG).await;
}

async fn add(ours: &Channel, peer: &Node) -> String {
    let address = peer.local_addr();
    let wanted = AddPeerRequest {
        address: address.ip().to_string(),
        port: address.port().into(),
        id: peer.node_id().to_string(),
        metadata: [("role".to_owned(), "peer".to_owned())].into(),
    };
    PeerServiceClient::new(ours.clone()).add_peer(wanted).await.unwrap().into_inner().id
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_listed_described_asked_and_removed() {
    let (gateway, _) = start(GatewaySettings::default()).await;
    let (_other, peer) = start(GatewaySettings::default()).await;
    let channel = connect(&gateway).await;
    let mut peers = PeerServiceClient::new(channel.clone());
    let id = add(&channel, &peer).await;
    let listed = peers.list_peers(ListPeersRequest {}).await.unwrap().into_inner().peers;
    assert_eq!(listed.len(), 1);
    let found = peers.get_peer(GetPeerRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!((found.status(), found.metadata["role"].as_str()), (PeerStatus::Connected, "peer"));
    assert_eq!((found.sessions.len(), found.sessions[0].route.as_str()), (1, "udp"));
    assert!(found.sessions[0].initiator);
    let asked = GetPeerHealthRequest { id: id.clone() };
    let health = peers.get_peer_health(asked.clone()).await.unwrap().into_inner();
    assert!(health.latency_ms.unwrap() > 0.0 && health.status() == PeerStatus::Connected);

    let removed = peers.remove_peer(RemovePeerRequest { id: id.clone() }).await.unwrap();
    assert_eq!(removed.into_inner().sessions_closed, 1);
    let gone = peers.get_peer_health(asked).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "request.unknown_peer"));
    let malformed = peers.get_peer(GetPeerRequest { id: "x".into() }).await.unwrap_err();
    assert_eq!(
        (malformed.code(), reason(&malformed).as_str()),
        (Code::InvalidArgument, "id.malformed")
    );

    let mut system = SystemServiceClient::new(channel);
    let all = system.get_detailed_health(SystemHealthRequest {}).await.unwrap().into_inner();
    let names: Vec<_> = all.components.iter().map(|one| one.component.as_str()).collect();
    assert_eq!(
        (all.status(), &names[..]),
        (HealthStatus::Healthy, &["node", "store", "streams", "gateway"][..])
    );
    let of = |component: &str| GetComponentHealthRequest { component: component.into() };
    let store = system.get_component_health(of("store")).await.unwrap().into_inner();
    assert_eq!(store.status(), HealthStatus::Healthy);
    let unknown = system.get_component_health(of("x")).await.unwrap_err();
    assert_eq!(reason(&unknown), "request.unknown_component");
    gateway.stop(LONG).await;
}

/// One side of a stream, as a program has it.
struct Side {
    requests: mpsc::Sender<ExchangeRequest>,
    answers: Streaming<ExchangeResponse>,
}

fn parts(mut from: mpsc::Receiver<ExchangeRequest>) -> impl Stream<Item = ExchangeRequest> {
    stream::poll_fn(move |context| from.poll_recv(context))
}

impl Side {
    async fn begin(channel: &Channel, first: exchange_request::Part) -> (Self, String) {
        let (requests, asked) = mpsc::channel(64);
        let mut side = StreamServiceClient::new(channel.clone());
        let first = stream::iter([ExchangeRequest { part: Some(first) }]);
        let answers = side.exchange(first.chain(parts(asked))).await.unwrap().into_inner();
        let mut side = Self { requests, answers };
        match side.next().await {
            Some(exchange_response::Part::Opened(opened)) => (side, opened.id),
            other => {
                assert_eq!(other, None, "not opened");
                (side, String::new())
            }
        }
    }

    async fn next(&mut self) -> Option<exchange_response::Part> {
        self.answers.message().await.unwrap().and_then(|answer| answer.part)
    }

    async fn send(&self, part: exchange_request::Part) {
        self.requests.send(ExchangeRequest { part: Some(part) }).await.unwrap();
    }

    async fn data(&self, data: impl Into<Bytes>) {
        self.send(exchange_request::Part::Data(data.into())).await;
    }
}

fn data(data: impl Into<Bytes>) -> Option<exchange_response::Part> {
    Some(exchange_response::Part::Data(data.into()))
}

/// Two gateways whose nodes know each other, and a managed stream that the first began.
struct Two {
    gateways: [Gateway; 2],
    nodes: [Node; 2],
    channels: [Channel; 2],
    ours: Side,
    theirs: Side,
    id: String,
}

async fn two() -> Two {
    let (left, near) = start(GatewaySettings::default()).await;
    let (right, far) = start(GatewaySettings::default()).await;
    let channels = [connect(&left).await, connect(&right).await];
    let peer = add(&channels[0], &far).await;
    let open = OpenStream { peer, id: "orders".into() };
    let (ours, id) = Side::begin(&channels[0], exchange_request::Part::Open(open)).await;
    let accept = AcceptStream { peer: near.node_id().to_string(), managed: true };
    let (theirs, same) = Side::begin(&channels[1], exchange_request::Part::Accept(accept)).await;
    assert_eq!((&id, id.as_str()), (&same, format!("{}/orders", near.node_id()).as_str()));
    Two { gateways: [left, right], nodes: [near, far], channels, ours, theirs, id }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_stream_goes_on_over_the_next_session_and_loses_nothing() {
    let mut two = two().await;
    for at in 0..300_u32 {
        if at % 100 == 50 {
            for session in two.nodes[0].sessions() {
                session.abort("cut by the test");
            }
        }
        two.ours.data(at.to_string()).await;
        assert_eq!(two.theirs.next().await, data(at.to_string()));
        two.theirs.data(at.to_string()).await;
        assert_eq!(two.ours.next().await, data(at.to_string()));
    }
    two.ours.send(exchange_request::Part::Error("enough".into())).await;
    assert_eq!(two.theirs.next().await, Some(exchange_response::Part::Error("enough".into())));

    let mut streams = StreamServiceClient::new(two.channels[0].clone());
    let wanted = GetStreamRequest { id: two.id.clone() };
    let stats = streams.get_stream(wanted.clone()).await.unwrap().into_inner();
    assert_eq!((stats.sent, stats.received, stats.max_buffer), (301, 300, 1_000));
    assert_eq!((stats.breaker.as_str(), stats.ended.as_str(), stats.healthy), ("closed", "", true));
    assert!(stats.transient_errors >= 1, "{stats:?}");
    let listed = streams.list_streams(ListStreamsRequest {}).await.unwrap().into_inner().streams;
    assert_eq!(listed.len(), 1);
    let all = streams.get_stream_stats(GetStreamStatsRequest {}).await.unwrap().into_inner();
    assert_eq!((all.active_streams, all.streams[&two.id].sent), (1, 301));
    let health = streams.health_check(StreamHealthRequest {}).await.unwrap().into_inner();
    assert_eq!((health.status(), health.total_streams), (HealthStatus::Healthy, 1));
    let page = get(two.gateways[0].local_addr(), "/metrics").await;
    assert!(page.contains("stt_managed_streams 1"), "{page}");

    let message = BroadcastMessageRequest { data: b"to all"[..].into() };
    let results = streams.broadcast_message(message).await.unwrap().into_inner().results;
    assert_eq!((results.len(), results[&two.id].code.as_str()), (1, ""));
    assert_eq!(two.theirs.next().await, data("to all"));

    // A second stream of the name is refused while the first lives.
    let open = OpenStream { peer: two.nodes[1].node_id().to_string(), id: "orders".into() };
    let open = ExchangeRequest { part: Some(exchange_request::Part::Open(open)) };
    let taken = streams.exchange(stream::iter([open])).await.unwrap_err();
    assert_eq!(
        (taken.code(), reason(&taken).as_str()),
        (Code::AlreadyExists, "streams.already_exists")
    );

    // Ending the requests closes it, and both calls end.
    drop(two.ours.requests);
    assert_eq!(two.theirs.next().await, None);
    assert!(two.ours.answers.message().await.unwrap().is_none());
    let gone = streams.get_stream(wanted).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "streams.not_found"));
    for gateway in two.gateways {
        gateway.stop(LONG).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_sent_before_it_closed_waits_for_a_program() {
    let two = two().await;
    let open = OpenStream { peer: two.nodes[1].node_id().to_string(), id: "late".into() };
    let (mut ours, id) = Side::begin(&two.channels[0], exchange_request::Part::Open(open)).await;
    ours.data("first").await;
    ours.data("second").await;
    drop(ours.requests);
    assert!(ours.answers.message().await.unwrap().is_none(), "the peer has all of it");
    let accept = AcceptStream { peer: two.nodes[0].node_id().to_string(), managed: true };
    let begun = Side::begin(&two.channels[1], exchange_request::Part::Accept(accept));
    let (mut theirs, same) = tokio::time::timeout(LONG, begun).await.unwrap();
    assert_eq!(same, id);
    assert_eq!(theirs.next().await, data("first"));
    assert_eq!(theirs.next().await, data("second"));
    assert_eq!(theirs.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_leaves_is_missed_and_any_stream_can_be_closed() {
    let two = two().await;
    let (channel, cut) = connect_to_be_cut(&two.gateways[0]).await;
    let peer = || two.nodes[1].node_id().to_string();
    let open = OpenStream { peer: peer(), id: "cut".into() };
    let (mut ours, _) = Side::begin(&channel, exchange_request::Part::Open(open)).await;
    let accept = || {
        let accept = AcceptStream { managed: true, ..Default::default() };
        exchange_request::Part::Accept(accept)
    };
    let (mut theirs, _) = Side::begin(&two.channels[1], accept()).await;
    ours.data("x").await;
    assert_eq!(theirs.next().await, data("x"));
    theirs.data("y").await;
    assert_eq!(ours.next().await, data("y"));
    // The program is gone, without a word.
    cut.shutdown(std::net::Shutdown::Both).unwrap();
    let words = "the program gave the stream up".to_owned();
    assert_eq!(theirs.next().await, Some(exchange_response::Part::Error(words)));
    assert_eq!(theirs.next().await, None);

    let open = OpenStream { peer: peer(), id: "next".into() };
    let (mut ours, id) = Side::begin(&two.channels[0], exchange_request::Part::Open(open)).await;
    let (mut theirs, _) = Side::begin(&two.channels[1], accept()).await;
    let mut streams = StreamServiceClient::new(two.channels[0].clone());
    streams.close_stream(CloseStreamRequest { id }).await.unwrap();
    assert_eq!(ours.next().await, None);
    assert_eq!(theirs.next().await, None);
    let all = streams.close_all_streams(CloseAllStreamsRequest {}).await.unwrap().into_inner();
    assert_eq!(all.unconfirmed, 0);
    for gateway in two.gateways {
        gateway.stop(LONG).await;
    }
}
