//! What a web browser sees: a dull web server without that page.
//!
//! Only a request that upgrades to a WebSocket and carries a knock in its cookie is anything else.

/// Longest head of a request.
pub(super) const MAX_HEAD: usize = 8 << 10;

/// Name of the cookie that holds the knock, in hexadecimal.
pub(super) const COOKIE: &str = "id";

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

/// Reads the head of a request, up to and without its empty line.
pub(super) fn read(head: &[u8]) -> Head {
    let Ok(head) = std::str::from_utf8(head) else { return Head::Malformed };
    let mut lines = head.split("\r\n");
    let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, version] = request.as_slice() else { return Head::Malformed };
    if !version.starts_with("HTTP/1.") || !path.starts_with('/') {
        return Head::Malformed;
    }
    let (mut upgrade, mut version_13, mut key, mut knock) = (false, false, None, None);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Head::Malformed };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "upgrade" => upgrade = value.eq_ignore_ascii_case("websocket"),
            "sec-websocket-version" => version_13 = value == "13",
            "sec-websocket-key" => key = Some(value.to_owned()),
            "cookie" => knock = cookie(value),
            _ => {}
        }
    }
    match (key, knock) {
        (Some(key), Some(knock)) if upgrade && version_13 && *method == "GET" => {
            Head::Upgrade(Upgrade { key, knock })
        }
        _ if *method == "HEAD" => Head::Bodiless,
        _ => Head::Other,
    }
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
        assert!(head.starts_with(b"GET /") && knock.len() <= 64);
        assert!(String::from_utf8_lossy(head).contains(&key));
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
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
        \r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\nCookie: a=b; id=00ff7f";

    #[test]
    fn a_knock_is_found_in_an_upgrade_and_nowhere_else() {
        let upgrade = Upgrade { key: "abc".into(), knock: vec![0, 255, 127] };
        assert_eq!(read(UPGRADE.as_bytes()), Head::Upgrade(upgrade));
        for (from, to) in [
            ("GET", "POST"),
            ("Upgrade: WebSocket", "Upgrade: h2c"),
            ("Version: 13", "Version: 12"),
            ("id=", "other="),
            ("00ff7f", "00ff7"),
            ("00ff7f", "00ffzz"),
        ] {
            assert_eq!(read(UPGRADE.replace(from, to).as_bytes()), Head::Other, "{to}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: h"), Head::Other);
        assert_eq!(read(b"HEAD / HTTP/1.1\r\nHost: h"), Head::Bodiless);
        for bad in ["", "hello", "GET / HTTP/2", "GET x HTTP/1.1", "GET / HTTP/1.1\r\nnonsense"] {
            assert_eq!(read(bad.as_bytes()), Head::Malformed, "{bad}");
        }
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
