//! The peer: quinn with rustls, a certificate for the server only, the same cipher and library.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, LazyLock},
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    CipherSuite, NamedGroup, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio::runtime::Handle;

use crate::Result;

/// The credit that STT gives, for comparisons on equal terms.
pub const EQUAL_WINDOW: u32 = 64 << 20;
/// The socket buffers of STT.
const EQUAL_BUFFERS: usize = 4 << 20;

/// What is set apart from the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The windows and socket buffers of STT.
    pub equal_windows: bool,
    /// No search for a larger MTU than 1,200.
    pub fixed_mtu: bool,
    /// Keeps idle connections alive like STT.
    pub keep_alive: bool,
}

/// Two endpoints and one connection between them.
pub struct Pair {
    pub client: Connection,
    pub server: Connection,
    pub client_endpoint: Endpoint,
    pub server_endpoint: Endpoint,
}

/// A certificate that the client trusts, made once a run.
struct Credentials {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

static CREDENTIALS: LazyLock<std::result::Result<Credentials, String>> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .map_err(|error| error.to_string())?;
    Ok(Credentials { certificate: made.cert.der().clone(), key: made.signing_key.serialize_der() })
});

fn credentials() -> Result<&'static Credentials> {
    CREDENTIALS.as_ref().map_err(|error| error.as_str().into())
}

/// AES-256-GCM and X25519, as STT has them.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        // QUIC's Initial packets need the 128-bit suite to be there too.
        suite.suite() != CipherSuite::TLS13_AES_256_GCM_SHA384
    });
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    Arc::new(provider)
}

fn transport(terms: Terms) -> Result<Arc<TransportConfig>> {
    let mut config = TransportConfig::default();
    if terms.equal_windows {
        config
            .stream_receive_window(VarInt::from_u32(EQUAL_WINDOW))
            .receive_window(VarInt::from_u32(EQUAL_WINDOW))
            .send_window(EQUAL_WINDOW.into());
    }
    config.mtu_discovery_config((!terms.fixed_mtu).then(MtuDiscoveryConfig::default));
    if terms.keep_alive {
        config
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .max_idle_timeout(Some(IdleTimeout::try_from(Duration::from_secs(90))?));
    }
    Ok(Arc::new(config))
}

pub fn server_config(terms: Terms) -> Result<ServerConfig> {
    let Credentials { certificate, key } = credentials()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport(terms)?);
    Ok(config)
}

/// TLS of a server without QUIC.
pub fn tls_server() -> Result<rustls::ServerConfig> {
    let Credentials { certificate, key } = credentials()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    Ok(rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?)
}

/// TLS of its client.
pub fn tls_client() -> Result<rustls::ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(credentials()?.certificate.clone())?;
    Ok(rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// `trusted` is the server's certificate. Resumption is off: every handshake is a whole one.
fn client_config_for(terms: Terms, trusted: &CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport(terms)?);
    Ok(config)
}

pub fn client_config(terms: Terms) -> Result<ClientConfig> {
    client_config_for(terms, &credentials()?.certificate)
}

/// As [`client_config`], for a server in another process.
pub fn client_config_trusting(terms: Terms, certificate: Vec<u8>) -> Result<ClientConfig> {
    client_config_for(terms, &certificate.into())
}

/// The server's certificate, for a client in another process.
pub fn certificate() -> Result<&'static [u8]> {
    Ok(&credentials()?.certificate)
}

fn socket(terms: Terms) -> Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    if terms.equal_windows {
        socket.set_recv_buffer_size(EQUAL_BUFFERS)?;
        socket.set_send_buffer_size(EQUAL_BUFFERS)?;
    }
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

/// Opens an endpoint in the current runtime.
pub fn endpoint(terms: Terms, server: Option<ServerConfig>) -> Result<Endpoint> {
    let runtime = Arc::new(TokioRuntime);
    Ok(Endpoint::new(EndpointConfig::default(), server, socket(terms)?, runtime)?)
}

pub async fn server(on: &Handle, terms: Terms) -> Result<Endpoint> {
    let config = server_config(terms)?;
    on.spawn(async move { endpoint(terms, Some(config)) }).await?
}

/// A client here, a server in the runtime of `on`, and a connection.
pub async fn pair(on: &Handle, terms: Terms) -> Result<Pair> {
    let server_endpoint = server(on, terms).await?;
    let address = server_endpoint.local_addr()?;
    let accepting = server_endpoint.clone();
    let accepted = on.spawn(async move {
        let incoming = accepting.accept().await.ok_or("the endpoint closed")?;
        Result::Ok(incoming.await?)
    });
    let client_endpoint = endpoint(terms, None)?;
    let client = client_endpoint.connect_with(client_config(terms)?, address, "localhost")?.await?;
    let server = accepted.await??;
    Ok(Pair { client, server, client_endpoint, server_endpoint })
}

impl Pair {
    /// Ends both sides.
    pub async fn stop(self) {
        self.client.close(VarInt::from_u32(0), b"");
        self.client_endpoint.close(VarInt::from_u32(0), b"");
        self.server_endpoint.close(VarInt::from_u32(0), b"");
        // Both have drained by then, or it does not matter.
        let patience = Duration::from_secs(1);
        let _ = tokio::time::timeout(patience, self.client_endpoint.wait_idle()).await;
        let _ = tokio::time::timeout(patience, self.server_endpoint.wait_idle()).await;
    }
}
