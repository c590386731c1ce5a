//! What a web browser sees: a dull web server without that page (docs/protocol.md, WEB-1 and WEB-2).
//!
//! Only a request that upgrades to a WebSocket and carries a knock in its cookie is anything else.

/// Longest head of a request.
pub(super) const MAX_HEAD: usize = 8 << 10;

/// Name of the cookie that holds the knock, in hexadecimal.
pub(crate) const COOKIE: &str = "id";

/// What to answer everybody else.
pub(super) const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\
    Content-Length: 88\r\nConnection: close\r\n\r\n<html>\r\n<head><title>404 Not Found</title></head>\
    \r\n<body>404 Not Found</body>\r\n</html>\r\n";

/// What to answer what is no HTTP.
pub(super) const BAD_REQUEST: &str =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A request that might be a peer's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// `Sec-WebSocket-Key`.
    pub(super) key: String,
    /// What the cookie held.
    pub(super) knock: Vec<u8>,
}

/// What a head turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Perhaps a peer.
    Upgrade(Upgrade),
    /// Some other request.
    Other,
    /// One whose answer has no body.
    Bodiless,
    /// No HTTP.
    Malformed,
}

/// Lines of a head that decide what it is.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    upgrade: bool,
    connection: bool,
    versions: Vec<&'a str>,
    keys: Vec<&'a str>,
    knock: Option<Vec<u8>>,
}

/// Reads the head of a request, up to and without its empty line.
///
/// A peer's is what RFC 6455, section 4.2.1, asks for, with a knock in its cookie
/// (docs/protocol.md, WEB-2); whatever differs from that is some other request.
pub(super) fn read(head: &[u8]) -> Head {
    let Ok(head) = std::str::from_utf8(head) else { return Head::Malformed };
    let mut lines = head.split("\r\n");
    let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = request.as_slice() else { return Head::Malformed };
    let minor = version.strip_prefix("HTTP/1.").map(str::as_bytes);
    let Some([minor @ b'0'..=b'9']) = minor else { return Head::Malformed };
    let is_target = target.starts_with('/') || target.starts_with("http://");
    if !is_token(method) || !is_target {
        return Head::Malformed;
    }
    let mut fields = Fields::default();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Head::Malformed };
        if !is_token(name) {
            return Head::Malformed;
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" => fields.hosts += 1,
            "upgrade" => fields.upgrade |= lists(value, "websocket"),
            "connection" => fields.connection |= lists(value, "upgrade"),
            "sec-websocket-version" => fields.versions.push(value),
            "sec-websocket-key" => fields.keys.push(value),
            "cookie" => fields.knock = fields.knock.or_else(|| cookie(value)),
            _ => {}
        }
    }
    // One host, and from HTTP/1.1 on at least one (RFC 9112, section 3.2).
    let is_current = *minor > b'0';
    if fields.hosts > 1 || (is_current && fields.hosts == 0) {
        return Head::Malformed;
    }
    let upgrades = *method == "GET" && is_current && fields.upgrade && fields.connection;
    match (fields.keys.as_slice(), fields.versions.as_slice(), fields.knock) {
        ([key], ["13"], Some(knock)) if upgrades && is_key(key) => {
            Head::Upgrade(Upgrade { key: (*key).to_owned(), knock })
        }
        _ if *method == "HEAD" => Head::Bodiless,
        _ => Head::Other,
    }
}

/// Whether it is a name of HTTP (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Whether a list of words has this one, in capitals or not.
pub(super) fn lists(list: &str, word: &str) -> bool {
    list.split(',').any(|one| one.trim_matches([' ', '\t']).eq_ignore_ascii_case(word))
}

/// Whether it is 16 bytes in Base64 (RFC 6455, section 4.2.1).
fn is_key(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len() == 24 && text.strip_suffix("==").is_some_and(|digits| digits.bytes().all(digit))
}

/// [`NOT_FOUND`] without its body, as HEAD wants it (RFC 9110, section 9.3.2).
pub(super) fn not_found_head() -> &'static str {
    NOT_FOUND.split_inclusive("\r\n\r\n").next().unwrap_or(NOT_FOUND)
}

/// Our cookie of a `Cookie` line.
fn cookie(line: &str) -> Option<Vec<u8>> {
    line.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        if name != COOKIE || value.len() > 128 { None } else { from_hex(value) }
    })
}

