//! Somebody without the seed, who knocks at a port and listens for an answer.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::error::CliError;

/// How long a stranger listens after the last knock.
const LISTEN: Duration = Duration::from_millis(250);
/// Knocks of each kind.
const EACH: usize = 50;

/// What a stranger sent and got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Knocks {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    pub(crate) answered_bytes: u64,
}

impl Knocks {
    /// Both together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            datagrams: self.datagrams + other.datagrams,
            bytes: self.bytes + other.bytes,
            answered_bytes: self.answered_bytes + other.answered_bytes,
        }
    }
}

/// Sends everything that makes an ordinary QUIC server answer, and some noise, and counts what
/// comes back.
pub(crate) fn knock(at: SocketAddr) -> Result<Knocks, CliError> {
    let failed =
        |error: std::io::Error| CliError::new("demo.knock", format!("nobody knocked: {error}"));
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(failed)?;
    socket.connect(at).map_err(failed)?;
    let mut knocks = Knocks::default();
    for kind in [initial, unknown_version, short_header, noise] {
        for at in 0..EACH {
            let datagram = kind(at)?;
            match socket.send(&datagram) {
                Ok(len) => {
                    knocks.datagrams += 1;
                    knocks.bytes += u64::try_from(len).unwrap_or(0);
                }
                // The system's word for a closed port: the node is done and gone.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(knocks),
                Err(error) => return Err(failed(error)),
            }
        }
    }
    let end = Instant::now() + LISTEN;
    let mut buffer = vec![0; 65_536];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left)).map_err(failed)?;
        match socket.recv(&mut buffer) {
            Ok(len) => knocks.answered_bytes += u64::try_from(len).unwrap_or(0),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(knocks),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(knocks)
}

fn random(len: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = vec![0; len];
    stc::random::fill(&mut bytes).map_err(|error| CliError::doing("nobody knocked", &error))?;
    Ok(bytes)
}

/// A long header of 1,200 bytes with two connection ids of 8 bytes and a random rest.
fn long_header(first: u8, version: [u8; 4]) -> Result<Vec<u8>, CliError> {
    let mut datagram = vec![first];
    datagram.extend(version);
    for _ in 0..2 {
        datagram.push(8);
        datagram.extend(random(8)?);
    }
    datagram.extend([0, 0x44, 0x96]);
    let rest = random(1_200 - datagram.len())?;
    datagram.extend(rest);
    Ok(datagram)
}

/// What every QUIC client begins with.
fn initial(_: usize) -> Result<Vec<u8>, CliError> {
    long_header(0xc3, [0, 0, 0, 1])
}

/// A server of QUIC must answer a version that it does not know.
fn unknown_version(_: usize) -> Result<Vec<u8>, CliError> {
    long_header(0xc3, [0x1a, 0x2a, 0x3a, 0x4a])
}

/// A packet of a connection that is gone; a server of QUIC may answer with a reset.
fn short_header(at: usize) -> Result<Vec<u8>, CliError> {
    let mut datagram = random(40 + at * 27)?;
    if let Some(first) = datagram.first_mut() {
        *first = 0x40 | (*first & 0x3f);
    }
    Ok(datagram)
}

/// Anything.
fn noise(at: usize) -> Result<Vec<u8>, CliError> {
    random(1 + at * 28)
}
