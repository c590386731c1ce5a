//! What can be set about a gateway.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use stt_streams::StreamConfig;
use stt_swarm::Swarm;

use crate::{GatewayError, LogLevels, Token, streams::FRAMING};

/// What can be set about a gateway.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub(crate) listen: SocketAddr,
    pub(crate) token: Option<Token>,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) max_message: usize,
    pub(crate) max_connections: usize,
    pub(crate) reflection: bool,
    pub(crate) streams: StreamConfig,
    pub(crate) origins: Vec<String>,
    pub(crate) swarm: Option<Swarm>,
    pub(crate) log_levels: Option<Arc<dyn LogLevels>>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            tls: None,
            max_message: Self::DEFAULT_MAX_MESSAGE,
            max_connections: 128,
            reflection: true,
            streams: StreamConfig::default(),
            origins: Vec::new(),
            swarm: None,
            log_levels: None,
        }
    }
}

impl GatewaySettings {
    /// Longest message unless another limit is set: 4 MiB.
    pub const DEFAULT_MAX_MESSAGE: usize = 4 << 20;

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it listens, for gRPC, gRPC-Web and HTTP alike. Default: `127.0.0.1`, port 0: any free
    /// one.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// What callers have to show. Default: none, so everybody on this machine may call.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Certificate chain and private key, both PEM files. Default: none, no TLS.
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// Longest message in bytes, of requests and answers alike, 64 KiB to 1 GiB. Default:
    /// [`Self::DEFAULT_MAX_MESSAGE`].
    #[must_use]
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Connections at once, 1 to 65,536; more wait to be accepted. Default: 128.
    #[must_use]
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Whether reflection tells callers which services there are. Default: true.
    #[must_use]
    pub const fn reflection(mut self, yes: bool) -> Self {
        self.reflection = yes;
        self
    }

    /// Settings of managed streams. Default: [`StreamConfig::default`]; their messages are no
    /// longer than `max_message` allows in any case.
    #[must_use]
    pub fn streams(mut self, streams: StreamConfig) -> Self {
        self.streams = streams;
        self
    }

    /// Origins of web pages that may call by gRPC-Web, such as `https://example.com`. Default:
    /// none.
    #[must_use]
    pub fn origins(mut self, origins: impl Into<Vec<String>>) -> Self {
        self.origins = origins.into();
        self
    }

    /// The swarm that the node takes part in, for the services of topics and members, and for content
    /// to be found by others. Default: none.
    #[must_use]
    pub fn swarm(mut self, swarm: Swarm) -> Self {
        self.swarm = Some(swarm);
        self
    }

    /// What of the program's log is told, for callers to change. Default: none, they cannot.
    #[must_use]
    pub fn log_levels(mut self, levels: impl LogLevels + 'static) -> Self {
        self.log_levels = Some(Arc::new(levels));
        self
    }

    /// Those of managed streams, with messages that a call can carry.
    pub(crate) fn stream_config(&self) -> StreamConfig {
        let most = self.max_message.saturating_sub(FRAMING);
        self.streams.clone().max_message_size(self.streams.longest_message().min(most))
    }

    /// Whether they can be used together.
    ///
    /// # Errors
    /// [`GatewayError::Unprotected`] for an address beyond loopback without token and TLS;
    /// [`GatewayError::OutOfRange`]; [`GatewayError::Internal`] for an origin that is no header.
    pub fn check(&self) -> Result<(), GatewayError> {
        let (token, tls) = (self.token.is_some(), self.tls.is_some());
        let guarded = token && tls;
        if !(self.listen.ip().is_loopback() || guarded) {
            return Err(GatewayError::Unprotected { address: self.listen, token, tls });
        }
        within("max_message", self.max_message, 64 << 10, 1 << 30)?;
        within("max_connections", self.max_connections, 1, 1 << 16)
    }
}

fn within(name: &'static str, value: usize, min: usize, max: usize) -> Result<(), GatewayError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let (value, min, max) = (value as u64, min as u64, max as u64);
    Err(GatewayError::OutOfRange { name, value, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_needs_no_protection() {
        let on = |address: &str| GatewaySettings::new().listen(address.parse().unwrap());
        GatewaySettings::new().check().unwrap();
        on("[::1]:0").check().unwrap();
        let refused = on("0.0.0.0:0").check();
        assert!(matches!(refused, Err(GatewayError::Unprotected { token: false, tls: false, .. })));
        let with_token = on("0.0.0.0:0").token(Token::generate().unwrap());
        assert!(matches!(with_token.check(), Err(GatewayError::Unprotected { tls: false, .. })));
        with_token.tls("cert", "key").check().unwrap();
    }
}
