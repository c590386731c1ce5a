//! A seeded simulation: pairs of QUIC connections over one simulated bottleneck, with a fake clock.
//!
//! Nothing sleeps and nothing touches a socket; a simulated second of a gigabit costs about half a
//! real one. Timers fire on whole milliseconds, as those of the real runtime do.

#![allow(dead_code, reason = "each test and bench uses a part")]

mod crypto;
mod link;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::congestion::ControllerFactory;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, ConnectionId, ConnectionIdGenerator, DatagramEvent,
    Dir, Endpoint, EndpointConfig, Event, InvalidCid, ServerConfig, StreamEvent, StreamId,
    TransportConfig, ValidationTokenConfig, VarInt,
};
use stt_transport::congestion::ReceiveWindow;

use crypto::{Plain, PlainConfig};
pub use link::{Link, LinkConfig};

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A flow: who controls it and when it starts.
pub struct FlowConfig {
    pub controller: Arc<dyn ControllerFactory + Send + Sync>,
    pub start: Duration,
}

/// Sender (0) or receiver (1).
type Side = usize;

struct Peer {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    timer: Option<Instant>,
}

struct Flow {
    config: FlowConfig,
    peers: [Peer; 2],
    started: bool,
    outgoing: Option<StreamId>,
    incoming: Option<StreamId>,
    window: ReceiveWindow,
    /// When its present half began to be used, and what had been received then.
    window_since: (Instant, u64),
    received: u64,
    /// Bytes received by the end of each 100 ms.
    progress: Vec<u64>,
    lost: Option<String>,
}

struct Packet {
    at: Instant,
    sequence: u64,
    flow: usize,
    to: Side,
    bytes: BytesMut,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}
impl Eq for Packet {}
impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Connection ids in sequence: a run with the same seed is the same run.
struct Counted(u64);

impl ConnectionIdGenerator for Counted {
    fn generate_cid(&mut self) -> ConnectionId {
        self.0 += 1;
        ConnectionId::new(&self.0.to_be_bytes())
    }

