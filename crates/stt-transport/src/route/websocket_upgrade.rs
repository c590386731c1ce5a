//! Whether a web server's answer opens the WebSocket that was asked for: RFC 6455, section 4.1
//! (docs/protocol.md, WEB-1).

use tungstenite::{
    handshake::{client::Response, derive_accept_key},
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{
            CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
            UPGRADE,
        },
    },
};

use super::http;

/// Why it doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("HTTP error: {0}")]
    Status(StatusCode),
    #[error(
        "the web server does not speak WebSocket: it upgrades to something else, or not at all"
    )]
    Upgrade,
    #[error("the web server's answer does not upgrade the connection")]
    Connection,
    #[error("the web server's Sec-WebSocket-Accept is not that of our request")]
    Accept,
    #[error("the web server uses a WebSocket extension that nobody asked for")]
    Extension,
    #[error("the web server uses a WebSocket subprotocol that nobody asked for")]
    Protocol,
}

/// Whether the answer to a request with this key, and without extensions and subprotocols, is all
/// that it has to be.
pub(super) fn check(answer: &Response, key: &str) -> Result<(), Unfit> {
    let headers = answer.headers();
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Unfit::Status(answer.status()));
    }
    if !only(headers, UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(Unfit::Upgrade);
    }
    let connection = headers.get_all(CONNECTION);
    let mut connection = connection.iter().filter_map(|value| value.to_str().ok());
    if !connection.any(|value| http::lists(value, "upgrade")) {
        return Err(Unfit::Connection);
    }
    if only(headers, SEC_WEBSOCKET_ACCEPT) != Some(&derive_accept_key(key.as_bytes())) {
        return Err(Unfit::Accept);
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(Unfit::Extension);
    }
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Err(Unfit::Protocol);
    }
    Ok(())
}

/// The value of a field that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok().map(str::trim) }
}

#[cfg(test)]
mod tests {
    use tungstenite::handshake::machine::TryParse;

    use super::*;

    /// Key and answer of the RFC's example (section 1.3).
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn checked(answer: &str) -> Result<(), Unfit> {
        let (length, response) = Response::try_parse(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(length, answer.len());
        check(&response, KEY)
    }

    #[test]
    fn what_lacks_a_part_or_has_one_too_many_is_refused() {
        let status = |code| Unfit::Status(StatusCode::from_u16(code).unwrap());
        for (from, to, why) in [
            ("101 Switching Protocols", "200 OK", status(200)),
            ("101 Switching Protocols", "100 Continue", status(100)),
            ("101 Switching Protocols", "404 Not Found", status(404)),
            ("Upgrade: websocket\r\n", "", Unfit::Upgrade),
            ("websocket", "", Unfit::Upgrade),
            ("websocket", "h2c", Unfit::Upgrade),
            ("websocket", "websockets", Unfit::Upgrade),
            ("websocket", "websocket, h2c", Unfit::Upgrade),
            ("websocket", "websocket\r\nUpgrade: h2c", Unfit::Upgrade),
            ("Connection: Upgrade\r\n", "", Unfit::Connection),
            ("Connection: Upgrade", "Connection: keep-alive", Unfit::Connection),
            ("Connection: Upgrade", "Connection: Upgraded", Unfit::Connection),
            ("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "", Unfit::Accept),
            ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "", Unfit::Accept),
            ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=", Unfit::Accept),
            ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", KEY, Unfit::Accept),
            (
                "xOo=\r\n",
                "xOo=\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
                Unfit::Accept,
            ),
            (
                "xOo=\r\n",
                "xOo=\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
                Unfit::Extension,
            ),
            ("xOo=\r\n", "xOo=\r\nsec-websocket-protocol: chat\r\n", Unfit::Protocol),
        ] {
            let changed = ANSWER.replacen(from, to, 1);
            assert_ne!(changed, ANSWER);
            assert_eq!(checked(&changed), Err(why), "{from} is {to}");
        }
    }

    #[test]
    fn the_answer_of_the_rfc_is_taken_as_proxies_may_write_it() {
        for (from, to) in [
            ("", ""),
            ("Upgrade: websocket", "upgrade:WebSocket"),
            ("Connection: Upgrade", "connection: keep-alive, upgrade"),
            ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: UPGRADE"),
            ("xOo=", "xOo= \r\nServer: x\r\nDate: y"),
            ("Switching Protocols", ""),
        ] {
            assert_eq!(checked(&ANSWER.replacen(from, to, 1)), Ok(()), "{from} is {to}");
        }
    }
}
