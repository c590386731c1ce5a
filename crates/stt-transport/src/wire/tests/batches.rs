//! Datagrams that the system gathered into one buffer: those with long headers shrink when their mask
//! comes off, and those of strangers are cut out.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    sync::Mutex,
    task::{Context, Poll},
};

use quinn_udp::{RecvMeta, Transmit};

use super::*;
use crate::header_mask::Masks;
use crate::packet_header::QUIC_VERSION;
use crate::route::{DatagramSocket, Room};
use crate::wire::{
    obfuscation::{IdMark, Opaque},
    socket::{Inbox, SilentSocket},
    stats::Counters,
};

/// Gives out what was put in, one buffer at a time: bytes, and size of each datagram in them.
#[derive(Debug, Default)]
struct System(Mutex<VecDeque<(Vec<u8>, usize)>>);

impl DatagramSocket for System {
    fn room(self: Arc<Self>) -> Box<dyn Room> {
        panic!("not asked for")
    }

    fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some((bytes, stride)) = self.0.lock().unwrap().pop_front() else {
            return Poll::Pending;
        };
        buffers[0][..bytes.len()].copy_from_slice(&bytes);
        metas[0] = RecvMeta::default();
        (metas[0].len, metas[0].stride) = (bytes.len(), stride);
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

/// Datagrams as the engine gets them, until there are none.
fn received(socket: &SilentSocket) -> Vec<Vec<u8>> {
    let (mut inbox, mut all) = (Inbox::new(), Vec::new());
    let waker = std::task::Waker::noop();
    while let Poll::Ready(received) =
        socket.poll_receive(&mut Context::from_waker(waker), &mut inbox)
    {
        received.unwrap();
        all.extend(inbox.take().map(|received| received.data.to_vec()));
    }
    all
}

struct Sealed {
    masks: Masks,
    ids: IdMark,
}

impl Sealed {
    /// A short header for us with its mask, and without.
    fn short(&self, number: u8, length: usize) -> (Vec<u8>, Vec<u8>) {
        let mut packet = vec![number; length];
        packet[0] = 0x41;
        packet[1..9].copy_from_slice(&self.ids.id([number; 4]));
        let plain = packet.clone();
        assert!(self.masks.short(&mut packet));
        (packet, plain)
    }

    fn long(&self, number: u8, length: usize, masked: usize) -> (Vec<u8>, Vec<u8>) {
        let mut plain = vec![number; length];
        plain[0] = 0xe0;
        plain[1..5].copy_from_slice(&QUIC_VERSION.to_be_bytes());
        plain[5] = 8;
        let mut packet = Vec::new();
        assert!(self.masks.seal_long(&plain, &vec![0; masked - length - 2], &mut packet));
        (packet, plain)
    }
}

fn socket() -> (Arc<System>, SilentSocket, Sealed, Arc<Counters>) {
    let (system, counters) = (Arc::new(System::default()), Arc::new(Counters::default()));
    let ids = IdMark::new([1; 16]);
    let opaque = Opaque::new(Arc::new(Keyring::from(seed(1))), ids);
    let udp: Arc<dyn DatagramSocket> = Arc::<System>::clone(&system);
    let socket = SilentSocket::new(udp, opaque, Arc::clone(&counters));
    (system, socket, Sealed { masks: Masks::new(&Key::from_bytes([1; 32])), ids }, counters)
}

#[test]
fn a_batch_of_long_and_short_datagrams_and_noise_comes_apart_right() {
    let (system, socket, sealed, counters) = socket();
    let datagrams = [
        sealed.short(1, 1200),
        sealed.long(2, 700, 1200),
        (vec![9; 1200], vec![]),
        sealed.long(3, 1198, 1200),
        sealed.short(4, 1200),
        // The last one of a batch may be shorter than the others.
        sealed.short(5, 300),
    ];
    let batch = datagrams.iter().flat_map(|(masked, _)| masked.clone()).collect();
    system.0.lock().unwrap().push_back((batch, 1200));
    let mut got = received(&socket);
    got.sort();
    let mut expected: Vec<_> =
        datagrams.into_iter().map(|(_, plain)| plain).filter(|plain| !plain.is_empty()).collect();
    expected.sort();
    assert!(got == expected);
    let stats = counters.snapshot();
    assert_eq!((stats.datagrams_received, stats.dropped_unknown), (6, 1));
}

#[test]
fn a_batch_whose_last_one_is_long_and_short_ones_alone_come_through() {
    let (system, socket, sealed, _) = socket();
    let (short, long) = (sealed.short(1, 1000), sealed.long(2, 500, 900));
    let alone = sealed.long(3, 400, 1232);
    let batch = [short.0, long.0].concat();
    system.0.lock().unwrap().extend([(batch, 1000), (alone.0, 1232)]);
    let mut got = received(&socket);
    got.sort();
    let mut expected = [short.1, long.1, alone.1];
    expected.sort();
    assert!(got == expected);
}

/// The mask of a long header is malleable: one flipped bit makes a Retry of a Handshake packet, and a
/// connection of the engine that gets one is over. So nobody on the path may bring one in.
#[test]
fn a_flipped_bit_does_not_make_a_retry() {
    let (system, socket, sealed, counters) = socket();
    let (mut masked, _) = sealed.long(1, 400, 1200);
    // The length comes first, then the flags.
    masked[2] ^= 0x10;
    system.0.lock().unwrap().push_back((masked, 1200));
    assert!(received(&socket).concat().is_empty());
    assert_eq!(counters.snapshot().dropped_unknown, 1);
}
