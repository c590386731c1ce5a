//! A text that says what to fetch and where. It holds no seed: only members can use it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use data_encoding::BASE32_NOPAD;
use stt::{ContentId, NodeId};

use crate::TicketError;

/// What all tickets begin with; the kind follows.
const PREFIX: &str = "stt-ticket:";
const KIND: &str = "content:";
/// Bytes of the checksum at the end.
const CHECK: usize = 5;
/// Longest text that is looked at.
const MAX_TEXT: usize = 16 << 10;

/// Who has a content and where to look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Nobody else is talked to.
    pub node_id: NodeId,
    /// Where it listens. At most [`ContentTicket::MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
}

/// What to fetch and from whom.
///
/// As text it is one line that can be typed, mailed and shown as a QR code: letters and digits of
/// one case, with a checksum. Reading it needs no secret; fetching needs the shared seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentTicket {
    is_folder: bool,
    root: ContentId,
    size: u64,
    name: String,
    providers: Vec<Provider>,
}

impl ContentTicket {
    /// Most bytes of a content: 2^48.
    pub const MAX_SIZE: u64 = 1 << 48;
    /// Most bytes of a name.
    pub const MAX_NAME: usize = 255;
    /// Most providers in one ticket.
    pub const MAX_PROVIDERS: usize = 16;
    /// Most addresses of one provider.
    pub const MAX_ADDRESSES: usize = 8;

    /// A ticket for the file of `size` bytes whose BLAKE3 hash is `root`, called `name`.
    ///
    /// # Errors
    /// [`TicketError::TooMuch`]; [`TicketError::Malformed`] if it is empty and its hash says
    /// otherwise.
    pub fn new(root: ContentId, size: u64, name: &str) -> Result<Self, TicketError> {
        if size > Self::MAX_SIZE {
            return Err(TicketError::TooMuch { what: "bytes of content", max: Self::MAX_SIZE });
        }
        if name.len() > Self::MAX_NAME {
            return Err(too_much("bytes of name", Self::MAX_NAME));
        }
        // There is one empty content only, and no group that could show a lie.
        if size == 0 && root != ContentId::of(b"") {
            return Err(TicketError::Malformed);
        }
        Ok(Self { is_folder: false, root, size, name: name.to_owned(), providers: Vec::new() })
    }

    /// A ticket for a folder, whose manifest (docs/content.md) has `size` bytes and the hash
    /// `root`.
    ///
    /// # Errors
    /// [`TicketError::TooMuch`].
    pub fn folder(root: ContentId, size: u64, name: &str) -> Result<Self, TicketError> {
        Ok(Self { is_folder: true, ..Self::new(root, size, name)? })
    }

