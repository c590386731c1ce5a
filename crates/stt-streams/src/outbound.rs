//! The sending half of a stream: what waits, what is under way, what the peer has.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    FlowController, MESSAGE_OVERHEAD, StreamConfig, StreamsError, Trigger,
    frame::{Frame, Hello, Kind},
    memory::Ledger,
};

/// A message, or an error in a message's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) payload: Bytes,
}

impl Item {
    pub(crate) fn charge(&self) -> usize {
        self.payload.len().saturating_add(MESSAGE_OVERHEAD)
    }
}

#[derive(Debug)]
pub(crate) struct Outbound {
    config: Arc<StreamConfig>,
    ledger: Arc<Ledger>,
    pending: VecDeque<Item>,
    /// Sent, but not known to have arrived; the first has the number `received`.
    retained: VecDeque<Item>,
    /// Charges of what is sent and not consumed; the first has the number `consumed`.
    charges: VecDeque<usize>,
    /// Number of the first pending message.
    next: u64,
    /// Number of the next message for this transport; below `next` while repeating.
    cursor: u64,
    received: u64,
    consumed: u64,
    window: FlowController,
    /// Bytes of `pending` and `retained`.
    held: usize,
    /// Bytes of `charges`.
    in_flight: usize,
    /// What the peer takes: bytes under way, bytes of one message.
    peer: Option<(usize, usize)>,
    dropped: u64,
}

impl Outbound {
    pub(crate) fn new(config: Arc<StreamConfig>, ledger: Arc<Ledger>) -> Self {
        Self {
            window: FlowController::new(config.buffer_size),
            config,
            ledger,
            pending: VecDeque::new(),
            retained: VecDeque::new(),
            charges: VecDeque::new(),
            next: 0,
            cursor: 0,
            received: 0,
            consumed: 0,
            held: 0,
            in_flight: 0,
            peer: None,
            dropped: 0,
        }
    }

    pub(crate) fn window(&self) -> FlowController {
        self.window
    }

    pub(crate) fn set_slowed(&mut self, slowed: bool) {
        self.window.set_slowed(slowed);
    }

