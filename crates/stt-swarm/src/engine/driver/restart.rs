//! What outlives a restart: own values at once, others' and where members are now and then.

use std::time::Instant;

use libp2p_kad::{Record, RecordKey, store::RecordStore};
use stt::NodeId;

use super::{
    Driver,
    values::{MAX_OWN, Own},
};
use crate::{
    dht::{
        record,
        saved::{Part, Saved, encode, shard},
        store,
    },
    engine::{keeper::Keeper, peer, queries::Query},
};

/// Members whose addresses are kept.
const MAX_MEMBERS: usize = 64;

impl Driver {
    /// Goes on with what was saved, and saves from now on. Members that were known are asked to
    /// fill the routing table, each dialled by its node id.
    pub(in crate::engine) fn restore(&mut self, keeper: Keeper, saved: Saved) {
        self.keeper = Some(keeper);
        for (place, value) in saved.own.into_iter().take(MAX_OWN) {
            match record::sign(self.links.node(), &place, &value, store::now()) {
                Ok(signed) => {
                    let mut record = Record::new(RecordKey::new(&place), signed);
                    record.publisher = peer::peer_id(self.me);
                    if let Err(error) = self.kad().store_mut().put(record) {
                        tracing::warn!(%error, "an own value has no room in this node's store");
                    }
                    self.own.insert(place, Own { value, stored: Instant::now() });
                }
                Err(error) => tracing::warn!(%error, "an own value could not be signed again"),
            }
        }
        self.kad().store_mut().restore(saved.kept);
        for (node, address) in saved.members.into_iter().take(MAX_MEMBERS) {
            let address = std::str::from_utf8(&address).ok().and_then(|text| text.parse().ok());
            let peer_id = peer::peer_id(NodeId::from_bytes(node));
            if let (Some(address), Some(peer_id)) = (address, peer_id) {
                self.kad().add_address(&peer_id, peer::multiaddr(address));
            }
        }
        if let Ok(id) = self.kad().bootstrap() {
            self.queries.insert(id, Query::Bootstrap(Vec::new()));
        }
    }

    /// Has the own values of a place's shard written.
    pub(super) fn save_own(&mut self, place: &[u8; 32]) {
        let Some(keeper) = &self.keeper else { return };
        let part = shard(place);
        let own = self.own.iter().filter(|(place, _)| shard(&place[..]) == part);
        let bytes = encode(own.map(|(place, own)| (place, own.value.as_slice())));
        keeper.put(Part::Own(part), bytes);
    }

    /// Has what changed of the rest written.
    pub(super) fn save(&mut self) {
        if self.keeper.is_none() {
            return;
        }
        let members: Vec<_> = self
            .members()
            .into_iter()
            .filter_map(|member| {
                let address = member.addresses.first()?.to_string().into_bytes();
                Some((member.linked, *member.node_id.as_bytes(), address))
            })
            .collect();
        // Who is linked is alive.
        let (linked, known): (Vec<_>, Vec<_>) = members.iter().partition(|(linked, ..)| *linked);
        let first = linked.into_iter().chain(known).take(MAX_MEMBERS);
        let members = encode(first.map(|(_, node, address)| (node, address.as_slice())));
        let records = self.kad().store_mut();
        let changed: Vec<_> = records.take_changed().collect();
        let kept: Vec<_> =
            changed.into_iter().map(|shard| (shard, records.kept_in(shard))).collect();
        let Some(keeper) = &self.keeper else { return };
        for (shard, bytes) in kept {
            keeper.put(Part::Kept(shard), bytes);
        }
        // A node that is alone for a while does not forget whom to ask.
        if members.len() > 1 && members != self.saved_members {
            keeper.put(Part::Members, members.clone());
            self.saved_members = members;
        }
    }
}
