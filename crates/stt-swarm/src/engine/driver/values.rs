//! Values and providers: what is asked of the DHT, and what becomes of the questions.

use std::time::{Duration, Instant};

use libp2p_kad::{self as kad, Quorum, Record, RecordKey, store::RecordStore};
use libp2p_swarm::{DialError, dial_opts::DialOpts};

use super::{Driver, refused};
use crate::{
    Stored,
    dht::{record, store},
    engine::{
        command::Reply,
        queries::{MAX_QUERIES, Query, answer},
    },
    swarm_error::SwarmError,
};

/// How often own values are stored again.
const STORE_AGAIN: Duration = Duration::from_secs(8 * 60 * 60);
/// Own values and keys that this node provides.
pub(super) const MAX_OWN: usize = 1_024;

/// A value of this node's own.
pub(super) struct Own {
    pub(super) value: Vec<u8>,
    pub(super) stored: Instant,
}

impl Driver {
    pub(super) fn store(&mut self, key: &[u8], value: Vec<u8>, reply: Reply<Stored>) {
        let place = record::place(&self.name, key);
        if self.own.len() >= MAX_OWN && !self.own.contains_key(&place) {
            let error = SwarmError::TooMany { what: "values of this node's own", max: MAX_OWN };
            return answer(reply, Err(error));
        }
        let Some(reply) = self.room(reply) else { return };
        match self.put(place, &value) {
            Ok(id) => {
                self.own.insert(place, Own { value, stored: Instant::now() });
                self.save_own(&place);
                self.queries.insert(id, Query::Store(reply));
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    pub(super) fn forget(&mut self, key: &[u8]) -> bool {
        let place = record::place(&self.name, key);
        let known = self.own.remove(&place).is_some();
        if known {
            self.kad().store_mut().remove(&RecordKey::new(&place));
            self.save_own(&place);
        }
        known
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

    pub(super) fn provide(&mut self, key: &[u8], reply: Reply<()>) {
        let place = RecordKey::new(&record::providers_place(&self.name, key));
        let Some(reply) = self.room(reply) else { return };
        let records = self.kad().store_mut();
        // Announcing a key again takes no room.
        let known = records.provided().any(|record| record.key == place);
        if !known && records.provided().count() >= MAX_OWN {
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

    pub(super) fn progressed(&mut self, id: kad::QueryId, result: kad::QueryResult, last: bool) {
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
            let joined = matches!(query, Query::Bootstrap(_));
            query.end(result, known, |peer| engine.is_connected(peer));
            if joined {
                self.spread();
            }
        }
    }

    fn finish(&mut self, id: &kad::QueryId) {
        if let Some(mut query) = self.kad().query_mut(id) {
            query.finish();
        }
    }

    /// Forgets what has expired, and stores own values again.
    pub(super) fn sweep_values(&mut self, now: Instant) {
        self.kad().store_mut().sweep(now);
        let due = self.own.iter().filter(|(_, own)| now.duration_since(own.stored) >= STORE_AGAIN);
        let due: Vec<_> = due.map(|(place, own)| (*place, own.value.clone())).collect();
        self.store_again(due, now);
    }

    /// Says to those who were just met what was said when they were not there.
    fn spread(&mut self) {
        let records = self.kad().store_mut();
        let provided: Vec<_> = records.provided().map(|record| record.key.clone()).collect();
        for key in provided.into_iter().take(MAX_QUERIES / 8) {
            if let Ok(id) = self.kad().start_providing(key) {
                self.queries.insert(id, Query::Quiet);
            }
        }
        let values = self.own.iter().map(|(place, own)| (*place, own.value.clone())).collect();
        self.store_again(values, Instant::now());
        self.meet_all();
    }

    fn store_again(&mut self, due: Vec<([u8; 32], Vec<u8>)>, now: Instant) {
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
