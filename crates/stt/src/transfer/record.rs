//! What the two sides of a transfer say (docs/streams.md, FILE-1 and FILE-2).
//!
//! A record is its length (varint) and a body that starts with a type byte.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{RawStream, StreamError, stream::varint};

use super::TransferError;

/// Longest body of a record.
const MAX_BODY: usize = 4_096;
/// Longest name that is offered, in bytes.
pub(super) const MAX_NAME: usize = 1_024;
/// Bytes of a hash (BLAKE3).
pub(super) const HASH_LEN: usize = 32;

/// How far the end of a session may lie behind the ends of its streams.
const PARTING: Duration = Duration::from_secs(1);

/// The version of these records. An offer of another version is declined.
const VERSION: u8 = 1;
const OFFER: u8 = 1;
const ANSWER: u8 = 2;
const START: u8 = 3;
const VERDICT: u8 = 4;

/// Why a receiver declines or gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decline {
    /// A file of that name is there already.
    Exists,
    /// The same file is being received already.
    Busy,
    /// Its disk is full.
    DiskFull,
    /// The name cannot be a file name there.
    Name,
    /// The hashes differ.
    Corrupt,
    /// Something else went wrong on its side.
    Other,
}

impl Decline {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Exists => 1,
            Self::Busy => 2,
            Self::DiskFull => 3,
            Self::Name => 4,
            Self::Corrupt => 5,
            Self::Other => 6,
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Exists,
            2 => Self::Busy,
            3 => Self::DiskFull,
            4 => Self::Name,
            5 => Self::Corrupt,
            _ => Self::Other,
        }
    }
}

impl std::fmt::Display for Decline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exists => "a file of that name is there already",
            Self::Busy => "it is receiving the same file already",
            Self::DiskFull => "its disk is full",
            Self::Name => "the name cannot be a file name there",
            Self::Corrupt => "what arrived is not what was sent",
            Self::Other => "something went wrong on its side",
        })
    }
}

/// A file that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Its name, as the sender has it. Not safe.
    pub(super) name: String,
    pub(super) size: u64,
    /// When it was last changed, in nanoseconds since 1970, or 0. With name and size it tells
    /// whether an unfinished file is of the same one.
    pub(super) modified: u64,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Offer(Offer),
    /// So many bytes are there, with this hash.
    Answer {
        have: u64,
        hash: [u8; HASH_LEN],
    },
    /// The bytes from this offset on follow, and then the hash of the whole file.
    Start {
        offset: u64,
    },
    /// How it ended for the receiver.
    Verdict(Result<(), Decline>),
}

impl Record {
    /// With its length in front.
    pub(super) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        match self {
            Self::Offer(offer) => {
                body.put_slice(&[OFFER, VERSION]);
                varint::put(&mut body, offer.size);
                body.put_u64(offer.modified);
                body.put_slice(offer.name.as_bytes());
            }
            Self::Answer { have, hash } => {
                body.put_u8(ANSWER);
                varint::put(&mut body, *have);
                body.put_slice(hash);
            }
            Self::Start { offset } => {
                body.put_u8(START);
                varint::put(&mut body, *offset);
            }
            Self::Verdict(verdict) => {
                let byte = match verdict {
                    Ok(()) => 0,
                    Err(decline) => decline.to_byte(),
                };
                body.put_slice(&[VERDICT, byte]);
            }
        }
        let mut out = BytesMut::with_capacity(body.len() + varint::MAX_LEN);
        varint::put(&mut out, u64::try_from(body.len()).unwrap_or(0));
        out.extend_from_slice(&body);
        out.freeze()
    }

    fn decode(mut body: &[u8]) -> Option<Self> {
        let kind = take_byte(&mut body)?;
        let record = match kind {
            OFFER => {
                if take_byte(&mut body)? != VERSION {
                    return None;
                }
                let size = varint::take(&mut body)?;
                let modified = body.try_get_u64().ok()?;
                let name = std::str::from_utf8(body).ok()?.to_owned();
                if name.len() > MAX_NAME {
                    return None;
                }
                return Some(Self::Offer(Offer { name, size, modified }));
            }
            ANSWER => {
                let have = varint::take(&mut body)?;
                let hash = body.try_into().ok()?;
                return Some(Self::Answer { have, hash });
            }
            START => Self::Start { offset: varint::take(&mut body)? },
            VERDICT => Self::Verdict(match take_byte(&mut body)? {
                0 => Ok(()),
                byte => Err(Decline::from_byte(byte)),
            }),
            _ => return None,
        };
        body.is_empty().then_some(record)
    }
}

