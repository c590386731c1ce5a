//! Repair-coded messages of a session that are not whole yet, counted in its unread bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    delivery::{AssemblerStats, LossCounts, Message, ShardAssembler},
    limits::SessionBudget,
};

/// Incomplete messages, and what they hold.
#[derive(Debug)]
pub(super) struct ShardAssembly {
    assembler: ShardAssembler,
    account: Arc<SessionBudget>,
    /// What of it is counted in `account`.
    charged: u64,
}

impl ShardAssembly {
    /// At most `max_bytes`, and at most what the assembler holds when nothing is said.
    pub(super) fn new(max_bytes: usize, account: Arc<SessionBudget>) -> Self {
        let assembler = ShardAssembler::new(max_bytes.min(ShardAssembler::DEFAULT_MAX_BYTES));
        Self { assembler, account, charged: 0 }
    }

    /// Takes a packet, and returns its message if it is whole now. A malformed packet is counted,
    /// and is no reason to end the session.
    ///
    /// Packets cannot be made to wait. While the session holds too much in a full node, the messages
    /// that were begun first are given up, which makes room for later ones to become whole.
    pub(super) fn packet(&mut self, packet: Bytes) -> Option<Message> {
        let message = self.assembler.packet(packet).ok().flatten();
        self.charge();
        while self.account.must_wait() && self.assembler.give_up_oldest().is_some() {
            self.charge();
        }
        message
    }

    /// What was seen of the path's loss.
    pub(super) const fn counts(&self) -> LossCounts {
        self.assembler.observer().counts()
    }

    pub(super) const fn stats(&self) -> AssemblerStats {
        self.assembler.stats()
    }

    fn charge(&mut self) {
        let held = u64::try_from(self.assembler.held()).unwrap_or(u64::MAX);
        self.account.add(held.saturating_sub(self.charged));
        self.account.remove(self.charged.saturating_sub(held));
        self.charged = held;
    }
}

impl Drop for ShardAssembly {
    fn drop(&mut self) {
        self.account.remove(self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::{OverheadCap, Probability, RepairPlanner, ShardEncoder},
        limits::NodeBudget,
    };

    #[test]
    fn what_is_gathered_is_counted_and_given_up_when_the_node_is_full() {
        const LIMIT: u64 = 200 << 10;
        let node = Arc::new(NodeBudget::new(LIMIT, 10));
        let mut gathering =
            ShardAssembly::new(1 << 20, Arc::new(SessionBudget::new(Arc::clone(&node))));
        let mut encoder = ShardEncoder::new(RepairPlanner::new());
        let (half, cap) = (Probability::new(0.5).unwrap(), OverheadCap::default());
        let mut message = || encoder.encode(0, &[1; 50_000], half, cap, 1_150).unwrap().1;
        for _ in 0..20 {
            let mut packets = message();
            packets.truncate(40);
            for packet in packets {
                assert_eq!(gathering.packet(packet), None);
                assert!(node.total() <= LIMIT);
            }
        }
        assert!(gathering.stats().given_up >= 15, "{:?}", gathering.stats());
        let whole: Vec<_> = message().into_iter().filter_map(|it| gathering.packet(it)).collect();
        assert_eq!(whole.len(), 1, "the newest still become whole");
        drop(gathering);
        assert_eq!(node.total(), 0);
    }
}
