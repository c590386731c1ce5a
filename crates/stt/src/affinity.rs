//! Which session most likely holds a content.
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1998): each member gets a score from its own id and
//! the content's hash, and the highest wins. So all nodes that know the same members agree without
//! talking, a join takes only the contents that the newcomer wins, and a leave moves only the
//! contents that the leaver held. What was seen goes before what is computed: a member that was
//! found to hold a content is picked for it as long as the pool remembers that.
//!
//! ```
//! use stt::{AffinityPool, ContentId, NodeId};
//!
//! let [alice, bob, carol] = [1, 2, 3].map(|byte| NodeId::from_bytes([byte; 32]));
//! let mut pool = AffinityPool::new();
//! for member in [alice, bob, carol] {
//!     pool.join(member);
//! }
//! let song = ContentId::of(b"a song");
//! let first = pool.pick(&song);
//! assert_eq!(first, pool.rank(&song, 3).first().copied());
//!
//! // What was seen goes before what is computed.
//! let other = if first == Some(alice) { bob } else { alice };
//! pool.report(&song, other, true);
//! assert_eq!(pool.pick(&song), Some(other));
//! ```
//!
//! [`SessionPool`](crate::SessionPool) is the pool of a node's sessions.

use std::collections::HashMap;

use stc::ContentId;
use stt_transport::internal::Lru;

use crate::SessionId;

/// A pool of members, by default sessions, and what is known of who holds what.
#[derive(Debug)]
pub struct AffinityPool<M = SessionId> {
    members: HashMap<M, MemberStats>,
    holders: Lru<ContentId, M>,
    stats: AffinityStats,
}

/// Something that can be a member: named by bytes that both sides know.
pub trait Member: Copy + Eq + Ord + std::hash::Hash {
    /// Its name.
    fn id(&self) -> &[u8];
}

impl Member for SessionId {
    fn id(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Member for crate::NodeId {
    fn id(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// What one member's answers were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStats {
    /// How often it held what it was asked for.
    pub hits: u64,
    /// How often it did not.
    pub misses: u64,
}

/// What the pool has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AffinityStats {
    /// Picks because the member was known to hold the content.
    pub picked_by_knowledge: u64,
    /// Picks by hash alone.
    pub picked_by_hash: u64,
    /// Reports that a member, picked or not, held the content.
    pub hits: u64,
    /// Reports that a member did not.
    pub misses: u64,
}

impl MemberStats {
    /// The share of hits, 0 to 1; 0.5 while nothing is known.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn hit_ratio(&self) -> f64 {
        (self.hits as f64 + 1.0) / ((self.hits + self.misses) as f64 + 2.0)
    }
}

impl<M: Member> AffinityPool<M> {
    /// Contents whose holder is remembered, at most.
    pub const MAX_KNOWN: usize = 16_384;

    /// A pool without members.
    #[must_use]
    pub fn new() -> Self {
        Self {
            members: HashMap::new(),
            holders: Lru::new(Self::MAX_KNOWN),
            stats: AffinityStats::default(),
        }
    }

    /// Adds a member; false if it was one already.
    pub fn join(&mut self, member: M) -> bool {
        let new = !self.members.contains_key(&member);
        self.members.entry(member).or_default();
        new
    }

