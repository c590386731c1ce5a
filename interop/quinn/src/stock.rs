//! QUIC as everybody has it: quinn with rustls, a self-signed certificate, HTTP/3's protocol name.

use std::{net::Ipv4Addr, sync::Arc};

use quinn::{
    ClientConfig, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    version::TLS13,
};

use crate::Result;

/// A server's and a client's settings that fit each other.
pub fn configs() -> Result<(ServerConfig, ClientConfig)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![b"h3".to_vec()];
    client.alpn_protocols = vec![b"h3".to_vec()];
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    Ok((server, client))
}

/// A client's endpoint.
pub fn client() -> Result<Endpoint> {
    Ok(Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?)
}
