//! TLS to the proxy in front of a peer's WebSocket.
//!
//! It hides from the path that there is a WebSocket, and gets it through proxies that end TLS. It is
//! not what keeps a session private or tells who the peer is: that is the handshake inside, so a proxy
//! that is lied to, or lies, learns and changes no more than any other machine on the path.

use std::{fmt, io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use stc::Cause;
use tokio::sync::OnceCell;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::tcp::ByteStream;

/// Certificates to trust beside the system's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Adds all certificates of a text in PEM, or the one in DER.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let certificates: Vec<_> = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            let read: Result<_, _> = CertificateDer::pem_slice_iter(bytes).collect();
            read?
        } else {
            vec![CertificateDer::from(bytes.to_vec())]
        };
        if certificates.is_empty() {
            return Err(Cause::text("there is no certificate in it"));
        }
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate.clone())?;
            self.0.push(certificate);
        }
        Ok(())
    }
}

/// Makes TLS connections. The system's certificates are read when the first one is made.
pub(crate) struct Tls {
    roots: Roots,
    connector: OnceCell<TlsConnector>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("roots", &self.roots.0.len()).finish_non_exhaustive()
    }
}

/// Why there is no TLS connection.
pub(crate) enum TlsError {
    /// The server's certificate does not verify.
    Certificate(Cause),
    /// The connection broke.
    Broken(Cause),
    /// Anything else.
    Other(Cause),
}

impl Tls {
    pub(crate) const fn new(roots: Roots) -> Self {
        Self { roots, connector: OnceCell::const_new() }
    }

    /// Makes the connection over `stream` with a server that proves to be `host`.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: Box<dyn ByteStream>,
    ) -> Result<TlsStream<Box<dyn ByteStream>>, TlsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::Other(Cause::text(format!("`{host}` is no name for TLS"))))?;
        let connector = self.connector.get_or_try_init(|| self.connector()).await?;
        connector.connect(name, stream).await.map_err(TlsError::from)
    }

    async fn connector(&self) -> Result<TlsConnector, TlsError> {
        let roots = self.roots.0.clone();
        // Reading some hundred files blocks for milliseconds.
        let made = tokio::task::spawn_blocking(move || config(roots)).await;
        let config = made
            .map_err(|error| TlsError::Other(error.into()))?
            .map_err(|error| TlsError::Other(error.into()))?;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn config(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    #[cfg(not(target_os = "android"))]
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    #[cfg(target_os = "android")]
    let verifier = match roots.is_empty() {
        true => Verifier::new(Arc::clone(&provider))?,
        false => return Err(rustls::Error::General("Android trusts its own store only".into())),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // The name is of the call, not of the verifier: it asks the system.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A WebSocket begins as HTTP/1.1, and many proxies would choose HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Certificate(error.into()),
            Some(_) => Self::Other(error.into()),
            None => Self::Broken(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_come_as_pem_or_der_and_nothing_else_is_one() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert;
        let mut roots = Roots::default();
        roots.add(made.der()).unwrap();
        roots.add(format!("\n{}\n{}", made.pem(), made.pem()).as_bytes()).unwrap();
        assert_eq!(roots.0.len(), 3);
        for bad in [&b""[..], b"certificate", b"-----BEGIN CERTIFICATE-----\nAAAA", b"-----BEGIN"] {
            assert!(roots.add(bad).is_err(), "{bad:?}");
        }
        assert_eq!(roots.0.len(), 3);
    }
}
