//! The task that the engine runs in. It waits for nothing but the engine, wishes, and its clock.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt;
use libp2p_core::{ConnectedPoint, Transport, upgrade::Version};
use libp2p_gossipsub::{self as gossipsub, IdentTopic, MessageAcceptance, PublishError, TopicHash};
use libp2p_identity::PeerId;
use libp2p_kad::{self as kad, Quorum, Record, RecordKey};
use libp2p_swarm::{
    DialError, Swarm as Engine, SwarmEvent,
    dial_opts::{DialOpts, PeerCondition},
};
use stt::{NodeId, ProtocolHandler};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    behaviour::{Behaviour, BehaviourEvent},
    command::{Command, Reply},
    link,
    links::{LinkError, Links},
    peer,
    queries::{MAX_QUERIES, Queries, Query, Waiting, answer, member},
    transport::SealedTransport,
};
use crate::{
    SwarmOptions,
    dht::{Member, ProviderFound, record, store, store::Records},
    pubsub::{
        Published, Sequence, envelope,
        queue::Queue,
        topics::{Judged, Topics},
    },
    swarm_error::SwarmError,
};

/// How often it looks what is due.
const TICK: Duration = Duration::from_millis(250);
/// How long a link without streams is kept.
const IDLE: Duration = Duration::from_secs(120);
/// How often what has expired is forgotten, and subscribers are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// How often own values are stored again.
const STORE_AGAIN: Duration = Duration::from_secs(8 * 60 * 60);
/// How long joining waits for the link to be known to the engine.
const LINKED_WITHIN: Duration = Duration::from_secs(10);
/// Own values and keys that this node provides.
const MAX_OWN: usize = 1_024;
/// Messages that wait for a first subscriber, and their bytes.
const MAX_UNHEARD: usize = 256;
const MAX_UNHEARD_BYTES: usize = 4 << 20;
/// Topics whose last count is known, to go on with it.
const MAX_COUNTS: usize = 1_024;

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
    provided: usize,
    topics: Topics,
    /// Names of the topics that are subscribed to, for the DHT.
    names: HashMap<String, String>,
    started: u64,
    counts: HashMap<String, u64>,
    unheard: Vec<Unheard>,
    swept: Instant,
    _handlers: [ProtocolHandler; 2],
}

/// A value of this node's own.
struct Own {
    value: Vec<u8>,
    stored: Instant,
}

/// A message that nobody subscribes to yet.
struct Unheard {
    topic: String,
    name: String,
    sealed: Vec<u8>,
    sequence: Sequence,
    until: Instant,
    reply: Reply<Published>,
}

fn refused(cause: impl ToString) -> SwarmError {
    SwarmError::Engine { cause: cause.to_string() }
}

