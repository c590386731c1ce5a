//! Frames of WebSockets (RFC 6455, section 5): datagrams in, bytes out, and back. No sockets
//! (docs/protocol.md, WEB-3).
//!
//! A library would copy each datagram into a buffer of its own, write it alone, and read four
//! kilobytes at a time or keep a large buffer for every idle peer; this is most of what a WebSocket
//! cost us. What we need of the protocol is small: binary messages, and answers to control frames.

use bytes::{Buf, Bytes, BytesMut};

/// Largest message: a datagram has at most 64 KiB.
pub(super) const MAX_MESSAGE: usize = 1 << 16;
/// Longest header: kind, length in 1 + 8 bytes, key.
const MAX_HEADER: usize = 14;
/// Longest payload of a control frame (section 5.5).
const MAX_CONTROL: usize = 125;

/// What a client's frames are masked with (section 5.3).
pub(super) type MaskKey = [u8; 4];

/// Kinds of frames (section 5.2).
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The last frame of its message.
const FINAL: u8 = 0x80;
/// Bits of extensions, of which there are none.
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Room that `count` frames with `bytes` of payload together take at most.
pub(super) const fn room(count: usize, bytes: usize) -> usize {
    bytes.saturating_add(count.saturating_mul(MAX_HEADER))
}

/// Appends a datagram as a message of one frame.
pub(super) fn put_datagram(datagram: &[u8], key: Option<MaskKey>, out: &mut BytesMut) {
    put(BINARY, datagram, key, out);
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8], key: Option<MaskKey>) -> Bytes {
    control(PONG, payload, key)
}

/// Why a side ends the WebSocket, in the last frame that it sends (section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// It has served.
    Normal = 1000,
    /// The peer broke the rules.
    Protocol = 1002,
    /// The peer sent text.
    Text = 1003,
    /// A message was longer than any datagram.
    TooLong = 1009,
}

/// The last frame of a side.
pub(super) fn close(why: Goodbye, key: Option<MaskKey>) -> Bytes {
    control(CLOSE, &(why as u16).to_be_bytes(), key)
}

fn control(kind: u8, payload: &[u8], key: Option<MaskKey>) -> Bytes {
    let mut out = BytesMut::with_capacity(room(1, payload.len()));
    put(kind, payload, key, &mut out);
    out.freeze()
}

