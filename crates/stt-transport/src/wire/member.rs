//! For tests: a member that writes its packets by hand. It can leave out what an engine says sooner
//! or later.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test may fail by panicking"
)]

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stc::aead::{Suite, TAG_LEN};

use super::{
    handshake::{Handshake, Local, Output},
    key_schedule::LevelSecrets,
    knock::KnockKey,
    packet_protection::{HeaderCipher, PacketCipher},
};
use crate::{
    header_mask::Long,
    identity::Identity,
    keyring::{Keyring, SeedKeys},
    packet_header::QUIC_VERSION,
    seed::SharedSeed,
};

/// RFC 9000, section 17.2, as they stand in long headers.
const INITIAL: u8 = 0;
const HANDSHAKE: u8 = 2;

/// What protects the packets of one level.
struct Level {
    ours: (PacketCipher, HeaderCipher),
    theirs: (PacketCipher, HeaderCipher),
    next: u64,
}

impl Level {
    fn new(secrets: &LevelSecrets) -> Self {
        let side = |secret| {
            let headers = HeaderCipher::new(secrets.suite, secret).unwrap();
            (PacketCipher::new(secrets.suite, secret), headers)
        };
        Self { ours: side(&secrets.initiator), theirs: side(&secrets.responder), next: 0 }
    }

    /// A packet: `header` without its number, and the number's two bytes behind it.
    fn seal(&mut self, header: &[u8], payload: &[u8]) -> Vec<u8> {
        let number = u16::try_from(self.next % (1 << 16)).unwrap();
        let mut packet = [header, &number.to_be_bytes(), payload, &[0; TAG_LEN]].concat();
        self.ours.0.seal(self.next, &mut packet, header.len() + 2).unwrap();
        self.ours.1.apply(header.len(), &mut packet, false);
        self.next += 1;
        packet
    }

    /// Number and payload of a packet whose number is at `at`.
    fn open(&self, packet: &mut [u8], at: usize, next: u64) -> Option<(u64, Vec<u8>)> {
        self.theirs.1.apply(at, packet, true);
        let body = at + usize::from(packet[0] & 3) + 1;
        let (header, payload) = packet.split_at_mut(body);
        let bits = 8 * (body - at);
        let low = header[at..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        // RFC 9000, appendix A.3, for a path that reorders little.
        let number = match next & !((1 << bits) - 1) | low {
            number if number + (1 << (bits - 1)) < next => number + (1 << bits),
            number if number > next + (1 << (bits - 1)) => number.saturating_sub(1 << bits),
            number => number,
        };
        let length = self.theirs.0.open(number, header, payload).ok()?;
        Some((number, payload[..length].to_vec()))
    }
}

/// RFC 9000, section 16.
pub fn put(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x40 => out.push(u8::try_from(value).unwrap()),
        0x40..0x4000 => out.extend(u16::try_from(value | 0x4000).unwrap().to_be_bytes()),
        _ => out.extend(u32::try_from(value | 0x8000_0000).unwrap().to_be_bytes()),
    }
}

