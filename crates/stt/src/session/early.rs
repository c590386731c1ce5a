//! What came of a stream before its header was complete.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    limits::{Charge, SessionBudget},
    stream::{
        flow_control::INITIAL_WINDOW,
        header::{Header, Malformed},
        reassembly::Reassembly,
        unpinned,
    },
};

/// A piece and its offset.
pub(super) type Piece = (u64, Bytes);

/// What may come before a header of at most 82 bytes, with what its pieces cost: a whole first
/// window behind one lost packet. All of it counts in the session's account.
const MAX_COST: u64 = 2 * INITIAL_WINDOW;

/// Pieces of a stream, in the session's account until somebody takes them.
#[derive(Debug)]
pub(super) struct Early {
    /// The only piece, mostly: it holds the header, and stays where it came.
    whole: Option<Bytes>,
    front: Reassembly,
    charge: Charge,
}

impl Early {
    pub(super) fn new(held: Arc<SessionBudget>) -> Self {
        Self { whole: None, front: Reassembly::default(), charge: Charge::new(held) }
    }

    /// Takes a piece; gives back the header and its length once that is complete.
    ///
    /// # Errors
    /// There is none, or it is not one of ours: too much came before it.
    pub(super) fn push(
        &mut self,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Option<(Header, usize)>, Malformed> {
        if offset == 0
            && self.front.cost() == 0
            && let Some(found) = Header::parse(&bytes)?
        {
            self.charge.set(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            self.whole = Some(bytes);
            return Ok(Some(found));
        }
        self.front.insert(offset, bytes);
        let cost = self.front.cost();
        self.charge.set(cost);
        let mut head = [0; Header::MAX_LEN];
        let len = self.front.peek(&mut head);
        match Header::parse(head.get(..len).unwrap_or_default())? {
            None if cost > MAX_COST => Err(Malformed),
            found => Ok(found),
        }
    }

    /// What is here may stay for long, and must not hold the buffer that it came in.
    pub(super) fn settle_in(&mut self) {
        self.whole = self.whole.take().map(unpinned);
    }

    /// All pieces. Whoever takes them counts them.
    pub(super) fn into_pieces(self) -> Vec<Piece> {
        match self.whole {
            Some(whole) => vec![(0, whole)],
            None => self.front.into_pieces(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::limits::NodeBudget;

    fn early() -> (Early, Arc<NodeBudget>) {
        let node = Arc::new(NodeBudget::new(u64::MAX, 1));
        (Early::new(Arc::new(SessionBudget::new(Arc::clone(&node)))), node)
    }

    #[test]
    fn what_comes_before_the_header_is_bounded_and_counted_at_what_it_holds() {
        let (mut early, node) = early();
        let mut most = 0;
        let refused = (1..4_096).find(|at| {
            let piece = Bytes::from(vec![7; 1_400]);
            let taken = early.push(at * 1_400, piece);
            most = most.max(node.total());
            taken.is_err()
        });
        let least = INITIAL_WINDOW / 1_400;
        assert!(refused.is_some_and(|at| (least..2 * least).contains(&at)), "{refused:?}");
        assert!((INITIAL_WINDOW..MAX_COST + (4 << 10)).contains(&most), "{most}");
        drop(early);
        assert_eq!(node.total(), 0);
        // Single bytes take more than themselves.
        let (mut early, _) = self::early();
        let byte = || Bytes::from_static(&[7]);
        assert!((1..20_000).any(|at| early.push(at * 2, byte()).is_err()));
    }

    #[test]
    fn the_header_is_found_in_any_pieces_and_all_of_them_come_out() {
        let mut wire = BytesMut::new();
        Header::Stream { raw: false, id: 70_000 }.put(&mut wire);
        let header = wire.len();
        wire.extend_from_slice(b"what follows");
        let wire = wire.freeze();
        for cut in 1..wire.len() {
            for swapped in [false, true] {
                let (mut early, node) = early();
                let mut pieces = [(0, wire.slice(..cut)), (cut as u64, wire.slice(cut..))];
                if swapped {
                    pieces.reverse();
                }
                let mut found = None;
                for (offset, bytes) in pieces {
                    found = found.or(early.push(offset, bytes).unwrap());
                }
                assert_eq!(found, Some((Header::Stream { raw: false, id: 70_000 }, header)));
                assert!(node.total() > 0);
                let mut all = Reassembly::default();
                early.into_pieces().into_iter().for_each(|(at, piece)| all.insert(at, piece));
                assert_eq!(node.total(), 0);
                let whole = all.take_exact(all.ready_len()).unwrap();
                assert!(wire.starts_with(&whole) && whole.len() >= cut);
            }
        }
    }

    #[test]
    fn what_waits_does_not_hold_its_buffer() {
        let (mut early, _) = early();
        let datagram = Bytes::from(vec![1; 60_000]);
        assert!(early.push(0, datagram.slice(..5)).unwrap().is_some());
        assert!(!datagram.is_unique());
        early.settle_in();
        assert!(datagram.is_unique());
        assert_eq!(early.into_pieces(), [(0, datagram.slice(..5))]);
    }
}