fn put(kind: u8, payload: &[u8], key: Option<MaskKey>, out: &mut BytesMut) {
    let masked = if key.is_some() { MASKED } else { 0 };
    // The shortest form of the length that there is (section 5.2).
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.extend([FINAL | kind, masked | short]),
        (_, Ok(medium)) => {
            out.extend([FINAL | kind, masked | 126]);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.extend([FINAL | kind, masked | 127]);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(key.unwrap_or_default().into_iter().take(key.map_or(0, |key| key.len())));
    let at = out.len();
    out.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (key, out.get_mut(at..)) {
        mask(payload, key);
    }
}

/// Masks, or takes a mask off (section 5.3).
fn mask(bytes: &mut [u8], key: MaskKey) {
    let [a, b, c, d] = key;
    let wide = u128::from_ne_bytes([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
    let (pieces, rest) = bytes.as_chunks_mut::<16>();
    for piece in pieces {
        *piece = (u128::from_ne_bytes(*piece) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// What came, or what is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A message: one datagram.
    Datagram(Bytes),
    /// Wants a pong with the same payload.
    Ping(Bytes),
    /// The peer ends the WebSocket.
    Close,
    /// Nothing before the buffer holds that many bytes.
    Needs(usize),
}

/// It does not keep to the protocol, so the WebSocket ends (section 7.1.7): what is said to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) Goodbye);

const BROKEN: Violation = Violation(Goodbye::Protocol);

/// Finds frames in what arrived from one side.
#[derive(Debug)]
pub(super) struct Decoder {
    /// A client's frames are masked, a server's are not (section 5.1).
    of_client: bool,
    /// The beginning of a message whose other frames are to come (section 5.4).
    begun: Option<BytesMut>,
}

struct Header {
    is_final: bool,
    kind: u8,
    key: Option<MaskKey>,
    /// Of the header itself.
    length: usize,
    payload: usize,
}

impl Decoder {
    pub(super) const fn new(of_client: bool) -> Self {
        Self { of_client, begun: None }
    }

    /// Takes the next message out of `buffer`, without copying it.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, Violation> {
        loop {
            let Some(header) = self.header(buffer)? else { return Ok(Next::Needs(MAX_HEADER)) };
            let whole = header.length.saturating_add(header.payload);
            if buffer.len() < whole {
                return Ok(Next::Needs(whole));
            }
            buffer.advance(header.length);
            let mut payload = buffer.split_to(header.payload);
            if let Some(key) = header.key {
                mask(&mut payload, key);
            }
            match (header.kind, self.begun.take()) {
                (BINARY, None) if header.is_final => return Ok(Next::Datagram(payload.freeze())),
                (BINARY, None) => self.begun = Some(payload),
                (CONTINUATION, Some(mut begun)) => {
                    begun.extend_from_slice(&payload);
                    if header.is_final {
                        return Ok(Next::Datagram(begun.freeze()));
                    }
                    self.begun = Some(begun);
                }
                // A code has two bytes.
                (CLOSE, _) if payload.len() != 1 => return Ok(Next::Close),
                (PING, begun) => {
                    self.begun = begun;
                    return Ok(Next::Ping(payload.freeze()));
                }
                (PONG, begun) => self.begun = begun,
                (TEXT, None) => return Err(Violation(Goodbye::Text)),
                _ => return Err(BROKEN),
            }
        }
    }

    /// The header at the beginning of `buffer`, if it is there as a whole.
    fn header(&self, buffer: &[u8]) -> Result<Option<Header>, Violation> {
        let Some(([first, second], rest)) = buffer.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let (is_final, kind) = (first & FINAL != 0, first & 0x0f);
        if first & RESERVED != 0 || (second & MASKED != 0) != self.of_client {
            return Err(BROKEN);
        }
        let (payload, rest) = match second & !MASKED {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let before = self.begun.as_ref().map_or(0, BytesMut::len);
        let is_control = kind >= CLOSE;
        let most = if is_control { MAX_CONTROL } else { MAX_MESSAGE.saturating_sub(before) };
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        if is_control && (!is_final || payload > most) {
            return Err(BROKEN);
        }
        if payload > most {
            return Err(Violation(Goodbye::TooLong));
        }
        let (key, rest) = match rest.split_first_chunk() {
            _ if !self.of_client => (None, rest),
            Some((key, rest)) => (Some(*key), rest),
            None => return Ok(None),
        };
        let length = buffer.len().saturating_sub(rest.len());
        Ok(Some(Header { is_final, kind, key, length, payload }))
    }
}

/// What the fuzzer calls: whatever arrives, in whatever pieces, no message is longer than it may be,
/// and what is asked for is bounded.
///
/// # Panics
/// When that isn't so.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub fn fuzz(of_client: bool, piece: usize, bytes: &[u8]) {
    let (mut decoder, mut buffer) = (Decoder::new(of_client), BytesMut::new());
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Next::Datagram(datagram)) => assert!(datagram.len() <= MAX_MESSAGE),
                Ok(Next::Ping(payload)) => assert!(payload.len() <= MAX_CONTROL),
                Ok(Next::Needs(needs)) => {
                    assert!(needs <= MAX_MESSAGE + MAX_HEADER);
                    break;
                }
                Ok(Next::Close) | Err(Violation(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::{
        Message,
        protocol::{Role, WebSocket},
    };

    use super::*;

    /// Both directions of a connection in memory, for the library that we compare with.
    struct Pipe {
        read: std::io::Cursor<Vec<u8>>,
        written: Vec<u8>,
    }

    impl std::io::Read for Pipe {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.read.read(out)
        }
    }

    impl std::io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.written.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn library(role: Role, read: Vec<u8>) -> WebSocket<Pipe> {
        let pipe = Pipe { read: std::io::Cursor::new(read), written: Vec::new() };
        WebSocket::from_raw_socket(pipe, role, None)
    }

    fn items(of_client: bool, bytes: &[u8]) -> Result<Vec<Next>, Violation> {
        let (mut decoder, mut buffer) = (Decoder::new(of_client), BytesMut::from(bytes));
        let mut items = Vec::new();
        loop {
            match decoder.next(&mut buffer)? {
                Next::Needs(_) => return Ok(items),
                Next::Close => {
                    items.push(Next::Close);
                    return Ok(items);
                }
                item => items.push(item),
            }
        }
    }

    /// RFC 6455, section 5.7, with binary messages in the place of text.
    #[test]
    fn examples_of_the_rfc() {
        let hello = || Next::Datagram(Bytes::from_static(b"Hello"));
        assert_eq!(items(false, b"\x82\x05Hello"), Ok(vec![hello()]));
        let masked = b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(items(true, masked), Ok(vec![hello()]));
        let mut out = BytesMut::new();
        put_datagram(b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]), &mut out);
        assert_eq!(out, masked[..]);
        assert_eq!(items(false, b"\x02\x03Hel\x80\x02lo"), Ok(vec![hello()]), "in fragments");
        let ping = || Next::Ping(Bytes::from_static(b"Hello"));
        assert_eq!(items(false, b"\x89\x05Hello"), Ok(vec![ping()]));
        assert_eq!(
            items(false, b"\x02\x03Hel\x89\x05Hello\x8a\x00\x80\x02lo"),
            Ok(vec![ping(), hello()]),
            "control frames between fragments"
        );
        assert_eq!(pong(b"Hello", None), b"\x8a\x05Hello"[..]);
        assert_eq!(items(false, &close(Goodbye::Normal, None)), Ok(vec![Next::Close]));
    }

    #[test]
    fn what_breaks_the_rules_is_refused_and_told_why() {
        let (rules, text, length) = (BROKEN, Violation(Goodbye::Text), Violation(Goodbye::TooLong));
        for (bad, why) in [
            // Masked by a server.
            (&b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..], rules),
            // Of an extension.
            (b"\xc2\x05Hello", rules),
            (b"\xa2\x05Hello", rules),
            (b"\x92\x05Hello", rules),
            (b"\x81\x05Hello", text),
            // Of no known kind.
            (b"\x83\x05Hello", rules),
            (b"\x8b\x05Hello", rules),
            // The rest of a message that nobody began.
            (b"\x80\x05Hello", rules),
            // Another one begins in the middle.
            (b"\x02\x03Hel\x82\x02lo", rules),
            (b"\x02\x03Hel\x81\x02lo", rules),
            // Control frames in fragments, or too long.
            (b"\x09\x05Hello", rules),
            (b"\x89\x7e\x00\x80", rules),
            (b"\x88\x7f\x00\x00\x00\x00\x00\x01\x00\x01", rules),
            // Half a code.
            (b"\x88\x01\x03", rules),
            (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x01", length),
            (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", length),
        ] {
            assert_eq!(items(false, bad), Err(why), "{bad:x?}");
        }
        assert_eq!(items(true, b"\x82\x05Hello"), Err(rules), "a client's without a mask");
        // Fragments that are too long together.
        let half = [b"\x02\x7e\xff\xff".as_slice(), &[0; 65_535]].concat();
        assert_eq!(items(false, &half), Ok(vec![]));
        assert_eq!(items(false, &[half, b"\x80\x02".to_vec()].concat()), Err(length));
        assert_eq!(close(Goodbye::TooLong, None), b"\x88\x02\x03\xf1"[..]);
    }

    proptest! {
        #[test]
        fn datagrams_come_back_whole_in_whatever_pieces(
            lengths in proptest::collection::vec(
                prop_oneof![1..200_usize, 65_000..=MAX_MESSAGE], 1..8,
            ),
            key: Option<MaskKey>,
            piece in 1..70_000_usize,
        ) {
            let datagrams: Vec<Vec<u8>> =
                lengths.iter().map(|length| (0..=255).cycle().take(*length).collect()).collect();
            let mut bytes = BytesMut::new();
            datagrams.iter().for_each(|datagram| put_datagram(datagram, key, &mut bytes));
            prop_assert!(bytes.len() <= room(lengths.len(), lengths.iter().sum()));
            let (mut decoder, mut buffer) = (Decoder::new(key.is_some()), BytesMut::new());
            let mut got = Vec::new();
            for piece in bytes.chunks(piece) {
                buffer.extend_from_slice(piece);
                while let Next::Datagram(datagram) = decoder.next(&mut buffer).unwrap() {
                    got.push(datagram.to_vec());
                }
            }
            prop_assert_eq!(got, datagrams);
        }

        /// Against tungstenite, in both roles.
        #[test]
        fn another_library_says_the_same(
            messages in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..300), 1..10,
            ),
            of_client: bool,
        ) {
            let (ours, theirs) =
                if of_client { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
            let key = of_client.then_some([1, 2, 3, 4]);
            let mut bytes = BytesMut::new();
            messages.iter().for_each(|message| put_datagram(message, key, &mut bytes));
            let mut reading = library(ours, bytes.to_vec());
            let mut writing = library(theirs, Vec::new());
            for message in &messages {
                let read = reading.read().unwrap();
                prop_assert_eq!(read, Message::Binary(message.clone().into()));
                writing.send(Message::Binary(message.clone().into())).unwrap();
            }
            let expected: Vec<Next> =
                messages.iter().map(|message| Next::Datagram(message.clone().into())).collect();
            prop_assert_eq!(items(of_client, &writing.get_ref().written), Ok(expected));
        }

        #[test]
        fn no_bytes_break_it(
            of_client: bool,
            piece in 1..50_usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            fuzz(of_client, piece, &bytes);
        }
    }
}