    /// Whether it is for a folder and not for a file.
    #[must_use]
    pub const fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// Adds a provider, or addresses to one that it names already.
    ///
    /// # Errors
    /// [`TicketError::TooMuch`]; the ticket is as before.
    pub fn add_provider(&mut self, provider: Provider) -> Result<(), TicketError> {
        let known = self.providers.iter_mut().find(|known| known.node_id == provider.node_id);
        let mut addresses = known.as_ref().map(|known| known.addresses.clone()).unwrap_or_default();
        for address in &provider.addresses {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses.len() > Self::MAX_ADDRESSES {
            return Err(too_much("addresses of a provider", Self::MAX_ADDRESSES));
        }
        if let Some(known) = known {
            known.addresses = addresses;
            return Ok(());
        }
        if self.providers.len() == Self::MAX_PROVIDERS {
            return Err(too_much("providers", Self::MAX_PROVIDERS));
        }
        self.providers.push(Provider { node_id: provider.node_id, addresses });
        Ok(())
    }

    /// Adds the providers of another ticket for the same content. The name stays.
    ///
    /// # Errors
    /// [`TicketError::Different`], [`TicketError::TooMuch`].
    pub fn merge(&mut self, other: Self) -> Result<(), TicketError> {
        let content = |ticket: &Self| (ticket.is_folder, ticket.root, ticket.size);
        if content(self) != content(&other) {
            return Err(TicketError::Different);
        }
        other.providers.into_iter().try_for_each(|provider| self.add_provider(provider))
    }

    /// Whether a text is meant to be a ticket, of any kind and whole or not.
    #[must_use]
    pub fn is_like(text: &str) -> bool {
        let text = text.trim_start().as_bytes();
        text.get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX.as_bytes()))
    }

    /// The BLAKE3 hash of the content, which is its id.
    #[must_use]
    pub const fn root(&self) -> ContentId {
        self.root
    }

    /// Its length in bytes (of a folder: that of its manifest), as whoever made the ticket says.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Its name, as whoever made the ticket says: not fit for a path without
    /// [`stt::transfer::safe_name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who has it.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    fn to_bytes(&self) -> Vec<u8> {
        // The limits of every list are below 256.
        let count = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
        let mut out = vec![u8::from(self.is_folder)];
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.push(count(self.name.len()));
        out.extend_from_slice(self.name.as_bytes());
        out.push(count(self.providers.len()));
        for provider in &self.providers {
            out.extend_from_slice(provider.node_id.as_bytes());
            out.push(count(provider.addresses.len()));
            for address in &provider.addresses {
                match address.ip() {
                    IpAddr::V4(ip) => {
                        out.push(4);
                        out.extend_from_slice(&ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        out.push(6);
                        out.extend_from_slice(&ip.octets());
                    }
                }
                out.extend_from_slice(&address.port().to_le_bytes());
            }
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let mut left = Left(bytes);
        let is_folder = match left.byte()? {
            0 => false,
            1 => true,
            _ => return Err(TicketError::Malformed),
        };
        let (root, size) = (ContentId::from_bytes(left.take()?), u64::from_le_bytes(left.take()?));
        let name_len = usize::from(left.byte()?);
        let name =
            std::str::from_utf8(left.bytes(name_len)?).map_err(|_| TicketError::Malformed)?;
        let mut ticket = Self { is_folder, ..Self::new(root, size, name)? };
        for _ in 0..left.byte()? {
            let node_id = NodeId::from_bytes(left.take()?);
            let mut addresses = Vec::new();
            for _ in 0..left.byte()? {
                let ip = match left.byte()? {
                    4 => IpAddr::from(Ipv4Addr::from(left.take::<4>()?)),
                    6 => IpAddr::from(Ipv6Addr::from(left.take::<16>()?)),
                    _ => return Err(TicketError::Malformed),
                };
                addresses.push(SocketAddr::new(ip, u16::from_le_bytes(left.take()?)));
            }
            ticket.add_provider(Provider { node_id, addresses })?;
        }
        if left.0.is_empty() { Ok(ticket) } else { Err(TicketError::Malformed) }
    }
}

fn too_much(what: &'static str, max: usize) -> TicketError {
    TicketError::TooMuch { what, max: u64::try_from(max).unwrap_or(u64::MAX) }
}

fn checksum(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key("stt ticket checksum 1 content", bytes)
}

/// Bytes not read yet.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], TicketError> {
        let (taken, left) = self.0.split_at_checked(len).ok_or(TicketError::Malformed)?;
        self.0 = left;
        Ok(taken)
    }

    fn take<const LEN: usize>(&mut self) -> Result<[u8; LEN], TicketError> {
        self.bytes(LEN)?.try_into().map_err(|_| TicketError::Malformed)
    }

    fn byte(&mut self) -> Result<u8, TicketError> {
        self.take::<1>().map(|[byte]| byte)
    }
}

