//! Where a node is, as applications say it.

use std::{fmt, net::SocketAddr, str::FromStr};

use stc::Coded;

use super::{HostPort, RouteKind, Target};

/// Where a node is: what one connects to, listens at, and moves to.
///
/// As a text: `HOST:PORT`, `udp://HOST:PORT`, `ws://HOST[:PORT][/PATH]`, or
/// `wss://HOST[:PORT][/PATH]` through a proxy that ends TLS. `HOST:PORT` means UDP; a node that
/// connects also tries a WebSocket at the same port when UDP stays silent. An IPv6 address stands
/// in brackets.
///
/// ```
/// use stt_transport::{Address, RouteKind};
///
/// let address: Address = "ws://[::1]:9337/stt".parse()?;
/// assert_eq!(address.kind(), Some(RouteKind::WebSocket));
/// assert_eq!((address.host(), address.port()), ("::1", 9337));
/// assert_eq!(address.to_string(), "ws://[::1]:9337/stt");
/// # Ok::<(), stt_transport::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Target);

impl Address {
    /// UDP at a port of `host`, a name or an address.
    #[must_use]
    pub fn udp(host: impl Into<String>, port: u16) -> Self {
        Self(Target::Udp(HostPort { host: host.into(), port, path: "/".to_owned() }))
    }

    /// What it says about how to travel; `None` for `HOST:PORT`.
    #[must_use]
    pub const fn kind(&self) -> Option<RouteKind> {
        match self.0 {
            Target::Any(_) => None,
            Target::Udp(_) => Some(RouteKind::Udp),
            Target::WebSocket(_) | Target::SecureWebSocket(_) => Some(RouteKind::WebSocket),
        }
    }

    /// Whether it is a WebSocket inside of TLS, which a proxy ends.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        matches!(self.0, Target::SecureWebSocket(_))
    }

    /// The name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.place().host
    }

    /// The port. 0 is for listening only: any free one.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.0.place().port
    }

    /// The path of a WebSocket; begins with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.place().path
    }

    /// As the system takes it, if the host is no name.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host().parse().ok()?, self.port()))
    }

    /// Where to connect or to move. For the crate `stt`.
    ///
    /// # Errors
    /// [`AddressError`] for port 0.
    #[doc(hidden)]
    pub fn dialled(&self) -> Result<&Target, AddressError> {
        if self.port() == 0 { Err(AddressError { text: self.to_string() }) } else { Ok(&self.0) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Target::parse(text).map(Self).ok_or_else(|| AddressError { text: text.to_owned() })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let (host, port) = (address.ip().to_string(), address.port());
        Self(Target::Any(HostPort { host, port, path: "/".to_owned() }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Any(place) => write!(f, "{place}"),
            Target::Udp(place) => write!(f, "udp://{place}"),
            Target::WebSocket(place) => write!(f, "ws://{place}{}", place.path),
            Target::SecureWebSocket(place) => write!(f, "wss://{place}{}", place.path),
        }
    }
}

/// What stands for an address in a call: an [`Address`], the system's [`SocketAddr`], or a text.
pub trait IntoAddress {
    /// The address.
    ///
    /// # Errors
    /// [`AddressError`] when a text is none.
    fn into_address(self) -> Result<Address, AddressError>;
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(self.clone())
    }
}

impl IntoAddress for SocketAddr {
    fn into_address(self) -> Result<Address, AddressError> {
        Ok(self.into())
    }
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

impl IntoAddress for &String {
    fn into_address(self) -> Result<Address, AddressError> {
        self.parse()
    }
}

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an address: HOST:PORT, udp://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST/PATH"
)]
pub struct AddressError {
    text: String,
}

impl AddressError {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For the crate `stt`.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self { text }
    }
}

impl Coded for AddressError {
    fn code(&self) -> &'static str {
        "address.malformed"
    }

    fn retry_helps(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<&'static str> {
        Some("an address of IPv6 stands in brackets; port 0 is for listening only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "example.org:80",
            "[::1]:9337",
            "udp://10.0.0.1:5",
            "ws://example.org:80/",
            "ws://[::1]:81/a/b?c",
            "wss://example.org:443/x",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        let v6: SocketAddr = "[::1]:5".parse().unwrap();
        assert_eq!(Address::from(v6).to_string(), "[::1]:5");
        assert_eq!(Address::from(v6).socket_addr(), Some(v6));
        assert_eq!(Address::udp("::1", 5).to_string(), "udp://[::1]:5");
        assert_eq!(Address::udp("example.org", 5).socket_addr(), None);
    }

    #[test]
    fn port_0_is_for_listening() {
        let address: Address = "0.0.0.0:0".parse().unwrap();
        assert_eq!(address.dialled().unwrap_err().text(), "0.0.0.0:0");
    }
}
