//! Which numbers the streams of a session have (docs/streams.md, STREAM-4 and STREAM-5).

use std::{collections::HashMap, sync::Arc};

use super::Session;
use crate::{
    StreamError,
    limits::SessionBudget,
    stream::{StreamShared, recv_queue::End},
};

/// The streams of one session, by number. Bounded.
#[derive(Debug)]
pub(super) struct Table {
    streams: HashMap<u32, Arc<StreamShared>>,
    /// The next number that this side picks by itself.
    next: u32,
    max: usize,
    max_frame_size: u64,
    /// Where unread bytes are counted.
    account: Arc<SessionBudget>,
}

impl Table {
    /// `initiator` is the side that connected: it picks odd numbers, the other even ones.
    pub(super) fn new(
        initiator: bool,
        max: usize,
        max_frame_size: u64,
        account: Arc<SessionBudget>,
    ) -> Self {
        let next = if initiator { 1 } else { 2 };
        Self { streams: HashMap::new(), next, max, max_frame_size, account }
    }

    fn fresh(&self, id: u32, max_frame_size: u64) -> StreamShared {
        StreamShared::new(id, max_frame_size, Arc::clone(&self.account))
    }

    /// The stream with this number, made when it is new or when both directions of the old one are
    /// over.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn get_or_make(&mut self, id: u32) -> Result<Arc<StreamShared>, StreamError> {
        if let Some(stream) = self.streams.get(&id) {
            let used_up = stream.is_over() && stream.outbound.is_closed();
            if !used_up {
                return Ok(Arc::clone(stream));
            }
        }
        self.insert(self.fresh(id, self.max_frame_size))
    }

    /// A stream with the next free number of this side.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn make(&mut self) -> Result<Arc<StreamShared>, StreamError> {
        // The highest number is that of frames.
        while self.next == Session::FRAME_STREAM || self.streams.contains_key(&self.next) {
            self.next = self.next.checked_add(2).unwrap_or(2 - self.next % 2);
        }
        let id = self.next;
        self.next = self.next.checked_add(2).unwrap_or(2 - self.next % 2);
        self.insert(self.fresh(id, self.max_frame_size))
    }

    /// The stream whose receiving direction the peer opened just now. `None` while the direction's
    /// former use is not over yet.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn receive_into(
        &mut self,
        id: u32,
    ) -> Result<Option<Arc<StreamShared>>, StreamError> {
        let known =
            self.streams.get(&id).filter(|stream| !(stream.is_let_go() && stream.is_over()));
        let Some(stream) = known else {
            return self.insert(self.fresh(id, self.max_frame_size)).map(Some);
        };
        if !stream.has_started_receiving() {
            return Ok(Some(Arc::clone(stream)));
        }
        if !stream.inbound.is_done() {
            return Ok(None);
        }
        // The peer begins anew; what this side still sends goes on.
        let fresh = self.fresh(id, stream.inbound.max_frame_size());
        let stream = if stream.outbound.is_over() {
            fresh
        } else {
            StreamShared::from_halves(
                id,
                Arc::clone(&fresh.inbound),
                Arc::clone(&stream.outbound),
                stream.is_writing(),
            )
        };
        self.insert(stream).map(Some)
    }

    fn insert(&mut self, stream: StreamShared) -> Result<Arc<StreamShared>, StreamError> {
        if self.streams.len() >= self.max {
            self.streams.retain(|_, stream| {
                let over = stream.is_over() || stream.is_left();
                if over {
                    // Whoever still waits for messages in no order waits in vain.
                    stream.inbound.end(End::Finished);
                }
                !over
            });
            if self.streams.len() >= self.max {
                return Err(StreamError::TooMany { max: self.max });
            }
        }
        let stream = Arc::new(stream);
        if let Some(old) = self.streams.insert(stream.id, Arc::clone(&stream)) {
            old.inbound.end(End::Finished);
        }
        Ok(stream)
    }

    /// All streams.
    pub(super) fn all(&self) -> Vec<Arc<StreamShared>> {
        self.streams.values().cloned().collect()
    }

    /// The windows of all receiving directions, in bytes.
    pub(super) fn windows(&self) -> u64 {
        self.streams.values().map(|stream| stream.inbound.window()).sum()
    }

    /// Streams in which something may still happen.
    pub(super) fn active(&self) -> usize {
        self.streams.values().filter(|stream| !stream.is_over() && !stream.is_left()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_connected_takes_odd_numbers_and_the_other_even_ones() {
        let mut here = Table::new(true, 10, 100, SessionBudget::boundless());
        let mut there = Table::new(false, 10, 100, SessionBudget::boundless());
        assert_eq!([here.make().unwrap().id, here.make().unwrap().id], [1, 3]);
        assert_eq!([there.make().unwrap().id, there.make().unwrap().id], [2, 4]);
    }

    #[test]
    fn the_number_of_frames_is_skipped_and_numbers_begin_anew_after_the_last() {
        let mut table = Table::new(true, 10, 100, SessionBudget::boundless());
        table.next = Session::FRAME_STREAM - 2;
        assert_eq!(table.make().unwrap().id, Session::FRAME_STREAM - 2);
        assert_eq!(table.make().unwrap().id, 1);
        let mut table = Table::new(false, 10, 100, SessionBudget::boundless());
        table.next = u32::MAX - 1;
        assert_eq!([table.make().unwrap().id, table.make().unwrap().id], [u32::MAX - 1, 2]);
    }

    #[test]
    fn a_number_in_use_is_skipped() {
        let mut table = Table::new(true, 10, 100, SessionBudget::boundless());
        table.get_or_make(1).unwrap();
        assert_eq!(table.make().unwrap().id, 3);
    }

    #[test]
    fn the_table_is_bounded_and_streams_that_are_over_make_room() {
        let mut table = Table::new(true, 2, 100, SessionBudget::boundless());
        let first = table.make().unwrap();
        first.claim();
        table.make().unwrap().claim();
        assert_eq!(table.make().unwrap_err(), StreamError::TooMany { max: 2 });
        first.inbound.end(End::Finished);
        assert!(table.make().is_ok());
    }

    #[test]
    fn a_stream_that_is_pushed_out_leaves_nobody_waiting() {
        use crate::stream::recv_queue::Taken;
        let mut table = Table::new(true, 1, 100, SessionBudget::boundless());
        let first = table.get_or_make(1).unwrap();
        assert!(matches!(first.inbound.changed_from(0), Taken::Wait));
        table.get_or_make(2).unwrap();
        assert!(matches!(first.inbound.changed_from(0), Taken::Finished));
    }
}
