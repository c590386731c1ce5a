//! Questions to the DHT that are under way, and who waits for what.

use std::collections::{HashMap, HashSet};

use libp2p_identity::PeerId;
use libp2p_kad::{GetProvidersOk, GetRecordOk, PeerInfo, PutRecordError, QueryId, QueryResult};
use stt::{NodeId, Session};
use tokio::sync::{mpsc, oneshot};

use super::{behaviour, command::Reply, peer};
use crate::{
    dht::{MAX_FOUND, ProviderFound, SignedValue, Stored, SwarmMember, record, store},
    swarm_error::SwarmError,
};

/// Questions under way at once.
pub(crate) const MAX_QUERIES: usize = 1_024;
/// Subscribers of a topic that one search dials.
const MAX_MET: usize = 16;

/// Questions under way.
pub(crate) type Queries = HashMap<QueryId, Query>;

/// What a question is for.
pub(crate) enum Query {
    Bootstrap(Vec<Reply<usize>>),
    Store(Reply<Stored>),
    Find {
        reply: Reply<Option<SignedValue>>,
        publisher: Option<NodeId>,
    },
    Provide(Reply<()>),
    Providers {
        found: mpsc::Sender<ProviderFound>,
        seen: HashSet<PeerId>,
    },
    Closest(Reply<Vec<SwarmMember>>),
    /// Looks for the addresses of one node.
    Connect(PeerId),
    /// Looks for subscribers of a topic, to link with them.
    Meet(HashSet<PeerId>),
    /// Nobody waits for it.
    Quiet,
}

/// Who waits for a dial.
pub(crate) enum Waiting {
    Provider(mpsc::Sender<ProviderFound>),
    Session { reply: oneshot::Sender<Result<Session, SwarmError>>, looked: bool },
}

/// What a question's progress asks for.
#[derive(Default)]
pub(crate) struct Step {
    /// Peers that a provider search found: they are dialled if need be, then given to it.
    pub(crate) providers: Vec<(PeerId, mpsc::Sender<ProviderFound>)>,
    /// Peers to link with.
    pub(crate) meet: Vec<PeerId>,
    /// Where a peer is said to be.
    pub(crate) addresses: Option<PeerInfo>,
    /// It is known enough.
    pub(crate) finish: bool,
}

fn timeout() -> SwarmError {
    SwarmError::Timeout { within: behaviour::QUERY_WITHIN }
}

pub(crate) fn answer<T>(reply: Reply<T>, result: Result<T, SwarmError>) {
    // Who asked may be gone.
    let _ = reply.send(result);
}

impl Query {
    /// Takes in a part of the result.
    pub(crate) fn progress(&mut self, result: &QueryResult) -> Step {
        let mut step = Step::default();
        match (self, result) {
            (
                Self::Providers { found, seen },
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                for provider in providers {
                    if seen.len() < MAX_FOUND && seen.insert(*provider) {
                        step.providers.push((*provider, found.clone()));
                    }
                }
                step.finish = found.is_closed() || seen.len() >= MAX_FOUND;
            }
            (
                Self::Meet(seen),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                for provider in providers {
                    if seen.len() < MAX_MET && seen.insert(*provider) {
                        step.meet.push(*provider);
                    }
                }
                step.finish = seen.len() >= MAX_MET;
            }
            (Self::Connect(wanted), QueryResult::GetClosestPeers(closest)) => {
                let peers = match closest {
                    Ok(ok) => &ok.peers,
                    Err(libp2p_kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                step.addresses = peers.iter().find(|info| info.peer_id == *wanted).cloned();
            }
            _ => {}
        }
        step
    }

    /// Whether a value that was found is what was asked for: the value.
    pub(crate) fn value(&self, result: &QueryResult) -> Option<SignedValue> {
        let Self::Find { publisher, .. } = self else { return None };
        let QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) = result else {
            return None;
        };
        let record = &found.record;
        let signed = record::open(record.key.as_ref(), &record.value, store::now())?;
        let wanted = publisher.is_none_or(|publisher| publisher == signed.publisher);
        let value = SignedValue {
            data: stt::Bytes::copy_from_slice(signed.value),
            publisher: signed.publisher,
        };
        wanted.then_some(value)
    }

    /// Answers at the end. `known` are the nodes in the routing table, `linked` tells who is
    /// linked.
    pub(crate) fn end(self, result: QueryResult, known: usize, linked: impl Fn(&PeerId) -> bool) {
        match (self, result) {
            (Self::Bootstrap(replies), _) => {
                for reply in replies {
                    answer(reply, Ok(known));
                }
            }
            (Self::Store(reply), QueryResult::PutRecord(result)) => {
                let copies = match result {
                    Ok(_) => behaviour::copies().get(),
                    // All of 20 are asked for, so that it says how many there are.
                    Err(
                        PutRecordError::QuorumFailed { success, .. }
                        | PutRecordError::Timeout { success, .. },
                    ) => success.len(),
                };
                answer(reply, Ok(Stored { copies }));
            }
            (Self::Find { reply, .. }, QueryResult::GetRecord(result)) => {
                let timed_out = matches!(result, Err(libp2p_kad::GetRecordError::Timeout { .. }));
                answer(reply, if timed_out { Err(timeout()) } else { Ok(None) });
            }
            (Self::Provide(reply), QueryResult::StartProviding(result)) => {
                answer(reply, result.map(|_| ()).map_err(|_| timeout()));
            }
            (Self::Closest(reply), QueryResult::GetClosestPeers(result)) => {
                answer(
                    reply,
                    match result {
                        Ok(ok) => {
                            let peers = ok.peers.iter();
                            Ok(peers
                                .filter_map(|info| member(info, linked(&info.peer_id)))
                                .collect())
                        }
                        Err(_) => Err(timeout()),
                    },
                );
            }
            // The others are told as it goes on, or by being dropped.
            _ => {}
        }
    }
}

/// A peer as applications see it.
pub(crate) fn member(info: &PeerInfo, linked: bool) -> Option<SwarmMember> {
    let node_id = peer::node_id(&info.peer_id)?;
    let addresses = info.addrs.iter().filter_map(|address| Some(peer::parse(address)?.0));
    Some(SwarmMember { node_id, addresses: addresses.collect(), linked })
}