impl Driver {
    pub(crate) fn new(
        links: Arc<Links>,
        commands: mpsc::Receiver<Command>,
        options: &SwarmOptions,
        started: u64,
    ) -> Result<Self, SwarmError> {
        let node = links.node();
        let me = node.node_id();
        let my_peer = peer::peer_id(me).ok_or_else(|| refused("the node's key"))?;
        let asked = Arc::clone(&links);
        let control = node.handle_protocol(link::CONTROL, move |session, stream| {
            Arc::clone(&asked).asked(session, stream)
        })?;
        let opened = Arc::clone(&links);
        let streams = node.handle_protocol(link::SUBSTREAM, move |session, stream| {
            opened.opened(&session, stream);
            std::future::ready(())
        })?;
        let places = Arc::clone(&links);
        let whereabouts = Arc::new(move |provider: &PeerId| {
            places.address(peer::node_id(provider)?).map(peer::multiaddr)
        });
        let records = Records::new(my_peer, whereabouts);
        let behaviour = Behaviour::new(my_peer, records, options.serve).map_err(refused)?;
        let config = libp2p_swarm::Config::with_executor(|task| {
            tokio::spawn(task);
        })
        .with_idle_connection_timeout(IDLE)
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
        let transport = SealedTransport::new(Arc::clone(&links)).boxed();
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
            provided: 0,
            topics: Topics::default(),
            names: HashMap::new(),
            started,
            counts: HashMap::new(),
            unheard: Vec::new(),
            swept: Instant::now(),
            links,
            _handlers: [control, streams],
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
                _ = tick.tick() => {
                    if !self.links.node().is_running() {
                        break;
                    }
                    self.tick();
                }
            }
        }
    }

    // --- wishes ---

    fn obey(&mut self, command: Command) {
        match command {
            Command::Bootstrap(reply) => {
                self.joining.push((Instant::now() + LINKED_WITHIN, reply));
                self.join();
            }
            Command::Store { key, value, reply } => self.store(&key, value, reply),
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
                let hash = TopicHash::from_raw(self.topic(&topic));
                answer(reply, Ok(self.neighbours(&hash)));
            }
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
        answer(reply, Err(SwarmError::Busy { max: MAX_QUERIES }));
        None
    }

    fn known(&mut self) -> usize {
        self.kad().kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    fn members(&mut self) -> Vec<Member> {
        let mut members = HashMap::new();
        for node in self.links.linked() {
            let addresses = self.links.address(node).into_iter().collect();
            members.insert(node, Member { node_id: node, addresses, linked: true });
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

    fn store(&mut self, key: &[u8], value: Vec<u8>, reply: Reply<crate::Stored>) {
        let place = record::place(&self.name, key);
        if self.own.len() >= MAX_OWN && !self.own.contains_key(&place) {
            let error = SwarmError::TooMany { what: "values of this node's own", max: MAX_OWN };
            return answer(reply, Err(error));
        }
        let Some(reply) = self.room(reply) else { return };
        match self.put(place, &value) {
            Ok(id) => {
                self.own.insert(place, Own { value, stored: Instant::now() });
                self.queries.insert(id, Query::Store(reply));
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    fn put(&mut self, place: [u8; 32], value: &[u8]) -> Result<kad::QueryId, SwarmError> {
        let signed = record::sign(self.links.node(), &place, value, store::now());
        let record = Record::new(RecordKey::new(&place), signed.map_err(refused)?);
        let (me, key) = (self.me, record.key.clone());
        self.kad().put_record(record, Quorum::All).map_err(|_| {
            if self.kad().store_mut().is_of_another(&key, me) {
                SwarmError::Taken
            } else {
                SwarmError::TooMany { what: "values in this node's store", max: MAX_OWN }
            }
        })
    }

    fn provide(&mut self, key: &[u8], reply: Reply<()>) {
        let place = RecordKey::new(&record::providers_place(&self.name, key));
        let Some(reply) = self.room(reply) else { return };
        self.provided = kad::store::RecordStore::provided(self.kad().store_mut()).count();
        if self.provided >= MAX_OWN {
            let error = SwarmError::TooMany { what: "keys that this node provides", max: MAX_OWN };
            return answer(reply, Err(error));
        }
        match self.kad().start_providing(place) {
            Ok(id) => {
                self.queries.insert(id, Query::Provide(reply));
            }
            Err(error) => answer(reply, Err(refused(error))),
        }
    }

    // --- topics ---

    /// What gossipsub calls a topic: swarms of other names do not meet.
    fn topic(&self, name: &str) -> String {
        let hash = record::keyed("stt-swarm/1 topic", &self.name, name.as_bytes());
        let hash = blake3::Hash::from_bytes(hash).to_hex();
        hash.as_str().chars().take(32).collect()
    }

    /// Where the DHT keeps who subscribes to a topic.
    fn meeting_place(&self, name: &str) -> RecordKey {
        let place = record::keyed("stt-swarm/1 subscribers", &self.name, name.as_bytes());
        RecordKey::new(&place)
    }

    fn subscribe(&mut self, name: String, reply: Reply<Arc<Queue>>) {
        let topic = self.topic(&name);
        let queue = Arc::new(Queue::default());
        match self.topics.subscribe(&topic, &name, Arc::clone(&queue)) {
            Err((what, max)) => return answer(reply, Err(SwarmError::TooMany { what, max })),
            Ok(false) => {}
            Ok(true) => {
                let subscribed =
                    self.engine.behaviour_mut().gossip.subscribe(&IdentTopic::new(&topic));
                if let Err(error) = subscribed {
                    queue.leave();
                    return answer(reply, Err(refused(error)));
                }
                let place = self.meeting_place(&name);
                if let Ok(id) = self.kad().start_providing(place) {
                    self.queries.insert(id, Query::Quiet);
                }
                self.meet(&name);
                self.names.insert(topic, name);
            }
        }
        answer(reply, Ok(queue));
    }

    /// Looks for subscribers of a topic, and links with them.
    fn meet(&mut self, name: &str) {
        if self.queries.len() < MAX_QUERIES {
            let place = self.meeting_place(name);
            let id = self.kad().get_providers(place);
            self.queries.insert(id, Query::Meet(std::iter::empty().collect()));
        }
    }

    fn publish(&mut self, name: String, data: &Bytes, ready: Duration, reply: Reply<Published>) {
        let topic = self.topic(&name);
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&topic) {
            let error = SwarmError::TooMany { what: "topics to publish on", max: MAX_COUNTS };
            return answer(reply, Err(error));
        }
        let count = self.counts.get(&topic).map_or(1, |count| count + 1);
        let sequence = Sequence { started: self.started, count };
        let sealed = match envelope::seal(self.links.node(), &topic, sequence, data) {
            Ok(sealed) => sealed,
            Err(error) => return answer(reply, Err(refused(error))),
        };
        let result = self.gossip(&topic, &sealed);
        let heard = match &result {
            Ok(_) => true,
            Err(PublishError::NoPeersSubscribedToTopic) => false,
            Err(_) => return answer(reply, Err(SwarmError::Busy { max: MAX_QUERIES })),
        };
        let waiting = self.unheard.iter().map(|unheard| unheard.sealed.len()).sum::<usize>();
        let own = self.topics.has_subscribers(&topic);
        if !heard
            && !own
            && (self.unheard.len() >= MAX_UNHEARD || waiting + sealed.len() > MAX_UNHEARD_BYTES)
        {
            return answer(reply, Err(SwarmError::Busy { max: MAX_UNHEARD }));
        }
        self.counts.insert(topic.clone(), count);
        self.topics.own(&topic, self.me, sequence, data);
        if heard || own {
            let neighbours = result.unwrap_or(0);
            return answer(reply, Ok(Published { sequence, neighbours }));
        }
        self.meet(&name);
        let until = Instant::now() + ready.min(Duration::from_secs(600));
        self.unheard.push(Unheard { topic, name, sealed, sequence, until, reply });
    }

    /// Gives a message to the engine: to how many neighbours it is queued.
    fn gossip(&mut self, topic: &str, sealed: &[u8]) -> Result<usize, PublishError> {
        let hash = TopicHash::from_raw(topic);
        self.engine.behaviour_mut().gossip.publish(hash.clone(), sealed)?;
        // Own messages go to all subscribers that are linked.
        Ok(self.neighbours(&hash))
    }

    /// Linked subscribers of a topic.
    fn neighbours(&self, topic: &TopicHash) -> usize {
        let peers = self.engine.behaviour().gossip.all_peers();
        peers.filter(|(_, topics)| topics.contains(&topic)).count()
    }

    /// Says again what nobody heard, if `topic` has a subscriber now.
    fn heard(&mut self, topic: &TopicHash) {
        for unheard in std::mem::take(&mut self.unheard) {
            if unheard.topic != topic.as_str() {
                self.unheard.push(unheard);
                continue;
            }
            match self.gossip(&unheard.topic, &unheard.sealed) {
                Ok(neighbours) => {
                    let published = Published { sequence: unheard.sequence, neighbours };
                    answer(unheard.reply, Ok(published));
                }
                Err(_) => self.unheard.push(unheard),
            }
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

    fn progressed(&mut self, id: kad::QueryId, result: kad::QueryResult, last: bool) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        let found = query.value(&result);
        let step = query.progress(&result);
        if let Some(value) = found {
            if let Some(Query::Find { reply, .. }) = self.queries.remove(&id) {
                answer(reply, Ok(Some(value)));
            }
            self.finish(&id);
            return;
        }
        for (provider, found) in step.providers {
            self.provider(provider, found);
        }
        for subscriber in step.meet {
            self.dial(subscriber);
        }
        if let Some(Query::Connect(peer)) = self.queries.get(&id)
            && last
        {
            let peer = *peer;
            let addresses = step.addresses.map(|info| info.addrs).unwrap_or_default();
            let dial = DialOpts::peer_id(peer).addresses(addresses).build();
            if !self.engine.is_connected(&peer)
                && let Err(error) = self.engine.dial(dial)
                && !matches!(error, DialError::DialPeerConditionFalse(_))
            {
                self.give_up(peer);
            }
        }
        if step.finish {
            self.finish(&id);
        }
        if last && let Some(query) = self.queries.remove(&id) {
            let known = self.known();
            let engine = &self.engine;
            query.end(result, known, |peer| engine.is_connected(peer));
        }
    }

    fn finish(&mut self, id: &kad::QueryId) {
        if let Some(mut query) = self.kad().query_mut(id) {
            query.finish();
        }
    }

    /// Gives a provider to a search, once it is linked: where it is, is known then.
    fn provider(&mut self, provider: PeerId, found: mpsc::Sender<ProviderFound>) {
        let Some(node_id) = peer::node_id(&provider) else { return };
        if node_id == self.me {
            let address = self.links.node().local_addr();
            let _ = found.try_send(ProviderFound { node_id, address });
        } else if let Some(session) = self.links.session(node_id) {
            let address = session.remote_address();
            let _ = found.try_send(ProviderFound { node_id, address });
        } else if self.dials.len() < MAX_QUERIES {
            self.wait_for(provider, Waiting::Provider(found));
        }
    }

    /// Dials a peer for somebody who waits. The addresses are the engine's: of its table, and of
    /// questions under way.
    fn wait_for(&mut self, peer: PeerId, waiting: Waiting) {
        self.dials.entry(peer).or_default().push(waiting);
        if !self.dial(peer) {
            self.fail(peer);
        }
    }

    /// False if there is nowhere to dial.
    fn dial(&mut self, peer: PeerId) -> bool {
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let dial = DialOpts::peer_id(peer).condition(condition).build();
        match self.engine.dial(dial) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => true,
            Err(_) => false,
        }
    }

    fn linked(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let Some(node) = peer::node_id(&peer) else { return };
        if let Some(address) = self.links.address(node) {
            self.kad().add_address(&peer, peer::multiaddr(address));
            self.join();
        }
        for waiting in self.dials.remove(&peer).unwrap_or_default() {
            match (waiting, self.links.session(node)) {
                (Waiting::Provider(found), Some(session)) => {
                    let address = session.remote_address();
                    let _ = found.try_send(ProviderFound { node_id: node, address });
                }
                (Waiting::Session { reply, .. }, Some(session)) => answer(reply, Ok(session)),
                (Waiting::Session { reply, .. }, None) => {
                    answer(reply, Err(SwarmError::Unreachable { node }));
                }
                (Waiting::Provider(_), None) => {}
            }
        }
        tracing::debug!(%node, dialled = endpoint.is_dialer(), "linked");
    }

    fn not_linked(&mut self, peer: PeerId, error: &DialError) {
        tracing::debug!(%peer, %error, "not linked");
        if self.engine.is_connected(&peer) {
            return;
        }
        // The engine never forgets the last address of who is dead.
        if let DialError::Transport(errors) = error
            && errors.iter().all(|(_, error)| is_dead(error))
        {
            self.kad().remove_peer(&peer);
        }
        self.fail(peer);
    }

    /// Nobody answered where the peer was thought to be: looks for it where that was not done yet.
    fn fail(&mut self, peer: PeerId) {
        let mut look = false;
        for waiting in self.dials.remove(&peer).unwrap_or_default() {
            match waiting {
                Waiting::Session { reply, looked: false } => {
                    look = true;
                    let waiting = Waiting::Session { reply, looked: true };
                    self.dials.entry(peer).or_default().push(waiting);
                }
                Waiting::Session { reply, .. } => unreachable(peer, reply),
                Waiting::Provider(_) => {}
            }
        }
        if look {
            let id = self.kad().get_closest_peers(peer);
            self.queries.insert(id, Query::Connect(peer));
        }
    }

    fn give_up(&mut self, peer: PeerId) {
        for waiting in self.dials.remove(&peer).unwrap_or_default() {
            if let Waiting::Session { reply, .. } = waiting {
                unreachable(peer, reply);
            }
        }
    }

    fn gossiped(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let topic = message.topic.as_str();
                let judged = match self.topics.judge(self.me, topic, &message.data) {
                    Judged::Accepted => MessageAcceptance::Accept,
                    Judged::Known => MessageAcceptance::Ignore,
                    Judged::Forged => MessageAcceptance::Reject,
                };
                let gossip = &mut self.engine.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, judged);
            }
            gossipsub::Event::Subscribed { topic, .. } => self.heard(&topic),
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::warn!(peer = %peer_id, "a peer takes messages too slowly, some are dropped");
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
        let peers = self.engine.connected_peers().count();
        for unheard in std::mem::take(&mut self.unheard) {
            if now < unheard.until {
                self.unheard.push(unheard);
            } else {
                let error = SwarmError::NoSubscribers { topic: unheard.name, peers };
                answer(unheard.reply, Err(error));
            }
        }
        for topic in self.topics.sweep() {
            self.engine.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(&topic));
            if let Some(name) = self.names.remove(&topic) {
                let place = self.meeting_place(&name);
                self.kad().stop_providing(&place);
            }
        }
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.kad().store_mut().sweep(now);
        for name in self.names.values().cloned().collect::<Vec<_>>() {
            self.meet(&name);
        }
        let due = self.own.iter().filter(|(_, own)| now.duration_since(own.stored) >= STORE_AGAIN);
        let due: Vec<_> = due.map(|(place, own)| (*place, own.value.clone())).collect();
        for (place, value) in due.into_iter().take(MAX_QUERIES / 8) {
            match self.put(place, &value) {
                Ok(id) => {
                    self.queries.insert(id, Query::Quiet);
                }
                Err(error) => tracing::warn!(%error, "an own value was not stored again"),
            }
            if let Some(own) = self.own.get_mut(&place) {
                own.stored = now;
            }
        }
    }
}

fn unreachable(peer: PeerId, reply: Reply<stt::Session>) {
    let error = match peer::node_id(&peer) {
        Some(node) => SwarmError::Unreachable { node },
        None => SwarmError::Stopped,
    };
    answer(reply, Err(error));
}

/// Whether an address is worth nothing, rather than this node being full or linked otherwise.
fn is_dead(error: &libp2p_core::transport::TransportError<std::io::Error>) -> bool {
    use libp2p_core::transport::TransportError;
    match error {
        TransportError::MultiaddrNotSupported(_) => true,
        TransportError::Other(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<LinkError>());
            !matches!(inner, Some(LinkError::Full | LinkError::Otherwise))
        }
    }
}
