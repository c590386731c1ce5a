//! A gateway, called by real clients over 127.0.0.1.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::time::{Duration, Instant};

use stt::{ConnectOptions, Mode, Node, SharedSeed};
use stt_gateway::{
    Drained, Gateway, GatewaySettings, Token,
    proto::{
        health::{
            HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
        },
        v1::{
            AddPeerRequest, DeleteFileRequest, DownloadFileRequest, ExchangeRequest, FileChunk,
            GetFileRequest, GetSystemInfoRequest, ListFilesRequest, OpenStream,
            StreamEventsRequest, UploadFileRequest, UploadHeader, download_file_request,
            event_service_client::EventServiceClient, exchange_request, exchange_response,
            file_service_client::FileServiceClient, peer_service_client::PeerServiceClient,
            stream_service_client::StreamServiceClient, system_service_client::SystemServiceClient,
            upload_file_request::Part,
        },
    },
};
use stt_store::{Chamber, ChamberKey, ContentId};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt;

const LONG: Duration = Duration::from_secs(60);

fn seed() -> SharedSeed {
    SharedSeed::from_bytes(stc::Key::from_bytes([7; 32]).to_printable().as_bytes()).unwrap()
}

async fn node() -> Node {
    Node::builder(seed()).host("127.0.0.1").start(Mode::Server).await.unwrap()
}

