//! The payloads of the three handshake messages (docs/protocol.md).
//!
//! Each ends with room for what later versions add: a reader ignores the bytes after the fields
//! that it knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stc::aead::Suite;

use crate::{id::NodeId, identity::Proof};

/// Version of the protocol that this code speaks (VER-2).
pub(crate) const VERSION: u8 = 1;
/// Most addresses that a node names as its own.
pub(crate) const MAX_LISTENS: usize = 8;

/// A message is not what the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Message 1: what every holder of the seed may read (MSG-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Versions that the initiator speaks, best first.
    pub(crate) versions: Vec<u8>,
    /// Suites that it has, by number, best first.
    pub(crate) suites: Vec<u8>,
    /// Its QUIC transport parameters (RFC 9000, section 18).
    pub(crate) parameters: Vec<u8>,
}

/// Message 2 (MSG-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) version: u8,
    pub(crate) suite: Suite,
    /// The responder's time, in seconds since 1970.
    pub(crate) time: u32,
    pub(crate) proof: Proof,
    pub(crate) parameters: Vec<u8>,
}

/// Message 3 (MSG-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthProof {
    pub(crate) proof: Proof,
    /// Addresses at which the initiator itself can be reached.
    pub(crate) listens: Vec<SocketAddr>,
}

/// Takes fields off the front of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn short_list(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.byte()?;
        Ok(self.take(length.into())?.to_vec())
    }

    fn list(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = u16::from_be_bytes(self.array()?);
        Ok(self.take(length.into())?.to_vec())
    }

    fn proof(&mut self) -> Result<Proof, Malformed> {
        Ok(Proof { node_id: NodeId::from_bytes(self.array()?), signature: self.array()? })
    }

    fn address(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = match self.byte()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.array()?)))
    }
}

fn put_short_list(out: &mut Vec<u8>, list: &[u8]) {
    let length = u8::try_from(list.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend(list.iter().take(length.into()));
}

fn put_list(out: &mut Vec<u8>, list: &[u8]) {
    let length = u16::try_from(list.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(list.iter().take(length.into()));
}

fn put_proof(out: &mut Vec<u8>, proof: &Proof) {
    out.extend(proof.node_id.as_bytes());
    out.extend(proof.signature);
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_short_list(&mut out, &self.versions);
        put_short_list(&mut out, &self.suites);
        put_list(&mut out, &self.parameters);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        Ok(Self {
            versions: reader.short_list()?,
            suites: reader.short_list()?,
            parameters: reader.list()?,
        })
    }
}

impl Response {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.version, self.suite.id()];
        out.extend(self.time.to_be_bytes());
        put_proof(&mut out, &self.proof);
        put_list(&mut out, &self.parameters);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        Ok(Self {
            version: reader.byte()?,
            suite: Suite::from_id(reader.byte()?).ok_or(Malformed)?,
            time: u32::from_be_bytes(reader.array()?),
            proof: reader.proof()?,
            parameters: reader.list()?,
        })
    }
}

impl AuthProof {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_proof(&mut out, &self.proof);
        let count = self.listens.len().min(MAX_LISTENS);
        out.push(u8::try_from(count).unwrap_or_default());
        for address in self.listens.iter().take(count) {
            match address.ip() {
                IpAddr::V4(ip) => {
                    out.push(4);
                    out.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(6);
                    out.extend(ip.octets());
                }
            }
            out.extend(address.port().to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let proof = reader.proof()?;
        let count = usize::from(reader.byte()?);
        if count > MAX_LISTENS {
            return Err(Malformed);
        }
        let listens = (0..count).map(|_| reader.address()).collect::<Result<_, _>>()?;
        Ok(Self { proof, listens })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proof() -> Proof {
        Proof { node_id: NodeId::from_bytes([3; 32]), signature: [4; 64] }
    }

    #[test]
    fn messages_come_back_with_later_fields_ignored() {
        let hello = Hello { versions: vec![1, 2], suites: vec![2, 1], parameters: vec![9; 300] };
        let mut bytes = hello.encode();
        bytes.extend(b"later");
        assert_eq!(Hello::decode(&bytes), Ok(hello));

        let response = Response {
            version: 1,
            suite: Suite::Aes256Gcm,
            time: 1_800_000_000,
            proof: proof(),
            parameters: vec![1, 2, 3],
        };
        let mut bytes = response.encode();
        bytes.extend(b"later");
        assert_eq!(Response::decode(&bytes), Ok(response));

        let listens = vec!["10.0.0.1:5".parse().unwrap(), "[::1]:65535".parse().unwrap()];
        let auth = AuthProof { proof: proof(), listens };
        let mut bytes = auth.encode();
        bytes.extend(b"later");
        assert_eq!(AuthProof::decode(&bytes), Ok(auth));
    }

    #[test]
    fn a_cut_message_is_malformed() {
        let hello = Hello { versions: vec![1], suites: vec![1], parameters: vec![9; 3] }.encode();
        assert!((0..hello.len()).all(|end| Hello::decode(&hello[..end]).is_err()));
        let listens = vec!["10.0.0.1:5".parse().unwrap()];
        let auth = AuthProof { proof: proof(), listens }.encode();
        assert!((0..auth.len()).all(|end| AuthProof::decode(&auth[..end]).is_err()));
    }

    proptest! {
        #[test]
        fn what_parses_encodes_to_its_own_beginning(bytes: Vec<u8>) {
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert!(bytes.starts_with(&hello.encode()));
            }
            if let Ok(response) = Response::decode(&bytes) {
                prop_assert!(bytes.starts_with(&response.encode()));
            }
            if let Ok(auth) = AuthProof::decode(&bytes) {
                prop_assert!(bytes.starts_with(&auth.encode()));
            }
        }
    }
}
