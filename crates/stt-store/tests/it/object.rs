//! The conformance suite over object storage: in memory, and on an S3 server that runs here.
#![cfg(feature = "object")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use crate::suite;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use stc::{Coded, Key};
use stt_store::{
    Chamber, ChamberKey, ChamberOptions, Keep, ObjectProvider, StorageProvider,
    object_store::{ClientOptions, aws::AmazonS3Builder, memory::InMemory},
};

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([7; 32]))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    suite::run(Arc::new(ObjectProvider::new(Arc::new(InMemory::new()), "a/b", "memory"))).await;
}

/// `moto_server` of the Python package `moto`, on a port of its choice; ended when dropped.
struct S3 {
    child: Child,
    port: u16,
}

impl S3 {
    /// `None` without the variable that says where the program is: `.ci/run` sets it.
    fn start() -> Option<Self> {
        let program = std::env::var_os("STT_TEST_MOTO_SERVER")?;
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("http://127.0.0.1:")?;
            rest.trim().parse().ok()
        });
        let server = Self { child, port: port.unwrap() };
        // Its log has to go somewhere, or it stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        server.put_bucket();
        Some(server)
    }

    fn put_bucket(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\n\
             Connection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn provider(&self, prefix: &str) -> ObjectProvider {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let store = AmazonS3Builder::new()
            .with_endpoint(&endpoint)
            .with_bucket_name("bucket")
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()
            .unwrap();
        ObjectProvider::new(Arc::new(store), prefix, format!("{endpoint}/bucket/{prefix}"))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_s3() {
    let Some(server) = S3::start() else { return };
    suite::run(Arc::new(server.provider("suite"))).await;
    a_chamber(Arc::new(server.provider("chamber"))).await;

    let provider = server.provider("down");
    drop(server);
    let error = Chamber::on(&key(), Arc::new(provider), ChamberOptions::default()).await;
    assert_eq!(error.unwrap_err().code(), "store.service");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chamber_in_memory() {
    a_chamber(Arc::new(ObjectProvider::new(Arc::new(InMemory::new()), "", "memory"))).await;
}

/// Values that need one request, several, and an upload in parts.
async fn a_chamber(provider: Arc<dyn StorageProvider>) {
    let options = ChamberOptions::default();
    let chamber = Chamber::on(&key(), provider.clone(), options).await.unwrap();
    let value = |seed: u8, len: usize| {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
        out
    };
    let mut ids = Vec::new();
    for (seed, len) in [(1, 0), (2, 100), (3, 500_000), (4, 20_000_000)] {
        ids.push((chamber.put(value(seed, len)).await.unwrap(), value(seed, len)));
    }
    let streamed = value(5, 9_000_000);
    let id = chamber.put_reader(&streamed[..], Keep::Named("film".into())).await.unwrap();
    ids.push((id, streamed));
    drop(chamber);
    let chamber = Chamber::on(&key(), provider.clone(), options).await.unwrap();
    for (id, data) in &ids {
        assert!(chamber.get(id).await.unwrap() == *data, "{}", data.len());
    }
    let range = 8_388_600..8_388_700;
    assert_eq!(
        chamber.get_range(&id, range.clone()).await.unwrap(),
        ids[4].1[range.start as usize..range.end as usize]
    );
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound());
    chamber.remove_name("film").await.unwrap();
    assert_eq!(chamber.collect(false).await.unwrap().contents, 1);
    for (id, _) in &ids[..4] {
        chamber.remove(id).await.unwrap();
    }
    assert_eq!(chamber.stats().await.unwrap().contents, 0);
    let wrong = ChamberKey::from_key(&Key::from_bytes([8; 32]));
    let error = Chamber::on(&wrong, provider, options).await.unwrap_err();
    assert_eq!(error.code(), "store.wrong_seed");
}
