//! Directions that were reset before their header arrived (docs/streams.md, CTL-4).
//!
//! A reset overtakes the bytes before it, the header among them, and then nobody knows which stream has
//! ended. So a record says which it is; it may come before the reset, after it, or when the header
//! came all the same.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::BufMut;

use super::SessionShared;
use crate::{
    StreamError,
    stream::{recv_queue::End, varint},
};

/// Resets without a header that wait for their record, and records that wait for their reset.
const MAX_WAITING: usize = 256;

/// A direction of a numbered stream that was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    /// The QUIC stream that was the direction.
    pub(super) quic: u64,
    pub(super) id: u32,
    pub(super) code: u64,
}

impl Reset {
    /// Appends the body of its record (CTL-4).
    pub(super) fn put(&self, out: &mut impl BufMut) {
        varint::put(out, self.quic);
        varint::put(out, u64::from(self.id));
        varint::put(out, self.code);
    }

    /// Reads it; what follows is left for later versions.
    pub(super) fn parse(mut body: &[u8]) -> Option<Self> {
        let quic = varint::take(&mut body)?;
        let id = u32::try_from(varint::take(&mut body)?).ok()?;
        Some(Self { quic, id, code: varint::take(&mut body)? })
    }
}

/// Which of the peer's QUIC streams have shown their header.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// The first that was not opened yet; the peer opens them in order.
    next: u64,
    /// Those of which the header is being read.
    reading: HashSet<u64>,
    /// Those that were reset before it came, oldest first.
    nameless: VecDeque<u64>,
    /// What was said of those that have not shown it.
    told: HashMap<u64, Reset>,
}

impl Headers {
    /// The peer opened a QUIC stream.
    pub(super) fn begin(&mut self, quic: u64) {
        self.next = self.next.max(quic.saturating_add(1));
        self.reading.insert(quic);
    }

    /// Its header came.
    pub(super) fn came(&mut self, quic: u64) {
        self.reading.remove(&quic);
        self.told.remove(&quic);
    }

    /// It was reset before. Gives what was told of it, if the record came first.
    pub(super) fn missing(&mut self, quic: u64) -> Option<Reset> {
        if !self.reading.remove(&quic) {
            return None;
        }
        let told = self.told.remove(&quic);
        if told.is_none() {
            if self.nameless.len() >= MAX_WAITING {
                self.nameless.pop_front();
            }
            self.nameless.push_back(quic);
        }
        told
    }

    /// A record came. Gives it back if it is of a stream whose header will never come.
    pub(super) fn tell(&mut self, reset: Reset) -> Option<Reset> {
        if let Some(at) = self.nameless.iter().position(|quic| *quic == reset.quic) {
            self.nameless.remove(at);
            return Some(reset);
        }
        let may_come = reset.quic >= self.next || self.reading.contains(&reset.quic);
        if may_come && self.told.len() < MAX_WAITING {
            self.told.insert(reset.quic, reset);
        }
        None
    }
}

/// Says that this side's direction of a numbered stream was reset.
pub(super) async fn tell(session: &Arc<SessionShared>, id: u32, quic: u64, code: u32) {
    let reset = Reset { quic, id, code: code.into() };
    tokio::select! {
        () = session.control.reset(session, reset) => {}
        _ = session.connection.closed() => {}
    }
}

/// A direction ends that nobody here has seen: as one that was reset at once.
pub(super) fn ended(session: &SessionShared, reset: Reset) {
    let Reset { quic, id, code } = reset;
    // A use of the number before it that is not over yet has an end of its own.
    let Ok(Some(stream)) = session.table().receive_into(id) else { return };
    stream.inbound_quic.store(quic, std::sync::atomic::Ordering::Release);
    stream.inbound.end(End::Failed(StreamError::Reset { id, code }));
    session.stream_arrived();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(quic: u64) -> Reset {
        Reset { quic, id: 7, code: 9 }
    }

    #[test]
    fn record_and_reset_meet_in_any_order_and_only_once() {
        let mut headers = Headers::default();
        // The reset first.
        headers.begin(2);
        assert_eq!(headers.missing(2), None);
        assert_eq!(headers.tell(reset(2)), Some(reset(2)));
        assert_eq!(headers.tell(reset(2)), None);
        // The record first, before the stream is even opened.
        assert_eq!(headers.tell(reset(6)), None);
        headers.begin(6);
        assert_eq!(headers.missing(6), Some(reset(6)));
        assert_eq!(headers.tell(reset(6)), None);
        // The header came: its own reset says all, whenever the record comes.
        headers.begin(10);
        assert_eq!(headers.tell(reset(10)), None);
        headers.came(10);
        assert_eq!(headers.missing(10), None);
        assert_eq!(headers.tell(reset(10)), None);
        assert!(headers.told.is_empty() && headers.nameless.is_empty());
        assert!(headers.reading.is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut headers = Headers::default();
        for quic in 0..5_000 {
            headers.begin(quic);
            headers.missing(quic);
            headers.tell(reset(1_000_000 + quic));
        }
        assert_eq!((headers.nameless.len(), headers.told.len()), (MAX_WAITING, MAX_WAITING));
    }

    #[test]
    fn a_record_comes_back_and_cut_it_is_refused() {
        let reset = Reset { quic: 0x1234_5678, id: u32::MAX, code: 3 };
        let mut bytes = Vec::new();
        reset.put(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Reset::parse(&bytes[..cut]), None);
        }
        bytes.push(1);
        assert_eq!(Reset::parse(&bytes), Some(reset));
    }
}