/// What the fuzzer calls: a request whose knock was read is one that upgrades.
///
/// # Panics
/// When it isn't.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub fn fuzz(head: &[u8]) {
    if let Head::Upgrade(Upgrade { key, knock }) = read(head) {
        assert!(head.starts_with(b"GET ") && knock.len() <= 64);
        assert!(String::from_utf8_lossy(head).contains(&key));
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    // The library takes a sign, too.
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UPGRADE: &str = "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: Upgrade\
        \r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\
        \r\nCookie: a=b; id=00ff7f";

    /// One thing wrong at a time, and each of them is no peer.
    #[test]
    fn what_is_not_all_of_an_upgrade_is_another_request() {
        for (from, to) in [
            ("GET", "POST"),
            ("GET", "get"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Upgrade: WebSocket\r\n", ""),
            ("Upgrade: WebSocket", "Upgrade: h2c"),
            ("Upgrade: WebSocket", "Upgrade: websockets"),
            ("Connection: Upgrade\r\n", ""),
            ("Connection: Upgrade", "Connection: keep-alive"),
            ("Connection: Upgrade", "Connection: Upgrade-Insecure-Requests"),
            ("Sec-WebSocket-Version: 13\r\n", ""),
            ("Version: 13", "Version: 12"),
            ("Version: 13", "Version: 13, 8"),
            ("Version: 13", "Version: 013"),
            ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ==="),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZXM="),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl_HNhbXBsZSBub25jZQ=="),
            ("Cookie", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie"),
            ("id=", "other="),
            ("00ff7f", "00ff7"),
            ("00ff7f", "00ffzz"),
            ("00ff7f", "+0ff7f"),
        ] {
            let changed = UPGRADE.replacen(from, to, 1);
            assert_ne!(changed, UPGRADE);
            assert_eq!(read(changed.as_bytes()), Head::Other, "{from} is {to}");
        }
    }

    #[test]
    fn what_is_no_http_is_malformed() {
        for bad in [
            "",
            "hello",
            "GET / HTTP/2",
            "GET / HTTP/2.0",
            "GET / HTTP/1.",
            "GET / HTTP/1.10",
            "GET / HTTP/1.x",
            "GET / http/1.1",
            "GET  / HTTP/1.1",
            "GET x HTTP/1.1",
            "G(T / HTTP/1.0",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b",
            "GET / HTTP/1.1\r\nHost: h\r\nnonsense",
            "GET / HTTP/1.1\r\nHost : h",
            "GET / HTTP/1.1\r\nHost: h\r\n folded: x",
            "GET / HTTP/1.1\r\nHost: h\r\n: x",
        ] {
            assert_eq!(read(bad.as_bytes()), Head::Malformed, "{bad}");
        }
    }

    #[test]
    fn a_knock_is_found_in_an_upgrade() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==".to_owned();
        let upgrade = Head::Upgrade(Upgrade { key, knock: vec![0, 255, 127] });
        // As proxies may write it on the way.
        for (from, to) in [
            ("", ""),
            ("GET /x", "GET http://h/x"),
            ("Connection: Upgrade", "connection:keep-alive ,\tupgrade "),
            ("Connection: Upgrade", "Connection: close\r\nConnection: upgrade"),
            ("Upgrade: WebSocket", "UPGRADE: h2c, websocket"),
            ("00ff7f", "00FF7F"),
            ("00ff7f", "00ff7f\r\nCookie: c=d"),
            ("Cookie", "Cookie: c=d\r\nCookie"),
            ("Cookie", "Origin: http://h\r\nSec-WebSocket-Extensions: x\r\nCookie"),
        ] {
            let changed = UPGRADE.replacen(from, to, 1);
            assert_eq!(read(changed.as_bytes()), upgrade, "{from} is {to}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: h"), Head::Other);
        assert_eq!(read(b"GET / HTTP/1.0"), Head::Other);
        assert_eq!(read(b"HEAD / HTTP/1.1\r\nHost: h"), Head::Bodiless);
    }

    #[test]
    fn the_length_is_told_right() {
        let (head, body) = NOT_FOUND.split_once("\r\n\r\n").unwrap();
        assert_eq!(not_found_head(), format!("{head}\r\n\r\n"));
        assert!(
            NOT_FOUND.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }

    proptest! {
        #[test]
        fn no_head_breaks_it(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&head);
        }

        #[test]
        fn hex_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        }
    }
}