    fn validate(&self, _: &ConnectionId) -> Result<(), InvalidCid> {
        Ok(())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The simulated world.
pub struct World {
    start: Instant,
    now: Instant,
    flows: Vec<Flow>,
    /// From the senders, the bottleneck; and back.
    pub links: [Link; 2],
    packets: BinaryHeap<Reverse<Packet>>,
    sequence: u64,
    scratch: Vec<u8>,
    next_progress: Instant,
}

const STEP: Duration = Duration::from_millis(100);

impl World {
    pub fn new(link: LinkConfig, seed: u64, flows: Vec<FlowConfig>) -> Self {
        let now = Instant::now();
        let flows = flows
            .into_iter()
            .enumerate()
            .map(|(nth, config)| {
                Flow::new(config, now, seed.wrapping_mul(31).wrapping_add(nth as u64))
            })
            .collect();
        Self {
            start: now,
            now,
            flows,
            links: [Link::new(link, now, seed), Link::new(link, now, !seed)],
            packets: BinaryHeap::new(),
            sequence: 0,
            scratch: Vec::new(),
            next_progress: now + STEP,
        }
    }

    /// Simulated time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Runs until `end`, counted from the start.
    pub fn run_until(&mut self, end: Duration) {
        let end = self.start + end;
        loop {
            let starts = self
                .flows
                .iter()
                .filter(|flow| !flow.started)
                .map(|flow| self.start + flow.config.start);
            let timers =
                self.flows.iter().flat_map(|flow| flow.peers.iter().filter_map(|peer| peer.timer));
            let packet = self.packets.peek().map(|Reverse(packet)| packet.at);
            let Some(next) = starts.chain(timers).chain(packet).min() else {
                return;
            };
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            while self.next_progress <= self.now {
                for flow in &mut self.flows {
                    flow.progress.push(flow.received);
                }
                self.next_progress += STEP;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        let mut touched = vec![[false; 2]; self.flows.len()];
        for (flow, touched) in self.flows.iter_mut().zip(&mut touched) {
            if !flow.started && self.start + flow.config.start <= self.now {
                flow.connect(self.now);
                touched[0] = true;
            }
            for (peer, touched) in flow.peers.iter_mut().zip(touched) {
                if peer.timer.is_some_and(|timer| timer <= self.now) {
                    if let Some((_, connection)) = &mut peer.connection {
                        connection.handle_timeout(self.now);
                    }
                    *touched = true;
                }
            }
        }
        while let Some(Reverse(packet)) = self.packets.peek() {
            if packet.at > self.now {
                break;
            }
            let Some(Reverse(packet)) = self.packets.pop() else { break };
            touched[packet.flow][packet.to] = true;
            self.flows[packet.flow].receive(self.now, packet.to, packet.bytes, &mut self.scratch);
        }
        for (nth, sides) in touched.into_iter().enumerate() {
            for (side, touched) in sides.into_iter().enumerate() {
                if touched {
                    self.drive(nth, side);
                }
            }
        }
    }

    fn drive(&mut self, nth: usize, side: Side) {
        let flow = &mut self.flows[nth];
        flow.events(self.now, side);
        loop {
            if side == 0 {
                flow.write();
            }
            let Some((_, connection)) = &mut flow.peers[side].connection else { return };
            self.scratch.clear();
            let Some(transmit) = connection.poll_transmit(self.now, 10, &mut self.scratch) else {
                break;
            };
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            for bytes in self.scratch[..transmit.size].chunks(segment) {
                if let Some(at) = self.links[side].offer(self.now, bytes.len()) {
                    self.sequence += 1;
                    self.packets.push(Reverse(Packet {
                        at,
                        sequence: self.sequence,
                        flow: nth,
                        to: 1 - side,
                        bytes: BytesMut::from(bytes),
                    }));
                }
            }
        }
        let Some((_, connection)) = &mut flow.peers[side].connection else { return };
        let start = self.start;
        flow.peers[side].timer = connection.poll_timeout().map(|at| {
            let since = at.saturating_duration_since(start).as_micros();
            let tick = start + Duration::from_millis(since.div_ceil(1000) as u64);
            tick.max(self.now + Duration::from_micros(1))
        });
    }

    /// Bytes a second that a flow's application received between two times from the start.
    pub fn goodput(&self, nth: usize, from: Duration, to: Duration) -> f64 {
        let at = |time: Duration| {
            let step = (time.as_millis() / STEP.as_millis()) as usize;
            if step == 0 {
                return 0;
            }
            let progress = &self.flows[nth].progress;
            progress.get(step - 1).copied().unwrap_or(self.flows[nth].received)
        };
        (at(to) - at(from)) as f64 / (to - from).as_secs_f64()
    }

    /// How many flows there are.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// A flow's sender, once it started.
    pub fn sender(&self, nth: usize) -> Option<&Connection> {
        self.flows[nth].peers[0].connection.as_ref().map(|(_, connection)| connection)
    }

    /// Why a flow's connection ended, if it did.
    pub fn lost(&self, nth: usize) -> Option<&str> {
        self.flows[nth].lost.as_deref()
    }
}

impl Flow {
    fn new(config: FlowConfig, now: Instant, seed: u64) -> Self {
        let peer = |side: u64, server: Option<Arc<ServerConfig>>| {
            let mut config = EndpointConfig::new(Arc::new(Plain));
            config.cid_generator(move || Box::new(Counted(seed << 32 | side << 24)));
            let mut rng = [0; 32];
            rng[..8].copy_from_slice(&(seed << 1 | side).to_be_bytes());
            Peer {
                endpoint: Endpoint::new(Arc::new(config), server, true, Some(rng)),
                connection: None,
                timer: None,
            }
        };
        let mut server = ServerConfig::new(Arc::new(PlainConfig), Arc::new(Plain));
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        server
            .transport_config(Arc::new(transport(&config)))
            .validation_token_config(tokens)
            .migration(false);
        Self {
            peers: [peer(0, None), peer(1, Some(Arc::new(server)))],
            config,
            started: false,
            outgoing: None,
            incoming: None,
            window: ReceiveWindow::new(),
            window_since: (now, 0),
            received: 0,
            progress: Vec::new(),
            lost: None,
        }
    }

    fn connect(&mut self, now: Instant) {
        self.started = true;
        let mut client = ClientConfig::new(Arc::new(PlainConfig));
        client.transport_config(Arc::new(transport(&self.config)));
        let connection = self.peers[0]
            .endpoint
            .connect(now, client, address(1), "peer")
            .expect("a valid configuration");
        self.peers[0].connection = Some(connection);
    }

    fn receive(&mut self, now: Instant, side: Side, bytes: BytesMut, scratch: &mut Vec<u8>) {
        let peer = &mut self.peers[side];
        match peer.endpoint.handle(now, address(1 - side), None, None, bytes, scratch) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut peer.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                if let Ok(accepted) = peer.endpoint.accept(incoming, now, scratch, None) {
                    peer.connection = Some(accepted);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Lets endpoint and connection talk, and the application read.
    fn events(&mut self, now: Instant, side: Side) {
        let peer = &mut self.peers[side];
        let Some((handle, connection)) = &mut peer.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = peer.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let mut readable = false;
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected if side == 0 => {
                    self.outgoing = connection.streams().open(Dir::Uni);
                }
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    self.incoming = connection.streams().accept(Dir::Uni);
                    readable = true;
                }
                Event::Stream(StreamEvent::Readable { .. }) => readable = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason.to_string()),
                _ => {}
            }
        }
        let Some(stream) = self.incoming.filter(|_| readable) else { return };
        let mut taken = 0;
        let rtt = connection.rtt();
        let mut stream = connection.recv_stream(stream);
        if let Ok(mut chunks) = stream.read(false) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                taken += chunk.bytes.len() as u64;
            }
            let _ = chunks.finalize();
        }
        self.received += taken;
        let (since, before) = self.window_since;
        if self.window.half().is_some_and(|half| self.received - before >= u64::from(half)) {
            self.window_since = (now, self.received);
            if let Some(grown) = self.window.half_used(now - since, rtt) {
                connection.set_receive_window(VarInt::from_u32(grown));
            }
        }
    }

    /// The application always has more to send.
    fn write(&mut self) {
        let (Some((_, connection)), Some(stream)) = (&mut self.peers[0].connection, self.outgoing)
        else {
            return;
        };
        let mut stream = connection.send_stream(stream);
        loop {
            if stream.write_chunks(&mut [Bytes::from_static(&ZEROS)]).is_err() {
                return;
            }
        }
    }
}

fn transport(config: &FlowConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    stt_transport::congestion::configure(&mut transport);
    transport.congestion_controller_factory(Arc::clone(&config.controller));
    transport
}

fn address(side: Side) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1000 + side as u16).into()
}

/// Jain's index of fairness: 1 when all are equal, 1/n when one has it all.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}
