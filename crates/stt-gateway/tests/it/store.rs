//! `StoreService`, called over 127.0.0.1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use futures_util::stream;
use stt::{Mode, Node, SharedSeed};
use stt_gateway::{
    Gateway, GatewaySettings,
    proto::v1::{
        FileChunk, GetContentRequest, ListContentsRequest, PutContentHeader, PutContentRequest,
        VerifyStoreRequest, get_content_response, list_contents_response, put_content_header::Keep,
        put_content_request::Part, store_service_client::StoreServiceClient, verify_store_response,
    },
};
use stt_store::{Chamber, ChamberKey};
use tonic::{Code, Status, transport::Channel};

type Client = StoreServiceClient<Channel>;

async fn start() -> (Gateway, Client, Chamber) {
    let key = ChamberKey::from_key(&stc::Key::from_bytes([9; 32]));
    let chamber = Chamber::in_memory(&key).await.unwrap();
    let seed = stc::Key::from_bytes([7; 32]).to_printable();
    let seed = SharedSeed::from_bytes(seed.as_bytes()).unwrap();
    let node = Node::builder(seed).host("127.0.0.1").start(Mode::Server).await.unwrap();
    let gateway = Gateway::start(node, chamber.clone(), GatewaySettings::new()).await.unwrap();
    let to = format!("http://{}", gateway.local_addr());
    let channel = Channel::from_shared(to).unwrap().connect().await.unwrap();
    (gateway, StoreServiceClient::new(channel), chamber)
}

async fn put(
    client: &mut Client,
    keep: Option<Keep>,
    chunks: &[FileChunk],
) -> Result<String, Status> {
    let header = Part::Header(PutContentHeader { keep });
    let chunks = chunks.iter().cloned().map(Part::Chunk);
    let parts: Vec<_> = std::iter::once(header).chain(chunks).collect();
    let requests = parts.into_iter().map(|part| PutContentRequest { part: Some(part) });
    Ok(client.put_content(stream::iter(requests)).await?.into_inner().id)
}

fn chunk(data: &'static [u8], last: bool) -> FileChunk {
    FileChunk { data: data.into(), last, ..FileChunk::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_or_wrong_stores_nothing() {
    let (gateway, mut client, chamber) = start().await;
    let name = || Some(Keep::Name("report".into()));
    let cut = put(&mut client, name(), &[chunk(b"half", false)]).await.unwrap_err();
    assert_eq!(cut.code(), Code::InvalidArgument, "{cut}");
    let more = [chunk(b"all", true), chunk(b"more", false)];
    assert_eq!(put(&mut client, name(), &more).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = FileChunk { checksum: Some(1), ..chunk(b"all", true) };
    assert_eq!(put(&mut client, name(), &[wrong]).await.unwrap_err().code(), Code::DataLoss);
    let kept = Some(Keep::Name(".stt/file/report".into()));
    let kept = put(&mut client, kept, &[chunk(b"all", true)]).await.unwrap_err();
    assert_eq!(kept.code(), Code::InvalidArgument);
    assert_eq!(chamber.stats().await.unwrap().contents, 0);

    let id = put(&mut client, name(), &[chunk(b"al", false), chunk(b"l", true)]).await.unwrap();
    assert_eq!(id, stt::ContentId::of(b"all").to_string());
    assert_eq!(&chamber.get_named("report").await.unwrap()[..], b"all");
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_are_read_listed_and_verified() {
    let (gateway, mut client, _chamber) = start().await;
    let mut ids = Vec::new();
    for data in [&b""[..], b"one", b"two"] {
        ids.push(put(&mut client, None, &[chunk(data, true)]).await.unwrap());
    }
    ids.sort();
    let mut listed = Vec::new();
    let mut answers = client.list_contents(ListContentsRequest {}).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        let Some(list_contents_response::Part::Content(content)) = answer.part else {
            panic!("{answer:?}")
        };
        assert!(content.pinned && content.names.is_empty());
        listed.push(content.id);
    }
    listed.sort();
    assert_eq!(listed, ids);

    let item = stt::ContentId::of(b"one").to_string();
    let answers = client.get_content(GetContentRequest { item: item.clone() }).await.unwrap();
    let mut answers = answers.into_inner();
    let first = answers.message().await.unwrap().unwrap().part.unwrap();
    let get_content_response::Part::Header(header) = first else { panic!("{first:?}") };
    assert_eq!((header.id, header.bytes), (item, 3));
    let second = answers.message().await.unwrap().unwrap().part.unwrap();
    let get_content_response::Part::Chunk(chunk) = second else { panic!("{second:?}") };
    assert_eq!((&chunk.data[..], chunk.last), (&b"one"[..], true));
    assert!(answers.message().await.unwrap().is_none());
    let none = client.get_content(GetContentRequest { item: "none".into() }).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);

    let mut answers = client.verify_store(VerifyStoreRequest {}).await.unwrap().into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await.unwrap() {
        last = answer.part;
    }
    let Some(verify_store_response::Part::Report(report)) = last else { panic!("{last:?}") };
    assert_eq!((report.contents, report.problems, report.damaged), (3, 0, 0));
    gateway.stop(Duration::from_secs(5)).await;
}
