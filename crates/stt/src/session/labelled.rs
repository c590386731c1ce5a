//! Streams of protocols: a label and a number of its own space (docs/streams.md, STREAM-9 to
//! STREAM-12).

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::BufMut;
use stt_transport::RecvStream;

use super::{Session, SessionShared, driver::code, early::Piece, stream_reader::feed};
use crate::{
    ProtocolError, ProtocolStream, StreamError,
    limits::{SessionBudget, count},
    protocol::Handler,
    stream::{Stream, StreamShared, label::Label, recv_queue::End, varint},
};

/// Labels whose numbers are remembered although they have no streams.
const REMEMBERED: usize = 256;

/// The streams of one label.
#[derive(Debug)]
struct Shelf {
    streams: HashMap<u32, Arc<StreamShared>>,
    /// The next number that this side picks; `None` when all were used.
    next: Option<u32>,
}

impl Shelf {
    fn tidy(&mut self) {
        self.streams.retain(|_, stream| !stream.is_over());
    }

    fn windows(&self) -> u64 {
        let open = self.streams.values().filter(|stream| !stream.is_over());
        open.map(|stream| stream.inbound.window()).sum()
    }
}

/// The streams of all protocols of one session. Bounded.
#[derive(Debug)]
pub(super) struct LabelledTable {
    shelves: HashMap<Label, Shelf>,
    initiator: bool,
    /// Where a label that is new here begins: above the numbers of those that were forgotten.
    floor: u32,
    max: usize,
    max_frame_size: u64,
    account: Arc<SessionBudget>,
}

impl LabelledTable {
    /// One label has at most this part of all streams, and of the session's memory.
    pub(super) const SHARE: u64 = 2;

    pub(super) fn new(
        initiator: bool,
        max: usize,
        max_frame_size: u64,
        account: Arc<SessionBudget>,
    ) -> Self {
        let floor = if initiator { 1 } else { 2 };
        Self { shelves: HashMap::new(), initiator, floor, max, max_frame_size, account }
    }

    /// Whether this side picks that number.
    const fn is_own(&self, id: u32) -> bool {
        (id % 2 == 1) == self.initiator
    }

    fn len(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.streams.len()).sum()
    }

    /// Most streams of one label.
    fn share(&self) -> usize {
        self.max.div_ceil(usize::try_from(Self::SHARE).unwrap_or(usize::MAX))
    }

    /// Makes room for one more stream of `label`.
    fn room(&mut self, label: Label) -> Result<&mut Shelf, StreamError> {
        if self.len() >= self.max {
            self.shelves.values_mut().for_each(Shelf::tidy);
            if self.len() >= self.max {
                return Err(StreamError::TooMany { max: self.max });
            }
        }
        if self.shelves.len() >= self.max.max(REMEMBERED) && !self.shelves.contains_key(&label) {
            let floor = &mut self.floor;
            self.shelves.retain(|_, shelf| {
                shelf.tidy();
                let used = !shelf.streams.is_empty();
                // Those that have used all their numbers stay: it takes very long to get there.
                match shelf.next {
                    Some(next) if !used => *floor = next.max(*floor),
                    _ => {}
                }
                used || shelf.next.is_none()
            });
        }
        let (share, floor) = (self.share(), self.floor);
        let fresh = || Shelf { streams: HashMap::new(), next: Some(floor) };
        let shelf = self.shelves.entry(label).or_insert_with(fresh);
        if shelf.streams.len() >= share {
            shelf.tidy();
            if shelf.streams.len() >= share {
                return Err(StreamError::TooMany { max: share });
            }
        }
        Ok(shelf)
    }

    /// A stream with the next number of this side.
    pub(super) fn make(&mut self, label: Label) -> Result<Arc<StreamShared>, StreamError> {
        let (max, max_frame_size) = (self.max, self.max_frame_size);
        let account = Arc::clone(&self.account);
        let shelf = self.room(label)?;
        let id = shelf.next.ok_or(StreamError::TooMany { max })?;
        shelf.next = id.checked_add(2);
        let stream = Arc::new(StreamShared::labelled(label, id, max_frame_size, account));
        shelf.streams.insert(id, Arc::clone(&stream));
        Ok(stream)
    }

    /// Which stream a direction of the peer belongs to; `true` when it is a new one.
    pub(super) fn meet(
        &mut self,
        (label, id): (Label, u32),
        index: u64,
        handled: bool,
    ) -> Result<(Arc<StreamShared>, bool), u32> {
        let known = self.shelves.get(&label).and_then(|shelf| shelf.streams.get(&id));
        if let Some(stream) = known.filter(|stream| !stream.is_over()) {
            if stream.has_started_receiving() {
                return Err(code::HEADER);
            }
            stream.inbound_quic.store(index, Ordering::Release);
            return Ok((Arc::clone(stream), false));
        }
        if self.is_own(id) {
            // The other half of one that nobody here has any more.
            return Err(code::DROPPED);
        }
        if !handled {
            return Err(code::UNKNOWN_LABEL);
        }
        let (max_frame_size, account) = (self.max_frame_size, Arc::clone(&self.account));
        let shelf = self.room(label).map_err(|_| code::TOO_MANY)?;
        let stream = Arc::new(StreamShared::labelled(label, id, max_frame_size, account));
        stream.inbound_quic.store(index, Ordering::Release);
        shelf.streams.insert(id, Arc::clone(&stream));
        Ok((stream, true))
    }

    /// All streams.
    pub(super) fn all(&self) -> Vec<Arc<StreamShared>> {
        self.shelves.values().flat_map(|shelf| shelf.streams.values().cloned()).collect()
    }

    /// The windows of all receiving directions, in bytes.
    pub(super) fn windows(&self) -> u64 {
        self.shelves.values().map(Shelf::windows).sum()
    }

    /// Those of one label.
    pub(super) fn windows_of(&self, label: Label) -> u64 {
        self.shelves.get(&label).map_or(0, Shelf::windows)
    }

    /// Streams in which something may still happen.
    pub(super) fn active(&self) -> usize {
        let streams = self.shelves.values().flat_map(|shelf| shelf.streams.values());
        streams.filter(|stream| !stream.is_over()).count()
    }
}