async fn start(settings: GatewaySettings) -> (Gateway, Node, Channel) {
    let key = ChamberKey::from_key(&stc::Key::from_bytes([9; 32]));
    let chamber = Chamber::in_memory(&key).await.unwrap();
    let node = node().await;
    let gateway = Gateway::start(node.clone(), chamber, settings).await.unwrap();
    let to = format!("http://{}", gateway.local_addr());
    let channel = Channel::from_shared(to).unwrap().connect().await.unwrap();
    (gateway, node, channel)
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn upload(key: &str, data: &[u8]) -> Vec<UploadFileRequest> {
    let header =
        UploadHeader { key: key.into(), r#type: "text/plain".into(), ..Default::default() };
    let chunks = data.chunks(50_000).map(|data| {
        Part::Chunk(FileChunk {
            checksum: Some(crc32fast::hash(data)),
            data: data.to_vec().into(),
            ..Default::default()
        })
    });
    let parts = std::iter::once(Part::Header(header)).chain(chunks);
    parts.map(|part| UploadFileRequest { part: Some(part) }).collect()
}

fn requests<T>(all: Vec<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::iter(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_are_listed_and_removed() {
    let (gateway, _, channel) = start(GatewaySettings::default()).await;
    let mut files = FileServiceClient::new(channel.clone());
    let mut events = EventServiceClient::new(channel);
    let watching = StreamEventsRequest { subscriber_id: "one".into(), after: None };
    let mut seen = events.stream_file_operations(watching.clone()).await.unwrap().into_inner();
    let taken = events.stream_file_operations(watching).await.unwrap_err();
    assert_eq!(
        (taken.code(), reason(&taken).as_str()),
        (Code::AlreadyExists, "request.subscriber_taken")
    );

    let data: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let stored = files.upload_file(requests(upload("a/b", &data))).await.unwrap().into_inner();
    assert_eq!((stored.size, stored.r#type.as_str()), (200_000, "text/plain"));
    assert_eq!(stored.hash, ContentId::of(&data).to_string());
    assert_eq!(seen.message().await.unwrap().unwrap().key, "a/b");

    let file = Some(download_file_request::File::Key("a/b".into()));
    let wanted = DownloadFileRequest { file, offset: 10, length: None };
    let mut chunks = files.download_file(wanted).await.unwrap().into_inner();
    let (mut got, mut last) = (Vec::new(), false);
    while let Some(chunk) = chunks.message().await.unwrap() {
        assert_eq!(chunk.checksum, Some(crc32fast::hash(&chunk.data)));
        got.extend_from_slice(&chunk.data);
        last = chunk.last;
    }
    assert!(last);
    assert_eq!(got, data[10..]);

    let page = files.list_files(ListFilesRequest::default()).await.unwrap().into_inner();
    assert_eq!((page.total, page.files), (1, vec![stored.clone()]));
    let key = || "a/b".to_owned();
    assert_eq!(
        files.delete_file(DeleteFileRequest { key: key() }).await.unwrap().into_inner(),
        stored
    );
    let gone = files.get_file(GetFileRequest { key: key() }).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "store.not_found"));
    assert_eq!(files.list_files(ListFilesRequest::default()).await.unwrap().into_inner().total, 0);
    drop(seen);
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_leaves_nothing() {
    let (gateway, _, channel) = start(GatewaySettings::default()).await;
    let mut files = FileServiceClient::new(channel);
    let mut broken = upload("a", b"hello");
    if let Some(Part::Chunk(chunk)) = &mut broken[1].part {
        chunk.checksum = Some(1);
    }
    let refused = files.upload_file(requests(broken)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::DataLoss, "request.checksum"));
    let empty = files.upload_file(requests(upload("", b"x"))).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let fields = empty.get_error_details().bad_request().unwrap().field_violations.clone();
    assert_eq!(fields[0].field, "key");
    assert_eq!(files.list_files(ListFilesRequest::default()).await.unwrap().into_inner().total, 0);
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused_with_both_numbers() {
    let settings = GatewaySettings::new().max_message(64 << 10);
    let (gateway, _, channel) = start(settings).await;
    let mut files = FileServiceClient::new(channel);
    let chunk = FileChunk { data: vec![0; 70_000].into(), ..Default::default() };
    let mut all = upload("a", b"");
    all.push(UploadFileRequest { part: Some(Part::Chunk(chunk)) });
    let refused = files.upload_file(requests(all)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.metadata["limit"].as_str()),
        ("request.too_large", "65536")
    );
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_health_needs_no_token() {
    let token = Token::generate().unwrap();
    let settings = GatewaySettings::new().token(token.clone());
    let (gateway, _, channel) = start(settings).await;
    let mut health = HealthClient::new(channel.clone());
    let whole = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(whole.status(), ServingStatus::Serving);
    let ask = HealthCheckRequest { service: "nobody".into() };
    assert_eq!(health.check(ask.clone()).await.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(ask).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);

    let mut system = SystemServiceClient::new(channel);
    let refused = system.get_system_info(GetSystemInfoRequest {}).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unauthenticated, "request.unauthenticated")
    );
    let mut shown = Request::new(GetSystemInfoRequest {});
    let header = format!("Bearer {}", token.reveal()).parse().unwrap();
    shown.metadata_mut().insert("authorization", header);
    let info = system.get_system_info(shown).await.unwrap().into_inner();
    assert_eq!((info.peers, info.files), (0, 0));
    drop(watch);
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reaches_a_peer_and_comes_back() {
    let (gateway, _, channel) = start(GatewaySettings::default()).await;
    let peer = node().await;
    let mut peers = PeerServiceClient::new(channel.clone());
    let address = peer.local_addr();
    let wanted = AddPeerRequest {
        address: address.ip().to_string(),
        port: address.port().into(),
        ..Default::default()
    };
    let added = peers.add_peer(wanted).await.unwrap().into_inner();
    assert_eq!(added.id, peer.node_id().to_string());
    let echo = tokio::spawn({
        let peer = peer.clone();
        async move {
            let session = peer.accept().await.unwrap();
            let stream = session.accept_stream().await.unwrap();
            while let Some(message) = stream.receive().await.unwrap() {
                stream.send(message).await.unwrap();
            }
            stream.close().await.unwrap();
        }
    });
    let part = |part| ExchangeRequest { part: Some(part) };
    let open = exchange_request::Part::Open(OpenStream { peer: added.id, ..Default::default() });
    let mut all = vec![part(open)];
    all.extend((0..100_u8).map(|i| part(exchange_request::Part::Data(vec![i; 1000].into()))));
    let mut streams = StreamServiceClient::new(channel);
    let mut answers = streams.exchange(requests(all)).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().part;
    assert!(matches!(first, Some(exchange_response::Part::Opened(_))), "{first:?}");
    for i in 0..100_u8 {
        let answer = answers.message().await.unwrap().unwrap().part;
        assert_eq!(answer, Some(exchange_response::Part::Data(vec![i; 1000].into())));
    }
    let last = answers.message().await.unwrap().unwrap().part;
    assert!(matches!(last, Some(exchange_response::Part::Ended(_))), "{last:?}");
    assert_eq!(answers.message().await.unwrap(), None);
    echo.await.unwrap();
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_hears_that_the_peer_ended_and_may_still_send() {
    let (gateway, _, channel) = start(GatewaySettings::default()).await;
    let peer = node().await;
    let address = peer.local_addr();
    let wanted = AddPeerRequest {
        address: address.ip().to_string(),
        port: address.port().into(),
        ..Default::default()
    };
    let mut peers = PeerServiceClient::new(channel.clone());
    let added = peers.add_peer(wanted).await.unwrap().into_inner();
    let part = |part| ExchangeRequest { part: Some(part) };
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    ask.send(part(exchange_request::Part::Open(OpenStream {
        peer: added.id,
        ..Default::default()
    })))
    .await
    .unwrap();
    let asked = futures_util::stream::unfold(asked, |mut asked| async move {
        asked.recv().await.map(|part| (part, asked))
    });
    let mut streams = StreamServiceClient::new(channel);
    let mut answers = streams.exchange(asked).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    ask.send(part(exchange_request::Part::Data(b"begin"[..].into()))).await.unwrap();

    let theirs = peer.accept().await.unwrap().accept_stream().await.unwrap();
    assert_eq!(theirs.receive().await.unwrap().unwrap(), "begin");
    theirs.close().await.unwrap();
    let last = answers.message().await.unwrap().unwrap().part;
    assert!(matches!(last, Some(exchange_response::Part::Ended(_))), "{last:?}");
    ask.send(part(exchange_request::Part::Data(b"still"[..].into()))).await.unwrap();
    assert_eq!(theirs.receive().await.unwrap().unwrap(), "still");
    drop(ask);
    assert_eq!(theirs.receive().await.unwrap(), None);
    assert_eq!(answers.message().await.unwrap(), None);
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_stream_with_its_own_status() {
    let (gateway, _, channel) = start(GatewaySettings::default()).await;
    let mut health = HealthClient::new(channel);
    let mut request = Request::new(HealthCheckRequest::default());
    // By hand: the client's own timer would end the call first.
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let begun = Instant::now();
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let ended = watch.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::DeadlineExceeded, "request.deadline")
    );
    assert!(begun.elapsed() >= Duration::from_millis(300));
    gateway.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_an_open_call_nor_a_silent_connection_holds_up_the_end() {
    let (gateway, node, channel) = start(GatewaySettings::default()).await;
    let silent = tokio::net::TcpStream::connect(gateway.local_addr()).await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let peer = self::node().await;
    let session = node
        .connect_with(&peer.local_addr().to_string(), &ConnectOptions::new().timeout(LONG))
        .await
        .unwrap();
    let id = session.peer_node_id().to_string();
    let open = exchange_request::Part::Open(OpenStream { peer: id, ..Default::default() });
    let first = requests(vec![ExchangeRequest { part: Some(open) }]);
    let for_ever =
        futures_util::StreamExt::chain(first, futures_util::stream::pending::<ExchangeRequest>());
    let mut streams = StreamServiceClient::new(channel);
    let mut answers = streams.exchange(for_ever).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());

    let stopping = tokio::spawn(gateway.stop(Duration::from_secs(1)));
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let ended = answers.message().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "request.stopping"));
    let ended = tokio::time::timeout(LONG, stopping).await.unwrap().unwrap();
    assert_eq!(ended, Drained::Cut);
    drop(silent);
}
