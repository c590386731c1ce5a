//! Bytes that arrive in any order, put back in order.
//!
//! QUIC's own ordered reads give up on a stream with more than 1,024 holes, which a fast and lossy
//! path makes in passing. Reading unordered into this keeps any number of them; what bounds it is
//! the credit the sender was given (see [`super::flow_control`]), and what it costs.
//!
//! A piece holds the whole buffer that it arrived in, up to 64 KiB: a peer that sends one byte of
//! each would take far more than is counted. So short ones are copied, but for a few in the whole
//! node: those that a reader is about to take.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::{Buf, Bytes};

use crate::limits::SessionBudget;

/// Shorter pieces are copied: longer ones hold little beside themselves.
const COPIED_BELOW: usize = 48 << 10;

/// What a piece behind a hole costs beside its bytes: here, and in the engine, which remembers what
/// it has given away.
const PLACE: usize = 160;

/// What a piece in order costs beside its bytes.
const READY_PLACE: usize = 64;

/// Copies of short pieces in order are put together up to this length,
const BLOCK: usize = 16 << 10;
/// in memory that grows in steps of this one.
const STEP: usize = 2 << 10;

/// A copy of bytes that would hold far more than themselves, see above; long ones as they are.
pub(crate) fn unpinned(bytes: Bytes) -> Bytes {
    if bytes.len() < COPIED_BELOW { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// As [`unpinned`], of a part of `bytes`: a short one is copied without counting a reference.
pub(crate) fn unpinned_part(bytes: &Bytes, part: &[u8]) -> Bytes {
    if part.len() < COPIED_BELOW { Bytes::copy_from_slice(part) } else { bytes.slice_ref(part) }
}

/// Puts pieces of one stream back in order. Overlaps and repeats are harmless.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// Offset of the first byte that is neither in `ready` nor was taken.
    next: u64,
    /// In order, from the first byte not taken.
    ready: VecDeque<Piece>,
    /// Copies of short pieces that come after those.
    tail: Vec<u8>,
    /// Bytes in `ready` and `tail`.
    ready_len: usize,
    /// Pieces behind a hole, by offset; they do not overlap.
    waiting: BTreeMap<u64, Bytes>,
    /// What they cost.
    waiting_cost: usize,
    /// Who says how many short pieces may stay in their buffers. Without it all are copied.
    account: Option<Arc<SessionBudget>>,
}

/// A piece in order.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// It is short and holds its whole buffer.
    pinned: bool,
}

impl Reassembly {
    /// One that may leave short pieces where they came, as far as the account allows.
    pub(crate) fn of(account: Arc<SessionBudget>) -> Self {
        let mut reassembly = Self::default();
        reassembly.account = Some(account);
        reassembly
    }