/// Opens a stream of a protocol and tells the peer.
pub(super) fn open(
    session: &Arc<SessionShared>,
    label: &[u8],
) -> Result<ProtocolStream, ProtocolError> {
    let label = Label::new(label).ok_or(ProtocolError::Label { len: label.len() })?;
    if let Some(reason) = session.end_reason() {
        return Err(StreamError::SessionEnded(reason).into());
    }
    let shared = session.labelled().make(label).map_err(|error| match error {
        StreamError::TooMany { .. } => ProtocolError::TooMany { label: label.to_string() },
        other => other.into(),
    })?;
    session.ensure_writer(&shared);
    Ok(ProtocolStream::new(Stream::new(shared, Arc::clone(session)), label))
}

/// Receives a direction that the peer opened: of a stream of this side, or a new one for its handler.
pub(super) async fn receive(
    session: &Arc<SessionShared>,
    (label, id): (Label, u32),
    mut quic: RecvStream,
    header_len: u64,
    early: Vec<Piece>,
) {
    let handler = session.common.protocols.get(label);
    let index = quic.id();
    let met = session.labelled().meet((label, id), index, handler.is_some());
    let stream = match met {
        Ok((stream, is_new)) => {
            stream.inbound.start_mixed();
            if let Some(handler) = handler.filter(|_| is_new) {
                hand_over(session, &stream, label, handler);
            }
            stream
        }
        Err(code) => {
            count(&session.common.counters.streams_refused);
            quic.stop(code);
            return;
        }
    };
    let Some(part) = &stream.labelled else { return };
    let code = tokio::select! {
        biased;
        code = part.stopped() => code,
        end = feed(session, &stream, &mut quic, header_len, early) => {
            stream.inbound.end(end);
            return;
        }
    };
    quic.stop(code);
}

fn hand_over(
    session: &Arc<SessionShared>,
    stream: &Arc<StreamShared>,
    label: Label,
    handler: Handler,
) {
    let stream = Stream::new(Arc::clone(stream), Arc::clone(session));
    let stream = ProtocolStream::new(stream, label);
    let session = Session::from_shared(Arc::clone(session));
    // A handler may panic before it gives its future, too.
    tokio::spawn(async move { handler(session, stream).await });
}

/// A peer that does not take this side's direction will never open its own (STREAM-11).
pub(super) fn sending_failed(stream: &StreamShared, error: &StreamError) {
    if stream.labelled.is_some()
        && let StreamError::Reset { code, .. } = error
        && [code::HEADER, code::TOO_MANY, code::UNKNOWN_LABEL].map(u64::from).contains(code)
    {
        stream.inbound.end(End::Failed(error.clone()));
    }
}

/// A reset overtakes the header of its direction, and the peer would not know which of its streams
/// has ended. So who was asked says it in a record as well, and who asked waits for nothing more:
/// the peer may never learn of the stream (STREAM-12).
pub(super) async fn given_up(session: &Arc<SessionShared>, stream: &StreamShared, code: u32) {
    let Some(part) = &stream.labelled else { return };
    if !session.labelled().is_own(stream.id) {
        let end = GivenUp { label: part.label, id: stream.id, code: code.into() };
        tokio::select! {
            () = session.control.give_up(session, end) => {}
            _ = session.connection.closed() => {}
        }
    } else if !stream.has_started_receiving() {
        stream.inbound.end(End::Failed(StreamError::Reset { id: stream.id, code: code.into() }));
    }
}

