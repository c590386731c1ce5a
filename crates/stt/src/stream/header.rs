//! The first bytes of each unidirectional QUIC stream (docs/streams.md, STREAM-1 to STREAM-3,
//! STREAM-9).
//!
//! A stream of STT is a number that both sides share. Each of its directions is a QUIC stream of
//! its own, opened on first use, so there is nothing for the two sides to agree on.

use bytes::BufMut;

use super::{label::Label, varint};

/// The header of a QUIC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Records of the session.
    Control,
    /// One direction of the stream with this number.
    Stream {
        /// Messages or raw bytes.
        raw: bool,
        /// Its number.
        id: u32,
    },
    /// One message with a deadline, to the end of the QUIC stream.
    Message {
        /// Number of the stream that it belongs to.
        id: u32,
    },
    /// One direction of a stream of a protocol, whose numbers are its own.
    Labelled {
        /// Which protocol.
        label: Label,
        /// Its number there.
        id: u32,
    },
}

/// The bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Header {
    /// Most bytes of a header.
    pub(crate) const MAX_LEN: usize = 2 * varint::MAX_LEN + 1 + Label::MAX;

    /// Appends it.
    pub(crate) fn put(self, out: &mut impl BufMut) {
        match self {
            Self::Control => varint::put(out, 0),
            Self::Stream { raw, id } => {
                varint::put(out, if raw { 2 } else { 1 });
                varint::put(out, u64::from(id));
            }
            Self::Message { id } => {
                varint::put(out, 3);
                varint::put(out, u64::from(id));
            }
            Self::Labelled { label, id } => {
                varint::put(out, 4);
                out.put_u8(label.len());
                out.put_slice(label.as_bytes());
                varint::put(out, u64::from(id));
            }
        }
    }

    /// Reads one from the first bytes of a stream: the header and its length, or `None` when more
    /// bytes are needed.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut rest = bytes;
        let Some(kind) = varint::take(&mut rest) else { return Ok(None) };
        let header = match kind {
            0 => Self::Control,
            1..=3 => match varint::take(&mut rest) {
                Some(id) => {
                    let id = u32::try_from(id).map_err(|_| Malformed)?;
                    if kind == 3 {
                        Self::Message { id }
                    } else {
                        Self::Stream { raw: kind == 2, id }
                    }
                }
                None => return Ok(None),
            },
            4 => {
                let Some((len, after)) = rest.split_first() else { return Ok(None) };
                if !(1..=Label::MAX).contains(&usize::from(*len)) {
                    return Err(Malformed);
                }
                let Some((label, after)) = after.split_at_checked(usize::from(*len)) else {
                    return Ok(None);
                };
                let label = Label::new(label).ok_or(Malformed)?;
                rest = after;
                let Some(id) = varint::take(&mut rest) else { return Ok(None) };
                Self::Labelled { label, id: u32::try_from(id).map_err(|_| Malformed)? }
            }
            _ => return Err(Malformed),
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_header_comes_back(
            raw: bool,
            id: u32,
            label in proptest::collection::vec(any::<u8>(), 1..=Label::MAX),
        ) {
            let label = Label::new(&label).unwrap();
            for header in [
                Header::Control,
                Header::Stream { raw, id },
                Header::Message { id },
                Header::Labelled { label, id },
            ] {
                let mut bytes = Vec::new();
                header.put(&mut bytes);
                for cut in 0..bytes.len() {
                    prop_assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
                }
                let len = bytes.len();
                bytes.push(7);
                prop_assert_eq!(Header::parse(&bytes), Ok(Some((header, len))));
            }
        }

        #[test]
        fn any_bytes_give_a_header_or_an_error(bytes: [u8; 12]) {
            let _ = Header::parse(&bytes);
        }
    }

    #[test]
    fn a_label_has_1_to_64_bytes() {
        assert_eq!(Header::parse(&[4, 0]), Err(Malformed));
        assert_eq!(Header::parse(&[4, 65]), Err(Malformed));
        assert_eq!(Header::parse(&[4, 2, b'a']), Ok(None));
        assert_eq!(Header::parse(&[4, 1, b'a', 0xc0, 0, 0, 1, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(Label::new(b""), None);
        assert_eq!(Label::new(&[7; 65]), None);
        let longest = Label::new(&[7; 64]).unwrap();
        assert_eq!(longest.as_bytes(), [7; 64]);
        let mut bytes = vec![4, 64];
        bytes.extend([7; 64]);
        bytes.push(3);
        let header = Header::Labelled { label: longest, id: 3 };
        assert_eq!(Header::parse(&bytes), Ok(Some((header, 67))));
    }

    #[test]
    fn an_unknown_kind_and_a_number_beyond_32_bits_are_malformed() {
        assert_eq!(Header::parse(&[5, 0]), Err(Malformed));
        assert_eq!(Header::parse(&[1, 0xc0, 0, 0, 1, 0, 0, 0, 0]), Err(Malformed));
    }
}