    /// Takes a piece that starts at `offset`.
    pub(crate) fn insert(&mut self, offset: u64, bytes: Bytes) {
        if offset == self.next && self.waiting.is_empty() {
            self.push_ready(bytes);
            return;
        }
        self.insert_waiting(offset, bytes);
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let bytes = entry.remove();
            self.waiting_cost -= PLACE + bytes.len();
            self.push_ready(bytes);
        }
    }

    /// What the pieces behind holes cost, in bytes, their places included.
    pub(crate) const fn waiting_cost(&self) -> usize {
        self.waiting_cost
    }

    /// What all pieces cost.
    pub(crate) fn cost(&self) -> u64 {
        let places = self.ready.len() * READY_PLACE;
        let spare = self.tail.capacity() - self.tail.len();
        u64::try_from(self.ready_len + places + spare + self.waiting_cost).unwrap_or(u64::MAX)
    }

    /// All pieces, by their offsets.
    pub(crate) fn into_pieces(mut self) -> Vec<(u64, Bytes)> {
        let mut offset = self.next - u64::try_from(self.ready_len).unwrap_or(u64::MAX);
        let mut pieces = Vec::new();
        while let Some(piece) = self.take_piece(usize::MAX) {
            let end = end_of(offset, &piece);
            pieces.push((offset, piece));
            offset = end;
        }
        pieces.extend(std::mem::take(&mut self.waiting));
        pieces
    }

    fn wait(&mut self, offset: u64, bytes: Bytes) {
        self.waiting_cost += PLACE + bytes.len();
        self.waiting.insert(offset, bytes);
    }

    /// Keeps what of the piece is new, cut at the pieces already there.
    fn insert_waiting(&mut self, mut offset: u64, mut bytes: Bytes) {
        skip_to(&mut offset, &mut bytes, self.next);
        if offset > self.next {
            bytes = unpinned(bytes);
        }
        if let Some((start, before)) = self.waiting.range(..=offset).next_back() {
            let end = end_of(*start, before);
            skip_to(&mut offset, &mut bytes, end);
        }
        while !bytes.is_empty() {
            let next_piece = self
                .waiting
                .range(offset..)
                .next()
                .map(|(start, piece)| (*start, end_of(*start, piece)));
            let Some((start, end)) = next_piece else {
                self.wait(offset, bytes);
                return;
            };
            let gap = usize::try_from(start - offset).unwrap_or(usize::MAX).min(bytes.len());
            if gap > 0 {
                self.wait(offset, bytes.split_to(gap));
                offset = start;
            }
            skip_to(&mut offset, &mut bytes, end);
        }
    }

    fn push_ready(&mut self, bytes: Bytes) {
        self.next = end_of(self.next, &bytes);
        self.ready_len += bytes.len();
        if bytes.is_empty() {
            return;
        }
        let long = bytes.len() >= COPIED_BELOW;
        if long || (self.tail.is_empty() && self.account.as_ref().is_some_and(|it| it.pin())) {
            self.close_tail();
            self.ready.push_back(Piece { bytes, pinned: !long });
            return;
        }
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.tail.reserve_exact(bytes.len().max(STEP));
        }
        self.tail.extend_from_slice(&bytes);
        if self.tail.len() >= BLOCK {
            self.close_tail();
        }
    }

    /// What was copied becomes a piece as the others.
    fn close_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let mut tail = std::mem::take(&mut self.tail);
        tail.shrink_to_fit();
        self.ready.push_back(Piece { bytes: tail.into(), pinned: false });
    }

    /// Removes the first piece, all of which was taken.
    fn pop_ready(&mut self) -> Option<Bytes> {
        let piece = self.ready.pop_front()?;
        if piece.pinned
            && let Some(account) = &self.account
        {
            account.unpin(1);
        }
        Some(piece.bytes)
    }

    /// Bytes that can be taken now.
    pub(crate) const fn ready_len(&self) -> usize {
        self.ready_len
    }

    /// Copies the first bytes that can be taken, without taking them, and returns how many.
    pub(crate) fn peek(&self, out: &mut [u8]) -> usize {
        let mut room = out.iter_mut();
        let pieces = self.ready.iter().map(|piece| &piece.bytes[..]);
        let bytes = pieces.chain([&self.tail[..]]).flatten();
        bytes.zip(&mut room).map(|(byte, place)| *place = *byte).count()
    }

    /// The bytes that can be taken now, as a buffer; reading from it takes them.
    pub(crate) const fn ready(&mut self) -> Ready<'_> {
        Ready(self)
    }

    /// Takes the next piece as it arrived, at most `max` bytes.
    pub(crate) fn take_piece(&mut self, max: usize) -> Option<Bytes> {
        if self.ready.is_empty() {
            self.close_tail();
        }
        let first = &mut self.ready.front_mut()?.bytes;
        let piece = if first.len() <= max { self.pop_ready()? } else { first.split_to(max) };
        self.ready_len -= piece.len();
        Some(piece)
    }

    /// Takes exactly `len` bytes when they are there; copies only across pieces.
    pub(crate) fn take_exact(&mut self, len: usize) -> Option<Bytes> {
        (self.ready_len >= len).then(|| self.ready().copy_to_bytes(len))
    }
}

impl Drop for Reassembly {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.unpin(self.ready.iter().filter(|piece| piece.pinned).count());
        }
    }
}

/// Offset of the byte after `bytes`.
fn end_of(offset: u64, bytes: &Bytes) -> u64 {
    offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// Cuts what lies before `to`.
fn skip_to(offset: &mut u64, bytes: &mut Bytes, to: u64) {
    if let Some(skip) = to.checked_sub(*offset).filter(|skip| *skip > 0) {
        bytes.advance(usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len()));
        *offset = to;
    }
}

/// The bytes in order, as a [`Buf`].
pub(crate) struct Ready<'a>(&'a mut Reassembly);

