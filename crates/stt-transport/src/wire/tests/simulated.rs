//! Two engines with masks and handshake, joined by a seeded network that loses, delays, repeats,
//! changes and swallows datagrams, on a clock that nobody waits for.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, ServerConfig, StreamEvent,
};

use super::*;
use crate::{
    testing::Weather,
    wire::{
        crypto_adapter::{self, Acceptor, PeerInfo},
        endpoint::{client_config, endpoint_config, server_config, suites},
        gate::{Gate, GateConfig},
        obfuscation::{IdMark, Inbound, Opaque},
        path_aware::CloseLatch,
        stats::Counters,
        transport_config::Timing,
    },
};

const TIMING: Timing = Timing {
    heartbeat: Duration::from_secs(30),
    idle_timeout: Duration::from_secs(120),
    max_mtu: Some(1452),
    datagram_buffer: 4 << 20,
    send_window: crate::congestion::SEND_WINDOW,
    first_window: crate::congestion::ReceiveWindow::FIRST,
};

struct Network {
    weather: Weather,
    random: fastrand::Rng,
    start: Instant,
    now: Instant,
    /// By arrival: to whom, and what.
    under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
}

impl Network {
    fn send(&mut self, to: usize, datagram: &[u8]) {
        let since = self.now - self.start;
        for (delay, datagram) in self.weather.carry(&mut self.random, since, datagram) {
            self.sent += 1;
            self.under_way.insert((self.now + delay, self.sent), (to, datagram));
        }
    }
}

struct Side {
    address: SocketAddr,
    engine: Endpoint,
    shared: Arc<crypto_adapter::HandshakeContext>,
    keyring: Arc<Keyring>,
    opaque: Opaque,
    connections: HashMap<ConnectionHandle, Connection>,
    /// Who the peer is, once FINAL was sent or read.
    done: Option<PeerInfo>,
    lost: bool,
}

impl Side {
    fn new(port: u16, random: u8) -> Self {
        let keyring = Arc::new(Keyring::from(seed(1)));
        let identity = Arc::new(Identity::ephemeral().unwrap());
        let (clock, counters) = (Arc::new(Clock::System), Arc::new(Counters::default()));
        let gate = GateConfig {
            clock: Arc::clone(&clock),
            window: Duration::from_secs(120),
            log: None,
            timeless: 0,
        };
        let node_id = identity.node_id();
        let gate = Gate::new(node_id, Arc::clone(&keyring), gate, Arc::clone(&counters)).unwrap();
        let shared = Arc::new(crypto_adapter::HandshakeContext {
            identity,
            gate,
            suites: suites(),
            offer: None,
            listens: vec![],
            clock,
            counters,
        });
        let ids = IdMark::new([random; 16]);
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        let server: ServerConfig = server_config(
            &Arc::new(Acceptor(Arc::clone(&shared))),
            TIMING,
            address,
            &CloseLatch::default(),
        );
        let mut config = endpoint_config(ids).unwrap();
        config.rng_seed(Some([random; 32]));
        Self {
            address,
            engine: Endpoint::new(Arc::new(config), Some(Arc::new(server)), true, None),
            shared,
            opaque: Opaque::new(Arc::clone(&keyring), ids),
            keyring,
            connections: HashMap::new(),
            done: None,
            lost: false,
        }
    }