/// What the fuzzer calls: a record that parses comes back.
///
/// # Panics
/// When it doesn't.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub fn fuzz(body: &[u8]) {
    let Some(record) = Record::decode(body) else { return };
    let wire = record.encode();
    let mut rest = &wire[..];
    assert_eq!(varint::take(&mut rest), u64::try_from(rest.len()).ok());
    assert_eq!(Record::decode(rest), Some(record));
}

fn take_byte(body: &mut &[u8]) -> Option<u8> {
    body.try_get_u8().ok()
}

/// Reads exactly `len` bytes.
pub(super) async fn read_exact(stream: &mut RawStream, len: usize) -> Result<Bytes, TransferError> {
    let mut out = BytesMut::with_capacity(len);
    while out.len() < len {
        match stream.read_chunk(len - out.len()).await? {
            Some(chunk) => out.extend_from_slice(&chunk),
            None => return Err(ended_early(stream).await),
        }
    }
    Ok(out.freeze())
}

/// Reads one record.
pub(super) async fn read(stream: &mut RawStream) -> Result<Record, TransferError> {
    match read_next(stream).await? {
        Some(record) => Ok(record),
        None => Err(ended_early(stream).await),
    }
}

/// Why a stream ended where something had to come: the end of a session closes its streams first.
pub(super) async fn ended_early(stream: &RawStream) -> TransferError {
    match session_end(stream).await {
        Some(end) => end,
        None => TransferError::Protocol { rule: "the stream ended too early" },
    }
}

/// The end of the session, if that is what ended the stream.
pub(super) async fn session_end(stream: &RawStream) -> Option<TransferError> {
    let session = stream.stream().session();
    let reason = tokio::time::timeout(PARTING, session.closed()).await.ok()?;
    Some(StreamError::SessionEnded(reason).into())
}

/// Reads one record; `None` where the stream ends instead.
pub(super) async fn read_next(stream: &mut RawStream) -> Result<Option<Record>, TransferError> {
    let malformed = TransferError::Protocol { rule: "a record is malformed" };
    let Some(first) = stream.read_chunk(1).await? else { return Ok(None) };
    let mut head = BytesMut::from(first);
    let len = loop {
        if let Some(len) = varint::take(&mut &head[..]) {
            break usize::try_from(len).ok().filter(|len| *len <= MAX_BODY);
        }
        head.extend_from_slice(&read_exact(stream, 1).await?);
    };
    let Some(len) = len else { return Err(malformed) };
    let body = read_exact(stream, len).await?;
    Record::decode(&body).map(Some).ok_or(malformed)
}

/// Writes one record.
pub(super) async fn write(stream: &mut RawStream, record: &Record) -> Result<(), StreamError> {
    stream.write_chunk(record.encode()).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        prop_oneof![
            ("\\PC{0,100}", 0..=varint::MAX, any::<u64>())
                .prop_map(|(name, size, modified)| Record::Offer(Offer { name, size, modified })),
            (0..=varint::MAX, any::<[u8; 32]>())
                .prop_map(|(have, hash)| Record::Answer { have, hash }),
            (0..=varint::MAX).prop_map(|offset| Record::Start { offset }),
            Just(Record::Verdict(Ok(()))),
            (1u8..7).prop_map(|byte| Record::Verdict(Err(Decline::from_byte(byte)))),
        ]
    }

    proptest! {
        #[test]
        fn every_record_comes_back(record in records()) {
            let wire = record.encode();
            let mut rest = &wire[..];
            let len = varint::take(&mut rest).unwrap();
            prop_assert_eq!(rest.len() as u64, len);
            prop_assert_eq!(Record::decode(rest), Some(record));
        }

        #[test]
        fn any_bytes_give_a_record_or_nothing(bytes: Vec<u8>) {
            fuzz(&bytes);
        }
    }

    #[test]
    fn other_versions_and_trailing_bytes_are_refused() {
        assert_eq!(Record::decode(&[OFFER, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Record::decode(&[VERDICT, 0, 0]), None);
        assert_eq!(Record::decode(&[]), None);
    }
}