/// The peer gave its direction up, of a stream that this side opened (CTL-3).
pub(super) fn peer_gave_up(session: &SessionShared, GivenUp { label, id, code }: GivenUp) {
    let stream = {
        let table = session.labelled();
        if !table.is_own(id) {
            return;
        }
        table.shelves.get(&label).and_then(|shelf| shelf.streams.get(&id).cloned())
    };
    // One that is not there any more has ended already.
    if let Some(stream) = stream {
        stream.inbound.end(End::Failed(StreamError::Reset { id, code }));
    }
}

/// A direction that was reset, perhaps before its header arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) label: Label,
    pub(super) id: u32,
    pub(super) code: u64,
}

impl GivenUp {
    /// Appends the body of its record (CTL-3).
    pub(super) fn put(&self, out: &mut impl BufMut) {
        out.put_u8(self.label.len());
        out.put_slice(self.label.as_bytes());
        varint::put(out, u64::from(self.id));
        varint::put(out, self.code);
    }

    /// Reads it; what follows is left for later versions.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let (len, rest) = body.split_first()?;
        let (label, mut rest) = rest.split_at_checked(usize::from(*len))?;
        let label = Label::new(label)?;
        let id = u32::try_from(varint::take(&mut rest)?).ok()?;
        Some(Self { label, id, code: varint::take(&mut rest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        Label::new(name.as_bytes()).unwrap()
    }

    fn table(initiator: bool, max: usize) -> LabelledTable {
        LabelledTable::new(initiator, max, 100, SessionBudget::boundless())
    }

    fn end(stream: &StreamShared) {
        stream.inbound.discard();
        stream.outbound.acknowledged();
    }

    #[test]
    fn each_label_counts_for_itself() {
        let (mut here, mut there) = (table(true, 10), table(false, 10));
        let ids = |table: &mut LabelledTable, name| table.make(label(name)).unwrap().id;
        assert_eq!([ids(&mut here, "a"), ids(&mut here, "a"), ids(&mut here, "b")], [1, 3, 1]);
        assert_eq!([ids(&mut there, "a"), ids(&mut there, "b")], [2, 2]);
    }

    #[test]
    fn a_label_has_half_of_the_places_and_gets_them_back() {
        let mut table = table(true, 4);
        let first = table.make(label("a")).unwrap();
        table.make(label("a")).unwrap();
        assert_eq!(table.make(label("a")).unwrap_err(), StreamError::TooMany { max: 2 });
        table.make(label("b")).unwrap();
        table.make(label("b")).unwrap();
        assert_eq!(table.make(label("c")).unwrap_err(), StreamError::TooMany { max: 4 });
        assert_eq!(table.meet((label("c"), 2), 0, true).unwrap_err(), code::TOO_MANY);
        end(&first);
        assert_eq!(table.make(label("a")).unwrap().id, 5);
    }

    #[test]
    fn halves_find_each_other_and_strays_are_refused() {
        let mut table = table(true, 10);
        let ours = table.make(label("a")).unwrap();
        let (met, is_new) = table.meet((label("a"), 1), 3, false).unwrap();
        assert!(Arc::ptr_eq(&met, &ours) && !is_new);
        assert_eq!(table.meet((label("a"), 1), 7, true).unwrap_err(), code::HEADER);
        assert_eq!(table.meet((label("a"), 2), 7, false).unwrap_err(), code::UNKNOWN_LABEL);
        assert!(table.meet((label("a"), 2), 7, true).unwrap().1);
        // No handler gets the late answer to a stream that is over.
        end(&ours);
        let dropped = code::DROPPED;
        assert_eq!(table.meet((label("a"), 1), 11, true).unwrap_err(), dropped);
    }

    #[test]
    fn what_was_given_up_comes_back_and_cut_it_is_refused() {
        for name in ["a", &"b".repeat(64)] {
            let end = GivenUp { label: label(name), id: u32::MAX, code: 0x1234 };
            let mut bytes = Vec::new();
            end.put(&mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(GivenUp::parse(&bytes[..cut]), None);
            }
            bytes.push(7);
            assert_eq!(GivenUp::parse(&bytes), Some(end));
        }
        assert_eq!(GivenUp::parse(&[0, 1, 1]), None);
        assert_eq!(GivenUp::parse(&[1, b'a', 0xc0, 0, 0, 1, 0, 0, 0, 0, 1]), None);
    }

    #[test]
    fn labels_that_are_forgotten_do_not_use_a_number_twice() {
        let mut table = table(true, 2);
        for number in 0..2 * REMEMBERED {
            end(&table.make(label(&number.to_string())).unwrap());
        }
        assert!(table.shelves.len() <= REMEMBERED);
        assert!(table.make(label("0")).unwrap().id > 1);
    }
}