    /// Messages that the buffer holds: waiting and not consumed.
    pub(crate) fn buffered(&self) -> usize {
        self.pending.len() + self.charges.len()
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn sent(&self) -> u64 {
        self.next
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn max_message(&self) -> usize {
        let own = self.config.max_message_size;
        self.peer.map_or(own, |(_, message)| own.min(message))
    }

    /// Why there is no room for a message of `charge` bytes. A batch was let in as a whole and
    /// uses the places above the limit.
    fn full(&self, charge: usize, batch: bool) -> Option<Trigger> {
        if !batch && self.pending.len() >= self.config.backpressure_limit {
            Some(Trigger::Pending)
        } else if self.buffered() >= self.config.buffer_size {
            Some(Trigger::Buffer)
        } else if self.held.saturating_add(charge) > self.config.memory_limit / 2 {
            Some(Trigger::Memory)
        } else if !self.config.lossy
            && !batch
            && self.peer.is_some()
            && self.window.available() == 0
        {
            Some(Trigger::Window)
        } else {
            None
        }
    }

    /// Whether what `trigger` noticed is over.
    pub(crate) fn is_relieved(&self, trigger: Trigger) -> bool {
        let config = &self.config;
        match trigger {
            Trigger::Pending => {
                self.pending.is_empty() || self.pending.len() * 2 < config.backpressure_limit
            }
            Trigger::Buffer => self.buffered() == 0 || self.buffered() * 2 < config.buffer_size,
            Trigger::Memory => self.held * 2 <= config.memory_limit / 2 && self.ledger.has_room(),
            Trigger::Window => self.window.available() >= (self.window.window_size() / 4).max(1),
            Trigger::SlowConsumer => true,
        }
    }

    /// Takes a message in, if there is room. Gives back how many old ones a lossy stream dropped.
    pub(crate) fn offer(&mut self, item: Item, batch: bool) -> Result<u64, StreamsError> {
        let (len, max) = (item.payload.len(), self.max_message());
        if len > max {
            return Err(StreamsError::TooLarge { len, max });
        }
        let charge = item.charge();
        let mut dropped = 0;
        loop {
            let trigger = match self.full(charge, batch) {
                None if self.ledger.take_outbound(charge) => break,
                None => Trigger::Memory,
                Some(trigger) => trigger,
            };
            let oldest = if self.config.lossy { self.pending.pop_front() } else { None };
            let Some(oldest) = oldest else {
                self.dropped += dropped;
                return Err(StreamsError::Backpressure { trigger });
            };
            self.release(oldest.charge());
            dropped += 1;
        }
        self.dropped += dropped;
        self.held += charge;
        self.pending.push_back(item);
        Ok(dropped)
    }

    fn release(&mut self, charge: usize) {
        self.held -= charge;
        self.ledger.give_outbound(charge);
    }

    /// Takes the oldest message back: a local stream has no peer.
    pub(crate) fn take_local(&mut self) -> Option<Item> {
        let item = self.pending.pop_front()?;
        self.release(item.charge());
        self.next += 1;
        Some(item)
    }

    pub(crate) fn peek_local(&self) -> Option<Kind> {
        self.pending.front().map(|item| item.kind)
    }

    /// A transport is there, and the peer says where it stands.
    pub(crate) fn on_hello(&mut self, hello: &Hello) -> Result<(), StreamsError> {
        let size = usize::try_from(hello.window).unwrap_or(usize::MAX);
        let bytes = usize::try_from(hello.bytes).unwrap_or(usize::MAX);
        let message = usize::try_from(hello.max_message).unwrap_or(usize::MAX);
        let message = message.min(bytes.saturating_sub(MESSAGE_OVERHEAD));
        if size == 0 || message == 0 {
            return Err(StreamsError::Protocol { rule: "a window has room" });
        }
        let size = size.min(self.config.buffer_size);
        if self.peer.is_some_and(|before| before != (bytes, message))
            || (self.peer.is_some() && size != self.window.window_size())
        {
            return Err(StreamsError::Protocol { rule: "a window keeps its size" });
        }
        if let Some(item) = self.pending.iter().find(|item| item.payload.len() > message) {
            return Err(StreamsError::TooLarge { len: item.payload.len(), max: message });
        }
        self.peer = Some((bytes, message));
        // What an earlier transport took along counts as sent until the peer says what it got.
        self.cursor = self.next;
        self.on_ack(hello.received, hello.consumed)?;
        self.cursor = self.received;
        self.window.reset(size, self.charges.len());
        Ok(())
    }

    pub(crate) fn on_ack(&mut self, received: u64, consumed: u64) -> Result<(), StreamsError> {
        if received < self.received
            || received > self.cursor
            || consumed < self.consumed
            || consumed > received
        {
            return Err(StreamsError::Protocol { rule: "acknowledge what was sent" });
        }
        while self.received < received {
            if let Some(item) = self.retained.pop_front() {
                self.release(item.charge());
            }
            self.received += 1;
        }
        let mut count = 0;
        while self.consumed < consumed {
            self.in_flight -= self.charges.pop_front().unwrap_or(0);
            self.consumed += 1;
            count += 1;
        }
        self.window.on_acknowledge(count);
        Ok(())
    }

    /// The next message for the transport, repeated ones first.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        let sequence = self.cursor;
        if sequence == self.next {
            let (bytes, _) = self.peer?;
            let charge = self.pending.front()?.charge();
            if self.in_flight.saturating_add(charge) > bytes || !self.window.on_send() {
                return None;
            }
            self.retained.push_back(self.pending.pop_front()?);
            self.charges.push_back(charge);
            self.in_flight += charge;
            self.next += 1;
        }
        let at = usize::try_from(sequence - self.received).ok()?;
        let item = self.retained.get(at)?;
        self.cursor += 1;
        Some(Frame::Data { sequence, kind: item.kind, payload: item.payload.clone() })
    }

    /// Whether everything was put on this transport.
    pub(crate) fn is_sent(&self) -> bool {
        self.pending.is_empty() && self.cursor == self.next
    }

    /// Drops what can no longer be sent.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
        self.retained.clear();
        self.ledger.give_outbound(self.held);
        self.held = 0;
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.clear();
    }
}