impl Buf for Ready<'_> {
    fn remaining(&self) -> usize {
        self.0.ready_len
    }

    fn chunk(&self) -> &[u8] {
        self.0.ready.front().map_or(&self.0.tail, |first| &first.bytes)
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            if self.0.ready.is_empty() {
                self.0.close_tail();
            }
            let Some(Piece { bytes: first, .. }) = self.0.ready.front_mut() else { return };
            // Within a piece nothing is split off, which would count a reference for every byte.
            if first.len() > count {
                first.advance(count);
                self.0.ready_len -= count;
                return;
            }
            count -= first.len();
            self.0.ready_len -= first.len();
            self.0.pop_ready();
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        if self.chunk().len() >= len {
            return self.0.take_piece(len).unwrap_or_default();
        }
        let mut out = Vec::with_capacity(len.min(self.0.ready_len));
        while out.len() < len {
            match self.0.take_piece(len - out.len()) {
                Some(piece) => out.extend_from_slice(&piece),
                None => break,
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(reassembly: &mut Reassembly) -> Vec<u8> {
        let len = reassembly.ready_len();
        reassembly.take_exact(len).unwrap().to_vec()
    }

    #[test]
    fn five_thousand_holes_are_no_trouble() {
        let data: Vec<u8> = (0..10_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let mut reassembly = Reassembly::default();
        for at in (1..10_000).step_by(2) {
            reassembly.insert(at as u64, Bytes::copy_from_slice(&data[at..=at]));
        }
        assert_eq!(reassembly.ready_len(), 0);
        assert_eq!(reassembly.waiting.len(), 5_000);
        assert_eq!(reassembly.waiting_cost(), 5_000 * (PLACE + 1));
        assert_eq!(reassembly.cost(), 5_000 * (PLACE as u64 + 1));
        for at in (0..10_000).step_by(2) {
            reassembly.insert(at as u64, Bytes::copy_from_slice(&data[at..=at]));
        }
        assert!(reassembly.waiting.is_empty());
        assert_eq!(drain(&mut reassembly), data);
        assert_eq!(reassembly.cost(), 0);
    }

    #[test]
    fn pieces_in_order_stay_where_they_came_as_far_as_the_account_allows() {
        let node = Arc::new(crate::limits::NodeBudget::new(1 << 20, 1));
        let account = Arc::new(SessionBudget::new(node));
        let datagram = Bytes::from(vec![7; 65_000]);
        let mut one = Reassembly::of(Arc::clone(&account));
        let mut other = Reassembly::of(account);
        one.insert(0, datagram.slice(..100));
        other.insert(0, datagram.slice(..100));
        drop(other);
        one.insert(100, datagram.slice(..100));
        one.insert(200, datagram.slice(..100));
        assert!(one.take_piece(1_000).unwrap().as_ptr() == datagram.as_ptr());
        assert!(one.take_piece(1_000).unwrap().as_ptr() == datagram.as_ptr());
        assert!(datagram.slice(..100) == one.take_piece(1_000).unwrap());
        assert!(datagram.is_unique());
        one.insert(300, datagram.clone());
        assert_eq!(one.cost(), 65_000 + READY_PLACE as u64);
        assert!(one.take_piece(usize::MAX).unwrap().as_ptr() == datagram.as_ptr());
    }

    #[test]
    fn the_pieces_come_out_by_their_offsets() {
        let mut reassembly = Reassembly::default();
        for (offset, piece) in [(0, "ab"), (2, "cd"), (9, "x"), (6, "gh")] {
            reassembly.insert(offset, Bytes::from_static(piece.as_bytes()));
        }
        reassembly.ready().advance(1);
        let expected: Vec<(u64, Bytes)> =
            vec![(1, "bcd".into()), (6, "gh".into()), (9, "x".into())];
        assert_eq!(reassembly.into_pieces(), expected);
    }

    #[test]
    fn a_short_piece_behind_a_hole_does_not_hold_its_datagram() {
        let datagram = Bytes::from(vec![7; 65_000]);
        let mut reassembly = Reassembly::default();
        reassembly.insert(5, datagram.slice(..100));
        assert!(datagram.is_unique());
        // A long one is not copied, and what is in order leaves as it came.
        reassembly.insert(1_000, datagram.slice(..COPIED_BELOW));
        assert!(!datagram.is_unique());
    }

    proptest! {
        #[test]
        fn any_pieces_in_any_order_give_the_stream(
            len in 1usize..400,
            cuts in prop::collection::vec((0usize..400, 1usize..60), 0..60),
            seed: u64,
        ) {
            let data: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut pieces: Vec<(usize, usize)> = cuts
                .into_iter()
                .map(|(start, size)| (start.min(len), (start + size).min(len)))
                .chain((0..len).step_by(17).map(|start| (start, (start + 17).min(len))))
                .collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut pieces);
            let mut reassembly = Reassembly::default();
            let mut got = Vec::new();
            for (start, end) in pieces {
                reassembly.insert(start as u64, Bytes::copy_from_slice(&data[start..end]));
                while let Some(piece) = reassembly.take_piece(7) {
                    got.extend_from_slice(&piece);
                }
            }
            prop_assert_eq!(got, data);
            prop_assert!(reassembly.waiting.is_empty());
            prop_assert_eq!(reassembly.cost(), 0);
        }
    }
}
