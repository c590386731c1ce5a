//! Why a gateway does not start.

use std::{net::SocketAddr, path::PathBuf};

use stc::Cause;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// It was to listen where others can reach it, without both a token and TLS.
    #[error("{address} is not loopback, and the gateway has {}", missing(*.token, *.tls))]
    Unprotected {
        /// Where it was to listen.
        address: SocketAddr,
        /// Whether it has a token.
        token: bool,
        /// Whether it has a certificate.
        tls: bool,
    },
    /// Another program has the port.
    #[error("port {} on {} is in use", address.port(), address.ip())]
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("the gateway cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The token's file cannot be read or made.
    #[error("the token in {} cannot be used: {cause}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// Others than its owner may read the token's file.
    #[error("others than its owner may read the token in {}", path.display())]
    TokenExposed {
        /// The file.
        path: PathBuf,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate or its key cannot be used: {what}: {cause}")]
    Tls {
        /// Which file, or the two together.
        what: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}; allowed are {min} to {max}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// No randomness, no descriptors: nothing a user can mend.
    #[error("the gateway cannot be set up: {cause}")]
    Internal {
        /// Why.
        #[source]
        cause: Cause,
    },
}

const fn missing(token: bool, tls: bool) -> &'static str {
    match (token, tls) {
        (false, false) => "neither a token nor TLS",
        (false, true) => "no token",
        _ => "no TLS",
    }
}

impl stc::Coded for GatewayError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unprotected { .. } => "gateway.unprotected",
            // The same failure as a node's, and the same advice.
            Self::PortInUse { .. } => "node.port_in_use",
            Self::Bind { .. } => "gateway.bind",
            Self::Token { .. } => "gateway.token",
            Self::TokenExposed { .. } => "gateway.token_exposed",
            Self::Tls { .. } => "gateway.tls",
            Self::OutOfRange { .. } => "gateway.out_of_range",
            Self::Internal { .. } => "gateway.internal",
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(self, Self::PortInUse { .. })
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unprotected { .. } => {
                Some("listen on 127.0.0.1, or give a certificate and a token")
            }
            Self::PortInUse { .. } => Some("choose another port, or 0 for a random free one"),
            Self::Bind { .. } => Some("check the address, and whether this user may listen there"),
            Self::Token { .. } => Some("remove the file: a new token is made"),
            Self::TokenExposed { .. } => Some("chmod 600 it, or remove it: a new token is made"),
            Self::Tls { .. } => Some("check both PEM files"),
            Self::OutOfRange { .. } => Some("see the range in the message"),
            Self::Internal { .. } => Some("report it"),
        }
    }
}
