//! What a person may write as an address.

use std::fmt;

/// A host, a port, and the path of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Begins with a slash.
    pub path: String,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where a WebSocket leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Web {
    pub(crate) place: HostPort,
    /// Whether it goes inside of TLS, which a proxy ends.
    pub(crate) secure: bool,
}

/// Where to connect, and over what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT`: UDP, and a WebSocket on the same port if UDP stays silent.
    Any(HostPort),
    /// `udp://HOST:PORT`.
    Udp(HostPort),
    /// `ws://HOST[:PORT][/PATH]`.
    WebSocket(HostPort),
    /// `wss://HOST[:PORT][/PATH]`: the same inside of TLS.
    SecureWebSocket(HostPort),
}

impl Target {
    /// Host, port and path.
    pub const fn place(&self) -> &HostPort {
        match self {
            Self::Any(place)
            | Self::Udp(place)
            | Self::WebSocket(place)
            | Self::SecureWebSocket(place) => place,
        }
    }

    /// Reads an address. `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Some(Self::Any(place(text, None, false)?));
        };
        match scheme {
            "udp" => Some(Self::Udp(place(rest, None, false)?)),
            "ws" => Some(Self::WebSocket(place(rest, Some(80), true)?)),
            "wss" => Some(Self::SecureWebSocket(place(rest, Some(443), true)?)),
            _ => None,
        }
    }
}

/// Splits `HOST:PORT/PATH`; IPv6 addresses stand in brackets.
fn place(text: &str, default_port: Option<u16>, with_path: bool) -> Option<HostPort> {
    let (authority, path) = match text.split_once('/') {
        Some((authority, path)) if with_path => (authority, format!("/{path}")),
        Some((authority, "")) => (authority, "/".to_owned()),
        Some(_) => return None,
        None => (text, "/".to_owned()),
    };
    // The path goes into a line of a request: nothing that could end the line or the field.
    if path.len() > 1024 || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (host.contains(':').then_some(host)?, port)
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let bracketed = authority.starts_with('[');
    let printable = host.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !printable || (!bracketed && host.contains(':')) {
        return None;
    }
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => default_port?,
    };
    Some(HostPort { host: host.to_owned(), port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16, path: &str) -> HostPort {
        HostPort { host: host.into(), port, path: path.into() }
    }

    #[test]
    fn every_form_is_understood() {
        let cases = [
            ("example.org:80", Target::Any(at("example.org", 80, "/"))),
            ("0.0.0.0:0", Target::Any(at("0.0.0.0", 0, "/"))),
            (" [::1]:9337 ", Target::Any(at("::1", 9337, "/"))),
            ("udp://10.0.0.1:5", Target::Udp(at("10.0.0.1", 5, "/"))),
            ("ws://example.org", Target::WebSocket(at("example.org", 80, "/"))),
            ("ws://[::1]:81/a/b?c", Target::WebSocket(at("::1", 81, "/a/b?c"))),
            ("wss://example.org/x", Target::SecureWebSocket(at("example.org", 443, "/x"))),
        ];
        for (text, target) in cases {
            assert_eq!(Target::parse(text), Some(target), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "host",
            "host:",
            ":80",
            "host:70000",
            "::1:80",
            "[::1]",
            "[host]:80",
            "[::1]x:80",
            "ws://[::1]]",
            "ws://[::1]x]",
            "udp://host",
            "udp://host:1/path",
            "http://host",
            "ws://",
            "ws:///x",
            "ws://host/a b",
            "ws://host/a\r\nX: y",
            "ws://a\r\nb:80",
            "host:80/path",
        ] {
            assert_eq!(Target::parse(bad), None, "{bad:?}");
        }
    }
}
