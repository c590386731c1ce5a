//! Connections: accepted, served, and ended in time.
//!
//! Not tonic's own server: its graceful shutdown waits without a limit, also for a TCP peer that never
//! sent a byte.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use stc::Cause;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{
    GatewayError,
    state::{Phase, Shared},
};

/// A connection that asked for nothing within this time is closed, so that silent ones do not fill
/// the place of others.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// How often a quiet connection is asked for a sign of life, and how long it has for that: a peer that
/// vanished is noticed within half a minute.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));
/// Calls at once on a connection.
const MAX_CALLS: u32 = 100;
/// Bytes that a call may send ahead. A connection takes those of all its calls, so one that is not
/// read never holds up the others.
const CALL_WINDOW: u32 = 512 << 10;
/// Bytes of all headers of a request.
const MAX_HEADERS: u32 = 16 << 10;
/// How long to wait after the system refused a connection, for instance for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The TLS side of a listener.
pub(crate) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, GatewayError> {
    let failed = |what: String, cause: Cause| GatewayError::Tls { what, cause };
    let shown = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(shown(certificate), error.into()))?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| failed(shown(key), error.into()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| failed("together".to_owned(), error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until the gateway drains and all connections have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    state: Shared,
    max_connections: usize,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = state.reached(Phase::Draining) => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accept => match accepted {
                Ok((tcp, _)) => {
                    let (tls, app, state) = (tls.clone(), app.clone(), Arc::clone(&state));
                    connections.spawn(async move {
                        let _place = place;
                        connection(tcp, tls, app, state).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, app: Router, state: Shared) {
    // Small answers go out at once; where that cannot be set they are only slower.
    let _ = tcp.set_nodelay(true);
    match tls {
        None => http(tcp, app, &state).await,
        Some(tls) => {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(FIRST_REQUEST, tls.accept(tcp)) => shaken,
                () = state.reached(Phase::Draining) => return,
            };
            match shaken {
                Ok(Ok(stream)) => http(stream, app, &state).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn http(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    state: &Shared,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&asked);
    let service = app.map_request(move |request: Request<hyper::body::Incoming>| {
        noted.store(true, Ordering::Relaxed);
        request.map(Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(FIRST_REQUEST);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .max_concurrent_streams(MAX_CALLS)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CALL_WINDOW.saturating_mul(MAX_CALLS))
        .max_header_list_size(MAX_HEADERS);
    let serving = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let silent = async {
        sleep(FIRST_REQUEST).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = serving.as_mut() => return,
        () = silent => return,
        () = state.reached(Phase::Draining) => {}
    }
    if !asked.load(Ordering::Relaxed) {
        return;
    }
    serving.as_mut().graceful_shutdown();
    let _ = serving.await;
}