    fn connect(&mut self, to: SocketAddr, now: Instant) {
        let seed = Arc::clone(&self.keyring.entries()[0]);
        let latch = CloseLatch::default();
        let config =
            client_config(&self.shared, seed, TIMING, to, None, (&latch, Arc::default())).unwrap();
        let (handle, connection) = self.engine.connect(now, config, to, "stt").unwrap();
        self.connections.insert(handle, connection);
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, mut datagram: Vec<u8>) {
        match self.opaque.inbound(&self.opaque.seeds(), &mut datagram) {
            Inbound::Short => {}
            Inbound::Long(length) => datagram.truncate(length),
            Inbound::OtherVersion | Inbound::Unknown => return,
        }
        let mut answer = Vec::new();
        let datagram = BytesMut::from(&datagram[..]);
        match self.engine.handle(now, from, None, None, datagram, &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                if let Ok((handle, connection)) =
                    self.engine.accept(incoming, now, &mut answer, None)
                {
                    self.connections.insert(handle, connection);
                }
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connections.get_mut(&handle) {
                    connection.handle_event(event);
                }
            }
            // Answers outside of a connection never leave the socket.
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Everything that can be done now. What is to be sent comes out.
    fn work(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for (handle, connection) in &mut self.connections {
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.engine.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
            let peer = || connection.crypto_session().peer_identity()?.downcast::<PeerInfo>().ok();
            let peer = peer().map(|peer| *peer);
            while let Some(event) = connection.poll() {
                match (event, &peer) {
                    (Event::Connected, Some(peer)) if connection.side().is_server() => {
                        let id = connection.streams().open(Dir::Uni).unwrap();
                        let mut stream = connection.send_stream(id);
                        stream.write(peer.final_confirm.as_bytes()).unwrap();
                        stream.finish().unwrap();
                        self.done = Some(peer.clone());
                    }
                    (Event::Stream(StreamEvent::Opened { dir: Dir::Uni }), Some(peer)) => {
                        let id = connection.streams().accept(Dir::Uni).unwrap();
                        let mut stream = connection.recv_stream(id);
                        let mut chunks = stream.read(true).unwrap();
                        let record: Bytes = chunks.next(32).unwrap().unwrap().bytes;
                        assert_eq!(&record[..], peer.final_confirm.as_bytes());
                        let _ = chunks.finalize();
                        self.done = Some(peer.clone());
                    }
                    (Event::ConnectionLost { .. }, _) => self.lost = true,
                    _ => {}
                }
            }
            let mut datagram = Vec::new();
            while connection.poll_transmit(now, 1, &mut datagram).is_some() {
                out.push(match Opaque::stamped(&datagram) {
                    None => datagram.clone(),
                    Some(slot) => {
                        let mut masked = Vec::new();
                        assert!(self.opaque.outbound(slot, &mut datagram, &mut masked));
                        masked
                    }
                });
                datagram.clear();
            }
        }
        out
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.connections.values_mut().filter_map(Connection::poll_timeout).min()
    }
}

/// One handshake in such weather: how long it took.
fn handshake(weather: Weather, random: u64) -> Option<Duration> {
    let start = Instant::now();
    let mut network = Network {
        weather,
        random: fastrand::Rng::with_seed(random),
        start,
        now: start,
        under_way: BTreeMap::new(),
        sent: 0,
    };
    let mut sides = [Side::new(1, 1), Side::new(2, 2)];
    let to = sides[1].address;
    sides[0].connect(to, start);
    while network.now < start + Duration::from_secs(110) {
        for (index, side) in sides.iter_mut().enumerate() {
            for datagram in side.work(network.now) {
                network.send(1 - index, &datagram);
            }
        }
        if let [Some(there), Some(here)] = [&sides[0].done, &sides[1].done] {
            assert!(there.session_id == here.session_id && there.exporter == here.exporter);
            assert_eq!(there.node_id, sides[1].shared.identity.node_id());
            assert_eq!(here.node_id, sides[0].shared.identity.node_id());
            return Some(network.now - start);
        }
        assert!(!sides.iter().any(|side| side.lost), "nobody gives up, seed {random}");
        let timeouts = sides.iter_mut().filter_map(Side::next_timeout).min();
        let arrival = network.under_way.keys().next().map(|(at, _)| *at);
        network.now = timeouts.into_iter().chain(arrival).min()?.max(network.now);
        while let Some(entry) = network.under_way.first_entry() {
            if entry.key().0 > network.now {
                break;
            }
            let (to, datagram) = entry.remove();
            let from = sides[1 - to].address;
            sides[to].receive(network.now, from, datagram);
        }
    }
    None
}

fn all_complete(weather: Weather, seeds: std::ops::Range<u64>) {
    let failed: Vec<_> = seeds.filter(|random| handshake(weather, *random).is_none()).collect();
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn without_loss_a_handshake_takes_two_round_trips() {
    // HELLO, RESPONSE, AUTH_PROOF, FINAL: four ways of 10 ms.
    assert_eq!(handshake(Weather::CALM, 0), Some(Duration::from_millis(40)));
}

#[test]
fn three_hundred_of_three_hundred_complete_at_thirty_percent_loss() {
    all_complete(Weather { loss: 0.3, ..Weather::CALM }, 0..300);
}

#[test]
fn changed_repeated_and_reordered_datagrams_do_no_harm() {
    let weather = Weather { loss: 0.1, repeated: 0.2, changed: 0.2, delay: (1, 80), hole: (0, 0) };
    all_complete(weather, 1000..1100);
}

#[test]
fn a_path_that_is_dead_for_a_while_is_waited_for() {
    for hole in [(0, 3000), (15, 2000), (25, 4000), (35, 5000)] {
        all_complete(Weather { loss: 0.05, hole, ..Weather::CALM }, 2000..2010);
    }
}
