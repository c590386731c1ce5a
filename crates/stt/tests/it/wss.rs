//! Sessions through a proxy that ends TLS.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, sync::Arc};

use crate::common::{builder, other_end, seed};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use stt::{Coded, Mode, NodeBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A certificate that its maker signed, and its key.
fn certificate(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// Ends TLS in front of `inner`, as a web server would.
async fn proxy(made: &rcgen::CertifiedKey<rcgen::KeyPair>, inner: SocketAddr) -> SocketAddr {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                assert_eq!(outer.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                let mut inner = TcpStream::connect(inner).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    address
}

async fn listening(builder: NodeBuilder) -> (stt::Node, SocketAddr) {
    let node = builder.websocket(ANY).start(Mode::Server).await.unwrap();
    let address = node.websocket_addr().unwrap();
    (node, address)
}

#[tokio::test]
async fn a_session_through_a_proxy_that_ends_tls_carries_both_ways() {
    let seed = seed();
    let (server, inner) = listening(builder(&seed)).await;
    let made = certificate("localhost");
    let outer = proxy(&made, inner).await;
    let client = builder(&seed).trust_certificate(made.cert.der());
    let client = client.start(Mode::Client).await.unwrap();
    let address = format!("wss://localhost:{}/a/path", outer.port());
    let ours = client.connect(&address).await.unwrap();
    assert_eq!(ours.peer_node_id(), server.node_id());
    assert_eq!(server.stats().websocket_connections, 1);
    assert_eq!(client.stats().websocket_connections, 1);

    let theirs = other_end(&server, &ours).await;
    let (here, message) = (ours.open_stream().unwrap(), vec![3; 2 << 20]);
    let there = theirs.get_stream(here.id()).unwrap();
    let echo = async {
        let message = there.receive().await.unwrap().unwrap();
        there.send(message).await.unwrap();
    };
    let asking = async {
        here.send(&message).await.unwrap();
        here.receive().await.unwrap().unwrap()
    };
    let ((), echoed) = tokio::join!(echo, asking);
    assert!(echoed == message);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_or_for_another_name_is_refused() {
    let seed = seed();
    let (server, inner) = listening(builder(&seed)).await;
    let made = certificate("localhost");
    let address = format!("wss://localhost:{}", proxy(&made, inner).await.port());
    // Trusts another one, so that there is one at all on a machine without any.
    let stranger = builder(&seed).trust_certificate(certificate("x").cert.der());
    let stranger = stranger.start(Mode::Client).await.unwrap();
    let error = stranger.connect(&address).await.unwrap_err();
    assert_eq!(error.code(), "connect.certificate");
    assert!(!error.retry_helps());
    assert!(error.to_string().contains("certificate"), "{error}");

    let other = certificate("other.example");
    let address = format!("wss://localhost:{}", proxy(&other, inner).await.port());
    let client = builder(&seed).trust_certificate(other.cert.pem());
    let client = client.start(Mode::Client).await.unwrap();
    let error = client.connect(&address).await.unwrap_err();
    assert_eq!(error.code(), "connect.certificate", "{error}");
    assert_eq!(server.stats().sessions.total, 0);
    assert_eq!(server.stats().websocket_connections, 0);
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart_from_a_bad_certificate() {
    let seed = seed();
    let (_server, inner) = listening(builder(&seed)).await;
    let client = builder(&seed).trust_certificate(certificate("x").cert.der());
    let client = client.start(Mode::Client).await.unwrap();
    let error = client.connect(&format!("wss://{inner}")).await.unwrap_err();
    assert_eq!(error.code(), "connect.websocket", "{error}");
    let error = builder(&seed).trust_certificate(b"no certificate").start(Mode::Client).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), "node.certificate");
}