impl fmt::Display for ContentTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.to_bytes();
        let check = checksum(&bytes);
        bytes.extend_from_slice(check.get(..CHECK).unwrap_or_default());
        write!(f, "{PREFIX}{KIND}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for ContentTicket {
    type Err = TicketError;

    /// Case, and white space around the text, do not matter.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(TicketError::Malformed);
        }
        let text = text.to_ascii_lowercase();
        let kind_and_body = text.strip_prefix(PREFIX).ok_or(TicketError::Malformed)?;
        let Some(body) = kind_and_body.strip_prefix(KIND) else {
            let kind = kind_and_body.split_once(':').map(|(kind, _)| kind);
            return match kind {
                Some(kind) if kind.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                    Err(TicketError::Kind { kind: kind.to_owned() })
                }
                _ => Err(TicketError::Malformed),
            };
        };
        let bytes = BASE32_NOPAD
            .decode(body.to_ascii_uppercase().as_bytes())
            .map_err(|_| TicketError::Malformed)?;
        let (bytes, check) = bytes
            .len()
            .checked_sub(CHECK)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(TicketError::Malformed)?;
        if checksum(bytes).get(..CHECK) != Some(check) {
            return Err(TicketError::Malformed);
        }
        Self::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> ContentTicket {
        let mut ticket = ContentTicket::new(ContentId::of(b"x"), 1, "a file.bin").unwrap();
        let addresses = vec!["127.0.0.1:9337".parse().unwrap(), "[::1]:1".parse().unwrap()];
        ticket.add_provider(Provider { node_id: NodeId::from_bytes([7; 32]), addresses }).unwrap();
        ticket
    }

    #[test]
    fn a_ticket_comes_back_from_its_text() {
        let (ticket, text) = (ticket(), ticket().to_string());
        assert!(text.starts_with("stt-ticket:content:"), "{text}");
        assert_eq!(text.parse(), Ok(ticket.clone()));
        assert_eq!(format!(" {}\n", text.to_ascii_uppercase()).parse(), Ok(ticket));
        let folder = ContentTicket::folder(ContentId::of(b"x"), 1, "films").unwrap();
        assert!(folder.is_folder());
        assert_eq!(folder.to_string().parse(), Ok(folder));
    }

    #[test]
    fn every_wrong_or_missing_character_is_found() {
        let text = ticket().to_string();
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'c' { b'd' } else { b'c' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(wrong.parse::<ContentTicket>().is_err(), "{wrong}");
            assert!(text.get(..at).unwrap().parse::<ContentTicket>().is_err());
        }
    }

    #[test]
    fn whatever_the_bytes_are_a_ticket_that_is_read_comes_back() {
        let (mut random, good) = (fastrand::Rng::with_seed(17), ticket().to_bytes());
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.u8(..)),
                }
            }
            if let Ok(ticket) = ContentTicket::from_bytes(&bytes) {
                read += 1;
                assert!(ticket.size() <= ContentTicket::MAX_SIZE);
                assert_eq!(ticket.to_string().parse(), Ok(ticket));
            }
        }
        // Many a byte of hash, id or name may be any other.
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn a_ticket_of_another_kind_says_so() {
        let other = "stt-ticket:resumption:aaaa".parse::<ContentTicket>();
        assert_eq!(other, Err(TicketError::Kind { kind: "resumption".into() }));
    }

    #[test]
    fn tickets_for_one_content_become_one() {
        let (mut one, mut other) =
            (ticket(), ContentTicket::new(ContentId::of(b"x"), 1, "b").unwrap());
        let provider = Provider { node_id: NodeId::from_bytes([8; 32]), addresses: Vec::new() };
        other.add_provider(provider.clone()).unwrap();
        one.merge(other.clone()).unwrap();
        one.merge(other).unwrap();
        assert_eq!(one.providers().last(), Some(&provider));
        assert_eq!((one.providers().len(), one.name()), (2, "a file.bin"));
        let folder = ContentTicket::folder(ContentId::of(b"x"), 1, "b").unwrap();
        assert_eq!(one.merge(folder), Err(TicketError::Different));
    }

    #[test]
    fn lists_are_bounded() {
        let mut ticket = ticket();
        for byte in 8..23 {
            let provider =
                Provider { node_id: NodeId::from_bytes([byte; 32]), addresses: Vec::new() };
            ticket.add_provider(provider).unwrap();
        }
        let one_more = Provider { node_id: NodeId::from_bytes([99; 32]), addresses: Vec::new() };
        assert!(ticket.add_provider(one_more).is_err());
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
        assert!(ContentTicket::new(ContentId::of(b""), u64::MAX, "a").is_err());
        assert_eq!(ContentTicket::new(ContentId::of(b"x"), 0, "a"), Err(TicketError::Malformed));
    }
}
