//! The task that the engine runs in. It waits for nothing but the engine, wishes, and its clock.
//!
//! | look for | in |
//! |---|---|
//! | wishes, events and the clock | [`Driver`] |
//! | values and providers, and what becomes of questions | `values` |
//! | what outlives a restart | `restart` |
//! | who is dialled, and for whom | `dials` |
//! | topics, messages and who waits for subscribers | `topics` |

mod dials;
mod restart;
mod topics;
mod values;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use libp2p_core::{transport::Boxed, upgrade::Version};
use libp2p_identity::PeerId;
use libp2p_kad::{self as kad, RecordKey};
use libp2p_swarm::{Swarm as Engine, SwarmEvent};
use stc::Cause;
use stt::{NodeId, ProtocolHandler};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    behaviour::{Behaviour, BehaviourEvent},
    command::{Command, Reply},
    keeper::Keeper,
    link,
    links::Links,
    peer,
    queries::{MAX_QUERIES, Queries, Query, Waiting, answer, member},
    transport::Output,
};
use crate::{
    SwarmOptions,
    dht::{SwarmMember, record, store::Records},
    pubsub::receipt,
    swarm_error::SwarmError,
};
use topics::Talk;
use values::Own;

/// How often it looks what is due.
const TICK: Duration = Duration::from_millis(250);
/// How long a link without streams is kept.
const IDLE: Duration = Duration::from_secs(120);
/// How often what has expired is forgotten, and subscribers are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// How often what is kept for others, and where members are, is written, if it changed.
const SAVE: Duration = Duration::from_secs(10);
/// How long joining waits for the link to be known to the engine.
const LINKED_WITHIN: Duration = Duration::from_secs(10);

/// The engine, and all that waits for it.
pub(crate) struct Driver {
    engine: Engine<Behaviour>,
    links: Arc<Links>,
    me: NodeId,
    name: String,
    commands: mpsc::Receiver<Command>,
    queries: Queries,
    dials: HashMap<PeerId, Vec<Waiting>>,
    joining: Vec<(Instant, Reply<usize>)>,
    own: HashMap<[u8; 32], Own>,
    talk: Talk,
    keeper: Option<Keeper>,
    saved: Instant,
    saved_members: Vec<u8>,
    swept: Instant,
    _handlers: [ProtocolHandler; 3],
}

fn refused(cause: impl Into<Cause>) -> SwarmError {
    SwarmError::Engine { cause: cause.into() }
}

impl Driver {
    pub(crate) fn new(
        links: Arc<Links>,
        transport: Boxed<Output>,
        commands: mpsc::Receiver<Command>,
        asked_by_peers: mpsc::WeakSender<Command>,
        options: &SwarmOptions,
        started: u64,
    ) -> Result<Self, SwarmError> {
        let node = links.node();
        let me = node.node_id();
        let my_peer = peer::peer_id(me).ok_or_else(|| refused(Cause::text("the node's key")))?;
        let asked = Arc::clone(&links);
        let control = node.handle_protocol(link::CONTROL, move |session, stream| {
            Arc::clone(&asked).asked(session, stream)
        })?;
        let opened = Arc::clone(&links);
        let streams = node.handle_protocol(link::SUBSTREAM, move |session, stream| {
            opened.opened(&session, stream);
            std::future::ready(())
        })?;
        let receipts = node.handle_protocol(receipt::LABEL, move |session, stream| {
            receipt::answer(asked_by_peers.clone(), session, stream)
        })?;
        let places = Arc::clone(&links);
        let whereabouts = Arc::new(move |provider: &PeerId| {
            places.address(peer::node_id(provider)?).map(peer::multiaddr)
        });
        let records = Records::new(my_peer, whereabouts);
        let behaviour = Behaviour::new(my_peer, records, options.serve)
            .map_err(|why| refused(Cause::text(why)))?;
        let config = libp2p_swarm::Config::with_executor(|task| {
            tokio::spawn(task);
        })
        .with_idle_connection_timeout(IDLE)
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
        let mut engine = Engine::new(transport, behaviour, my_peer, config);
        let here = peer::multiaddr(node.local_addr());
        engine.listen_on(here.clone()).map_err(refused)?;
        if options.serve && peer::parse(&here).is_some() {
            engine.add_external_address(here);
        }
        Ok(Self {
            engine,
            me,
            name: options.name.clone(),
            commands,
            queries: HashMap::new(),
            dials: HashMap::new(),
            joining: Vec::new(),
            own: HashMap::new(),
            talk: Talk::new(started, options),
            keeper: None,
            saved: Instant::now(),
            saved_members: Vec::new(),
            swept: Instant::now(),
            links,
            _handlers: [control, streams, receipts],
        })
    }

