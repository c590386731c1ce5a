//! Which peers are linked, and which of two questions that cross counts. No sockets, no clocks.

use std::collections::HashMap;

use stt::{NodeId, SessionId};

use super::hello::{Answer, Hello};

/// The links of a node: one for each peer at most. Bounded.
#[derive(Debug)]
pub(crate) struct Table<L> {
    me: NodeId,
    instance: u64,
    serves: bool,
    links: u64,
    max: usize,
    peers: HashMap<NodeId, Entry<L>>,
}

#[derive(Debug)]
enum Entry<L> {
    /// This node asked and waits for the answer.
    Asking {
        session: SessionId,
        link: L,
    },
    Linked {
        session: SessionId,
        link: L,
        peer: Hello,
    },
}

/// Why a peer is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// It is linked, or being asked.
    Taken,
    /// There are as many links as there may be.
    Full,
}

impl<L> Table<L> {
    pub(crate) fn new(me: NodeId, instance: u64, serves: bool, max: usize) -> Self {
        Self { me, instance, serves, links: 0, max, peers: HashMap::new() }
    }

    const fn hello(&self) -> Hello {
        Hello { serves: self.serves, instance: self.instance, links: self.links }
    }

    /// Who is linked.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let linked = |entry: &Entry<L>| matches!(entry, Entry::Linked { .. });
        self.peers.iter().filter(|(_, entry)| linked(entry)).map(|(peer, _)| *peer).collect()
    }

    /// Begins to ask `peer` over `session`: the question to send.
    pub(crate) fn ask(
        &mut self,
        peer: NodeId,
        session: SessionId,
        link: L,
    ) -> Result<Hello, Unasked> {
        if self.peers.contains_key(&peer) {
            return Err(Unasked::Taken);
        }
        if self.peers.len() >= self.max {
            return Err(Unasked::Full);
        }
        self.peers.insert(peer, Entry::Asking { session, link });
        Ok(self.hello())
    }

    /// The peer agreed to the link that `is_it` knows: both may have asked over one session, so it
    /// tells nothing. False if this node has let it ask instead, or gave up.
    pub(crate) fn agreed(
        &mut self,
        peer: NodeId,
        hello: Hello,
        is_it: impl FnOnce(&L) -> bool,
    ) -> bool {
        match self.peers.remove(&peer) {
            Some(Entry::Asking { session, link }) if is_it(&link) => {
                self.links += 1;
                self.peers.insert(peer, Entry::Linked { session, link, peer: hello });
                true
            }
            Some(other) => {
                self.peers.insert(peer, other);
                false
            }
            None => false,
        }
    }

    /// The peer asks: the answer, and the link that it takes the place of.
    pub(crate) fn asked(
        &mut self,
        peer: NodeId,
        session: SessionId,
        hello: Hello,
        link: L,
    ) -> (Answer, Option<L>) {
        let counts = match self.peers.get(&peer) {
            None if self.peers.len() >= self.max => return (Answer::Full, None),
            None => true,
            // Both asked: that of the lower node counts.
            Some(Entry::Asking { .. }) => peer < self.me,
            // It asked before it had this link, or it has lost it and this node did not notice.
            Some(Entry::Linked { peer: then, .. }) => {
                hello.instance != then.instance || hello.links >= then.links
            }
        };
        if !counts {
            return (Answer::Crossed, None);
        }
        self.links += 1;
        let peer_now = Hello { links: hello.links.saturating_add(1), ..hello };
        let before = self.peers.insert(peer, Entry::Linked { session, link, peer: peer_now });
        let before = before.map(|entry| match entry {
            Entry::Asking { link, .. } | Entry::Linked { link, .. } => link,
        });
        (Answer::Linked(self.hello()), before)
    }

    /// The link of `peer` that `is_it` knows is over, or this node asks for it no more. Another one
    /// that took its place stays.
    pub(crate) fn ended(&mut self, peer: NodeId, is_it: impl FnOnce(&L) -> bool) -> Option<L> {
        let (Entry::Asking { link, .. } | Entry::Linked { link, .. }) = self.peers.get(&peer)?;
        if !is_it(link) {
            return None;
        }
        let (Entry::Asking { link, .. } | Entry::Linked { link, .. }) = self.peers.remove(&peer)?;
        Some(link)
    }

    /// The link to which a stream of `peer` over `session` belongs.
    pub(crate) fn find(&self, peer: NodeId, session: SessionId) -> Option<&L> {
        match self.peers.get(&peer)? {
            Entry::Asking { session: known, link } | Entry::Linked { session: known, link, .. } => {
                (*known == session).then_some(link)
            }
        }
    }

    /// The link with `peer`.
    pub(crate) fn linked(&self, peer: NodeId) -> Option<&L> {
        match self.peers.get(&peer)? {
            Entry::Linked { link, .. } => Some(link),
            Entry::Asking { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: NodeId = NodeId::from_bytes([1; 32]);
    const HIGH: NodeId = NodeId::from_bytes([2; 32]);

    fn session(number: u8) -> SessionId {
        SessionId::from_bytes([number; 8])
    }

    fn table(me: NodeId) -> Table<u8> {
        Table::new(me, u64::from(me.as_bytes()[0]), true, 2)
    }

    fn linked(answer: Answer) -> Hello {
        match answer {
            Answer::Linked(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_links_both() {
        let (mut low, mut high) = (table(LOW), table(HIGH));
        let hello = low.ask(HIGH, session(1), 10).unwrap();
        // Streams may overtake the answer.
        assert_eq!(low.find(HIGH, session(1)), Some(&10));
        assert_eq!(low.linked(HIGH), None);
        let (answer, before) = high.asked(LOW, session(1), hello, 20);
        assert_eq!(before, None);
        assert!(low.agreed(HIGH, linked(answer), |link| *link == 10));
        assert_eq!((low.linked(HIGH), high.linked(LOW)), (Some(&10), Some(&20)));
        assert_eq!(low.ask(HIGH, session(3), 11), Err(Unasked::Taken));
        assert_eq!(low.find(HIGH, session(2)), None);
        assert_eq!(low.ended(HIGH, |link| *link == 11), None);
        assert_eq!(low.ended(HIGH, |link| *link == 10), Some(10));
        assert_eq!(low.linked(HIGH), None);
    }

    /// Every order in which two crossing questions and their answers can arrive gives one link, and
    /// both nodes mean the same.
    #[test]
    fn of_two_that_cross_the_lower_nodes_stays() {
        for order in 0..3 {
            let (mut low, mut high) = (table(LOW), table(HIGH));
            let from_low = low.ask(HIGH, session(1), 10).unwrap();
            let from_high = high.ask(LOW, session(2), 20).unwrap();
            let at_high = |high: &mut Table<u8>| high.asked(LOW, session(1), from_low, 21).0;
            let at_low = |low: &mut Table<u8>| low.asked(HIGH, session(2), from_high, 11).0;
            let (answer, crossed) = match order {
                0 => (at_high(&mut high), at_low(&mut low)),
                1 => {
                    let crossed = at_low(&mut low);
                    (at_high(&mut high), crossed)
                }
                _ => {
                    // The higher one's question arrives when the lower one has its link.
                    let answer = at_high(&mut high);
                    assert!(low.agreed(HIGH, linked(answer), |link| *link == 10));
                    (answer, at_low(&mut low))
                }
            };
            assert_eq!(crossed, Answer::Crossed, "{order}");
            if order < 2 {
                assert!(low.agreed(HIGH, linked(answer), |link| *link == 10));
            }
            assert!(!high.agreed(LOW, from_low, |link| *link == 20));
            assert_eq!((low.linked(HIGH), high.linked(LOW)), (Some(&10), Some(&21)));
        }
    }

    /// Both ask over the application's session: who lost ends its question, not the link.
    #[test]
    fn questions_that_cross_over_one_session_leave_one_link() {
        let (mut low, mut high) = (table(LOW), table(HIGH));
        let from_low = low.ask(HIGH, session(1), 10).unwrap();
        let from_high = high.ask(LOW, session(1), 20).unwrap();
        let (answer, before) = high.asked(LOW, session(1), from_low, 21);
        assert_eq!(before, Some(20));
        assert_eq!(low.asked(HIGH, session(1), from_high, 11).0, Answer::Crossed);
        assert!(!high.agreed(LOW, from_low, |link| *link == 20));
        assert_eq!(high.ended(LOW, |link| *link == 20), None);
        assert!(low.agreed(HIGH, linked(answer), |link| *link == 10));
        assert_eq!((low.linked(HIGH), high.linked(LOW)), (Some(&10), Some(&21)));
        // So does a link whose place another took over the same session.
        let started_again = Hello { serves: true, instance: 77, links: 0 };
        assert_eq!(high.asked(LOW, session(1), started_again, 22).1, Some(21));
        assert_eq!(high.ended(LOW, |link| *link == 21), None);
        assert_eq!(high.linked(LOW), Some(&22));
    }

    #[test]
    fn who_lost_a_link_gets_another_and_so_does_who_was_started_again() {
        let (mut low, mut high) = (table(LOW), table(HIGH));
        let hello = low.ask(HIGH, session(1), 10).unwrap();
        let answer = high.asked(LOW, session(1), hello, 20).0;
        assert!(low.agreed(HIGH, linked(answer), |link| *link == 10));
        // The higher one notices first that it is over, and the lower one not at all.
        high.ended(LOW, |link| *link == 20).unwrap();
        let hello = high.ask(LOW, session(2), 21).unwrap();
        let (answer, before) = low.asked(HIGH, session(2), hello, 11);
        assert_eq!(before, Some(10));
        assert!(high.agreed(LOW, linked(answer), |link| *link == 21));
        // The same the other way.
        low.ended(HIGH, |link| *link == 11).unwrap();
        let hello = low.ask(HIGH, session(3), 12).unwrap();
        assert_eq!(high.asked(LOW, session(3), hello, 22).1, Some(21));
        let started_again = Hello { serves: true, instance: 77, links: 0 };
        let (answer, before) = high.asked(LOW, session(4), started_again, 23);
        assert!(matches!(answer, Answer::Linked(_)));
        assert_eq!(before, Some(22));
    }

    #[test]
    fn there_are_no_more_links_than_allowed() {
        let mut table = table(LOW);
        let hello = Hello { serves: true, instance: 9, links: 0 };
        for number in 10..12 {
            let peer = NodeId::from_bytes([number; 32]);
            assert!(matches!(table.asked(peer, session(number), hello, 0).0, Answer::Linked(_)));
        }
        assert_eq!(table.asked(HIGH, session(1), hello, 0).0, Answer::Full);
        assert_eq!(table.ask(HIGH, session(1), 0), Err(Unasked::Full));
    }
}