fn take(bytes: &mut &[u8]) -> u64 {
    let length = 1 << (bytes[0] >> 6);
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    let value = number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    value & ((1 << (8 * length - 2)) - 1)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(take(bytes)).unwrap();
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

/// A session with a node, by hand.
pub struct Member {
    socket: UdpSocket,
    seed: Arc<SeedKeys>,
    knock: Vec<u8>,
    own_id: [u8; 8],
    peer_id: Vec<u8>,
    /// By the number of their kind of long header.
    early: [Option<Level>; 3],
    session: Option<Level>,
    largest: u64,
    /// What came in CRYPTO frames and was not read.
    crypto: Vec<u8>,
    /// Bytes that the node takes in all streams together, and streams that it takes.
    pub max_data: u64,
    pub max_streams: u64,
    pub is_closed: bool,
}

impl Member {
    /// Shakes hands with the node at `to`, from an address of `host`.
    pub fn connect(host: &str, to: SocketAddr, seed: &SharedSeed) -> io::Result<Self> {
        let socket = UdpSocket::bind((host, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let ring = Keyring::from(seed.clone());
        let seed = Arc::clone(ring.in_use().first().unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let time = u32::try_from(now).unwrap();
        let knock = KnockKey::new(&seed.knock, None).knock(stc::random::bytes().unwrap(), time);
        let own_id = stc::random::bytes().unwrap();
        let mut parameters = Vec::new();
        let numbers =
            [(0x01, 60_000), (0x04, 1 << 20), (0x07, 1 << 20), (0x09, 64), (0x20, 65_535)];
        for (name, value) in numbers {
            let mut number = Vec::new();
            put(&mut number, value);
            parameters.extend([name, u8::try_from(number.len()).unwrap()]);
            parameters.extend(number);
        }
        parameters.extend([0x0f, 8]);
        parameters.extend(own_id);
        let local = Local {
            identity: Arc::new(Identity::ephemeral().unwrap()),
            seed: Arc::clone(&seed),
            suites: vec![Suite::Aes256Gcm],
            parameters,
            listens: Vec::new(),
            time,
            #[cfg(test)]
            ephemeral: None,
            #[cfg(test)]
            offer: None,
        };
        let mut handshake = Handshake::initiator(local, &knock, None).unwrap();
        let initial = Level::new(&LevelSecrets::initial(&seed.initial, &knock));
        let mut this = Self {
            socket,
            seed,
            knock: knock.to_vec(),
            own_id,
            peer_id: Vec::new(),
            early: [Some(initial), None, None],
            session: None,
            largest: 0,
            crypto: Vec::new(),
            max_data: 0,
            max_streams: 0,
            is_closed: false,
        };
        this.write(&mut handshake)?;
        while this.session.is_none() {
            this.shake(&mut handshake)?;
        }
        let parameters = handshake.peer_parameters().unwrap().to_vec();
        let mut rest = &parameters[..];
        while !rest.is_empty() {
            let name = take(&mut rest);
            let mut value = take_bytes(&mut rest);
            match name {
                0x04 => this.max_data = take(&mut value),
                0x09 => this.max_streams = take(&mut value),
                _ => {}
            }
        }
        this.socket.set_nonblocking(true)?;
        Ok(this)
    }

    /// Does what the handshake wants.
    fn write(&mut self, handshake: &mut Handshake) -> io::Result<()> {
        while let Some(output) = handshake.poll_output() {
            match output {
                Output::Record(record) => {
                    let level = if self.early[2].is_some() { HANDSHAKE } else { INITIAL };
                    self.send_record(level, &record)?;
                }
                Output::Handshake(secrets) => self.early[2] = Some(Level::new(&secrets)),
                Output::Session(secrets) => self.session = Some(Level::new(&secrets.packets)),
            }
        }
        Ok(())
    }

    fn send_record(&mut self, level: u8, record: &[u8]) -> io::Result<()> {
        let mut payload = vec![0x06, 0];
        put(&mut payload, record.len() as u64);
        payload.extend(record);
        // RFC 9000, section 14.1.
        payload.resize(payload.len().max(if level == INITIAL { 1_150 } else { 64 }), 0);
        let mut header = vec![0xc1 | level << 4];
        header.extend(QUIC_VERSION.to_be_bytes());
        let to = if self.peer_id.is_empty() { &self.knock } else { &self.peer_id };
        for id in [&to[..], &self.own_id] {
            header.push(u8::try_from(id.len()).unwrap());
            header.extend(id);
        }
        if level == INITIAL {
            header.push(0);
        }
        let length = u16::try_from(2 + payload.len() + TAG_LEN).unwrap();
        header.extend((length | 0x4000).to_be_bytes());
        let packet = self.early[usize::from(level)].as_mut().unwrap().seal(&header, &payload);
        let mut masked = Vec::new();
        assert!(self.seed.masks.seal_long(&packet, &[], &mut masked));
        self.socket.send(&masked).map(|_| ())
    }

    /// Takes a datagram of the handshake.
    fn shake(&mut self, handshake: &mut Handshake) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer)?;
        let mut datagram = &mut buffer[..length];
        let Long::Datagram(length) = self.seed.masks.open_long(datagram) else { return Ok(()) };
        datagram = &mut datagram[..length];
        while datagram.first().is_some_and(|flags| flags & 0xc0 == 0xc0) {
            let level = datagram[0] >> 4 & 3;
            let mut rest = &datagram[1 + 4..];
            for of_peer in [false, true] {
                let (id, behind) = rest[1..].split_at(rest[0].into());
                if of_peer {
                    self.peer_id = id.to_vec();
                }
                rest = behind;
            }
            if level == INITIAL {
                take_bytes(&mut rest);
            }
            let length = usize::try_from(take(&mut rest)).unwrap();
            let at = datagram.len() - rest.len();
            let (packet, behind) = datagram.split_at_mut(at + length);
            datagram = behind;
            let Some(keys) = &self.early[usize::from(level)] else { continue };
            let Some((_, payload)) = keys.open(packet, at, 0) else { continue };
            self.frames(&payload);
            let records = std::mem::take(&mut self.crypto);
            handshake.read(&records).map_err(io::Error::other)?;
            self.write(handshake)?;
        }
        Ok(())
    }

    /// RFC 9000, section 19: what a node may say.
    fn frames(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let kind = take(&mut rest);
            let mut numbers = |count: u64| (0..count).map(|_| take(&mut rest)).last();
            match kind {
                0x00 | 0x01 | 0x1e => {}
                0x02 | 0x03 => {
                    numbers(2);
                    let ranges = numbers(1).unwrap();
                    numbers(1 + 2 * ranges + if kind == 3 { 3 } else { 0 });
                }
                0x04 => drop(numbers(3)),
                0x05 | 0x11 | 0x15 => drop(numbers(2)),
                0x06 => {
                    numbers(1);
                    let record = take_bytes(&mut rest);
                    self.crypto.extend(record);
                }
                0x08..=0x0f => {
                    numbers(1);
                    if kind & 4 != 0 {
                        numbers(1);
                    }
                    if kind & 2 == 0 {
                        return;
                    }
                    take_bytes(&mut rest);
                }
                0x10 => self.max_data = self.max_data.max(numbers(1).unwrap()),
                0x13 => self.max_streams = self.max_streams.max(numbers(1).unwrap()),
                0x12 | 0x14 | 0x16 | 0x17 | 0x19 => drop(numbers(1)),
                0x18 => {
                    numbers(2);
                    rest = &rest[1 + 8 + 16..];
                }
                0x1a | 0x1b => rest = &rest[8..],
                0x31 => drop(take_bytes(&mut rest)),
                0x30 => return,
                // The end, or what this side does not know.
                _ => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    /// Takes what the node says, and acknowledges it.
    pub fn listen(&mut self) {
        let mut buffer = vec![0; 65_536];
        let mut acknowledged = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let packet = &mut buffer[..length];
            if !self.seed.masks.short(packet) || packet[1..9] != self.own_id {
                continue;
            }
            let session = self.session.as_ref().unwrap();
            let Some((number, payload)) = session.open(packet, 9, self.largest + 1) else {
                continue;
            };
            self.largest = self.largest.max(number);
            acknowledged.push(0x02);
            put(&mut acknowledged, number);
            acknowledged.extend([0, 0, 0]);
            self.frames(&payload);
        }
        if !acknowledged.is_empty() {
            self.send(&acknowledged);
        }
    }

    /// Sends these frames. What does not fit the socket's buffer is lost.
    pub fn send(&mut self, frames: &[u8]) {
        let header = [&[0x41][..], &self.peer_id].concat();
        let mut payload = frames.to_vec();
        payload.resize(payload.len().max(32), 0);
        let mut packet = self.session.as_mut().unwrap().seal(&header, &payload);
        assert!(self.seed.masks.short(&mut packet));
        let _ = self.socket.send(&packet);
    }
}