    /// Runs until nobody can wish for anything any more, or the node stopped.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                event = self.engine.select_next_some() => self.happened(event),
                () = self.links.places().given() => self.places_given(),
                _ = tick.tick() => {
                    if !self.links.node().is_running() {
                        break;
                    }
                    self.tick();
                }
            }
        }
        self.save();
    }

    // --- wishes ---

    fn obey(&mut self, command: Command) {
        match command {
            Command::Bootstrap(reply) => {
                self.joining.push((Instant::now() + LINKED_WITHIN, reply));
                self.join();
            }
            Command::Store { key, value, reply } => self.store(&key, value, reply),
            Command::Forget { key, reply } => {
                let known = self.forget(&key);
                answer(reply, Ok(known));
            }
            Command::Written(reply) => match &self.keeper {
                Some(keeper) => keeper.written(reply),
                None => answer(reply, Ok(())),
            },
            Command::Find { key, publisher, reply } => {
                let place = record::place(&self.name, &key);
                if let Some(reply) = self.room(reply) {
                    let id = self.kad().get_record(RecordKey::new(&place));
                    self.queries.insert(id, Query::Find { reply, publisher });
                }
            }
            Command::Provide { key, reply } => self.provide(&key, reply),
            Command::StopProviding { key } => {
                let place = RecordKey::new(&record::providers_place(&self.name, &key));
                self.kad().stop_providing(&place);
            }
            Command::Providers { key, found, reply } => {
                let place = RecordKey::new(&record::providers_place(&self.name, &key));
                if let Some(reply) = self.room(reply) {
                    let id = self.kad().get_providers(place);
                    let query = Query::Providers { found, seen: std::iter::empty().collect() };
                    self.queries.insert(id, query);
                    answer(reply, Ok(()));
                }
            }
            Command::Closest { node, reply } => {
                let Some(peer) = peer::peer_id(node) else {
                    return answer(reply, Err(SwarmError::Unreachable { node }));
                };
                if let Some(reply) = self.room(reply) {
                    let id = self.kad().get_closest_peers(peer);
                    self.queries.insert(id, Query::Closest(reply));
                }
            }
            Command::Connect { node, reply } => {
                let Some(peer) = peer::peer_id(node).filter(|_| node != self.me) else {
                    return answer(reply, Err(SwarmError::Unreachable { node }));
                };
                let any = || self.links.node().sessions_with(node).into_iter().next();
                if let Some(session) = self.links.session(node).or_else(any) {
                    return answer(reply, Ok(session));
                }
                if let Some(reply) = self.room(reply) {
                    self.wait_for(peer, Waiting::Session { reply, looked: false });
                }
            }
            Command::Peers(reply) => answer(reply, Ok(self.members())),
            Command::Subscribe { topic, reply } => self.subscribe(topic, reply),
            Command::Neighbours { topic, reply } => {
                let neighbours = self.neighbours(&self.topic(&topic));
                answer(reply, Ok(neighbours));
            }
            Command::Subscribers { topic, reply } => {
                let topic = self.topic(&topic);
                let sessions = self.subscribers(&topic);
                answer(reply, Ok((topic, sessions)));
            }
            Command::Had { question, reply } => self.had(question, reply),
            Command::Publish { topic, data, ready, reply } => {
                self.publish(topic, &data, ready, reply);
            }
        }
    }

    fn kad(&mut self) -> &mut kad::Behaviour<Records> {
        &mut self.engine.behaviour_mut().kad
    }

    /// The reply, if there is room for another question.
    fn room<T>(&self, reply: Reply<T>) -> Option<Reply<T>> {
        let waiting = self.dials.values().map(Vec::len).sum::<usize>();
        if self.queries.len() + waiting < MAX_QUERIES {
            return Some(reply);
        }
        answer(reply, Err(SwarmError::Busy { what: "questions", max: MAX_QUERIES }));
        None
    }

    fn known(&mut self) -> usize {
        self.kad().kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    fn members(&mut self) -> Vec<SwarmMember> {
        let mut members = HashMap::new();
        for node in self.links.linked() {
            let addresses = self.links.address(node).into_iter().collect();
            members.insert(node, SwarmMember { node_id: node, addresses, linked: true });
        }
        for bucket in self.kad().kbuckets() {
            for entry in bucket.iter() {
                let peer_id = *entry.node.key.preimage();
                let addrs = entry.node.value.iter().cloned().collect();
                let info = kad::PeerInfo { peer_id, addrs };
                if let Some(member) = member(&info, false) {
                    members.entry(member.node_id).or_insert(member);
                }
            }
        }
        let mut members: Vec<_> = members.into_values().collect();
        members.sort_unstable_by_key(|member| member.node_id);
        members
    }

    /// Fills the routing table for all who join, once there is anybody in it.
    fn join(&mut self) {
        if self.joining.is_empty() {
            return;
        }
        if let Ok(id) = self.kad().bootstrap() {
            let replies = self.joining.drain(..).map(|(_, reply)| reply).collect();
            self.queries.insert(id, Query::Bootstrap(replies));
        }
    }

    // --- what happens ---

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result,
                step,
                ..
            })) => self.progressed(id, result, step.last),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.gossiped(event),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                self.linked(peer_id, &endpoint);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                self.not_linked(peer_id, &error);
            }
            _ => {}
        }
    }

    // --- the clock ---

    fn tick(&mut self) {
        let now = Instant::now();
        let (late, joining) =
            std::mem::take(&mut self.joining).into_iter().partition(|(until, _)| now >= *until);
        self.joining = joining;
        let known = self.known();
        let late: Vec<(Instant, Reply<usize>)> = late;
        for (_, reply) in late {
            // Whoever answered keeps nothing for others, so there is nobody to ask.
            answer(reply, Ok(known));
        }
        self.tick_topics(now);
        if now.saturating_duration_since(self.saved) >= SAVE {
            self.saved = now;
            self.save();
        }
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep_values(now);
            self.meet_all();
        }
    }
}