    /// Removes a member and everything known of what it holds.
    pub fn leave(&mut self, member: M) -> bool {
        self.holders.retain(|_, holder| *holder != member);
        self.members.remove(&member).is_some()
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> Vec<M> {
        let mut members: Vec<M> = self.members.keys().copied().collect();
        members.sort_unstable();
        members
    }

    /// The member to ask for this content, if there is any. O(members).
    pub fn pick(&mut self, content: &ContentId) -> Option<M> {
        if let Some(holder) = self.holders.get(content) {
            self.stats.picked_by_knowledge += 1;
            return Some(*holder);
        }
        let best = self.members.keys().copied().max_by_key(|member| ranked(content, *member))?;
        self.stats.picked_by_hash += 1;
        Some(best)
    }

    /// The `count` members to ask, best first: for a second try, or for copies. Not counted as
    /// picks.
    #[must_use]
    pub fn rank(&self, content: &ContentId, count: usize) -> Vec<M> {
        let known = self.holders.get(content);
        let mut members: Vec<M> = self.members.keys().copied().collect();
        members.sort_by_cached_key(|member| {
            std::cmp::Reverse((known == Some(member), ranked(content, *member)))
        });
        members.truncate(count);
        members
    }

    /// Says whether a member held a content. A hit is remembered for later picks, a miss makes the
    /// pool forget that it was said to hold it. Ignored for those who are no members.
    pub fn report(&mut self, content: &ContentId, member: M, held: bool) {
        let Some(stats) = self.members.get_mut(&member) else { return };
        if held {
            stats.hits += 1;
            self.stats.hits += 1;
            *self.holders.touch(*content, || member) = member;
        } else {
            stats.misses += 1;
            self.stats.misses += 1;
            if self.holders.get(content) == Some(&member) {
                self.holders.remove(content);
            }
        }
    }

    /// What one member's answers were.
    #[must_use]
    pub fn member_stats(&self, member: M) -> Option<MemberStats> {
        self.members.get(&member).copied()
    }

    /// What the pool has done so far.
    #[must_use]
    pub const fn stats(&self) -> AffinityStats {
        self.stats
    }
}

impl<M: Member> Default for AffinityPool<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// The score of a member for a content, and the member itself to break ties alike everywhere.
fn ranked<M: Member>(content: &ContentId, member: M) -> ([u8; 8], M) {
    let digest = blake3::Hasher::new_keyed(content.as_bytes()).update(member.id()).finalize();
    let mut score = [0; 8];
    score.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    (score, member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(number: u32) -> ContentId {
        ContentId::of(&number.to_le_bytes())
    }

    fn member(number: u8) -> SessionId {
        SessionId::from_bytes([number; 8])
    }

    fn pool(members: std::ops::Range<u8>) -> AffinityPool {
        let mut pool = AffinityPool::new();
        for number in members {
            assert!(pool.join(member(number)));
        }
        pool
    }

    #[test]
    fn a_leave_moves_only_what_the_leaver_held() {
        let mut whole = pool(0..10);
        let mut less = pool(0..10);
        assert!(less.leave(member(3)));
        let mut moved = 0;
        for number in 0..5_000 {
            let (before, after) = (whole.pick(&content(number)), less.pick(&content(number)));
            if before == Some(member(3)) {
                moved += 1;
                assert_ne!(after, before);
            } else {
                assert_eq!(after, before);
            }
        }
        // A fair share is 500; the standard deviation is 21.
        assert!((400..600).contains(&moved), "{moved}");
    }

    #[test]
    fn a_join_takes_only_what_the_newcomer_wins() {
        let (mut before, mut after) = (pool(0..9), pool(0..10));
        for number in 0..2_000 {
            let (old, new) = (before.pick(&content(number)), after.pick(&content(number)));
            assert!(new == old || new == Some(member(9)));
        }
    }

    #[test]
    fn knowledge_goes_before_hash_until_it_proves_wrong() {
        let mut pool = pool(0..10);
        let wanted = content(1);
        let by_hash = pool.pick(&wanted).unwrap();
        let other = pool.rank(&wanted, 2)[1];
        pool.report(&wanted, by_hash, false);
        pool.report(&wanted, other, true);
        assert_eq!(pool.pick(&wanted), Some(other));
        assert_eq!(pool.rank(&wanted, 1), [other]);
        pool.report(&wanted, other, false);
        assert_eq!(pool.pick(&wanted), Some(by_hash));
        let stats = pool.stats();
        assert_eq!((stats.hits, stats.misses), (1, 2));
        assert_eq!((stats.picked_by_hash, stats.picked_by_knowledge), (2, 1));
        assert!(pool.member_stats(by_hash).unwrap().hit_ratio() < 0.5);
        pool.leave(other);
        assert_eq!(pool.member_stats(other), None);
    }

    #[test]
    fn an_empty_pool_picks_nobody() {
        assert_eq!(AffinityPool::<SessionId>::new().pick(&content(1)), None);
    }
}
