//! What the two sides of a transfer say (docs/streams.md, FILE-1 to FILE-4).
//!
//! A record is its length (varint) and a body that starts with a type byte.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{ProtocolReceiver, ProtocolSender, Session, StreamError, stream::varint};

use super::TransferError;

/// Longest body of a record.
const MAX_BODY: usize = 4_096;
/// Bytes of a hash (BLAKE3).
pub(super) const HASH_LEN: usize = 32;

/// How far the end of a session may lie behind the ends of its streams.
const PARTING: Duration = Duration::from_secs(1);

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

/// Tells whether what is unfinished is of the same file, or of the same directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Its name, or its path in the directory that is offered, as the sender has it. Not safe.
    pub(super) name: String,
    pub(super) size: u64,
    /// When it was last changed, in nanoseconds since 1970, or 0; of a directory a hash of its list.
    pub(super) modified: u64,
}

/// So many bytes of a file are there, with this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) have: u64,
    pub(super) hash: [u8; HASH_LEN],
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A list of so many entries follows, of so many bytes.
    Offer {
        entries: u64,
        list: u64,
    },
    Answer(Answer),
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
            Self::Offer { entries, list } => {
                body.put_u8(OFFER);
                varint::put(&mut body, *entries);
                varint::put(&mut body, *list);
            }
            Self::Answer(Answer { have, hash }) => {
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
                let entries = varint::take(&mut body)?;
                // What follows is left for later versions.
                return Some(Self::Offer { entries, list: varint::take(&mut body)? });
            }
            ANSWER => {
                let have = varint::take(&mut body)?;
                let hash = body.try_into().ok()?;
                return Some(Self::Answer(Answer { have, hash }));
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

/// The receiving direction of a transfer's stream.
pub(super) struct Peer {
    receiver: ProtocolReceiver,
    session: Session,
}

impl Peer {
    pub(super) const fn new(receiver: ProtocolReceiver, session: Session) -> Self {
        Self { receiver, session }
    }

    /// The next bytes as they come, `max` at most.
    pub(super) async fn piece(&self, max: usize) -> Result<Bytes, TransferError> {
        match self.receiver.read_chunk(max).await? {
            Some(piece) => Ok(piece),
            None => Err(self.ended_early().await),
        }
    }

    /// Exactly `len` bytes.
    pub(super) async fn exact(&self, len: usize) -> Result<Bytes, TransferError> {
        let mut out = BytesMut::new();
        while out.len() < len {
            out.extend_from_slice(&self.piece(len - out.len()).await?);
        }
        Ok(out.freeze())
    }

    /// One record.
    pub(super) async fn record(&self) -> Result<Record, TransferError> {
        match self.next().await? {
            Some(record) => Ok(record),
            None => Err(self.ended_early().await),
        }
    }

    /// One record; `None` where the stream ends instead.
    pub(super) async fn next(&self) -> Result<Option<Record>, TransferError> {
        let malformed = TransferError::Protocol { rule: "a record is malformed" };
        let Some(first) = self.receiver.read_chunk(1).await? else { return Ok(None) };
        let mut head = BytesMut::from(first);
        let len = loop {
            if let Some(len) = varint::take(&mut &head[..]) {
                break usize::try_from(len).ok().filter(|len| *len <= MAX_BODY);
            }
            head.extend_from_slice(&self.exact(1).await?);
        };
        let Some(len) = len else { return Err(malformed) };
        let body = self.exact(len).await?;
        Record::decode(&body).map(Some).ok_or(malformed)
    }

    /// Why a stream ended where something had to come: the end of a session closes its streams first.
    async fn ended_early(&self) -> TransferError {
        match self.session_end().await {
            Some(end) => end,
            None => TransferError::Protocol { rule: "the stream ended too early" },
        }
    }

    /// The end of the session, if that is what ended the stream.
    pub(super) async fn session_end(&self) -> Option<TransferError> {
        let reason = tokio::time::timeout(PARTING, self.session.closed()).await.ok()?;
        Some(StreamError::SessionEnded(reason).into())
    }
}

/// Writes one record.
pub(super) async fn write(
    sender: &mut ProtocolSender,
    record: &Record,
) -> Result<(), TransferError> {
    Ok(sender.write_chunk(record.encode()).await?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        prop_oneof![
            (0..=varint::MAX, 0..=varint::MAX)
                .prop_map(|(entries, list)| Record::Offer { entries, list }),
            (0..=varint::MAX, any::<[u8; 32]>())
                .prop_map(|(have, hash)| Record::Answer(Answer { have, hash })),
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
    fn trailing_bytes_are_refused_but_for_those_of_later_versions() {
        let offer = Record::Offer { entries: 2, list: 5 };
        assert_eq!(Record::decode(&[OFFER, 2, 5, 9]), Some(offer));
        assert_eq!(Record::decode(&[OFFER, 2]), None);
        assert_eq!(Record::decode(&[START, 0, 0]), None);
        assert_eq!(Record::decode(&[VERDICT, 0, 0]), None);
        assert_eq!(Record::decode(&[]), None);
    }
}
