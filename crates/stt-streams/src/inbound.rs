//! The receiving half of a stream: what arrived, what the application took and acknowledged.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{StreamConfig, StreamsError, memory::Ledger, outbound::Item};

/// An acknowledgement waits so long for company.
const ACK_DELAY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Inbound {
    config: Arc<StreamConfig>,
    ledger: Arc<Ledger>,
    queue: VecDeque<Item>,
    /// Charges of what arrived and is not consumed; the first has the number `consumed`.
    charges: VecDeque<usize>,
    held: usize,
    received: u64,
    consumed: u64,
    /// Taken out, but not acknowledged by the application.
    owed: usize,
    reported: (u64, u64),
    report_at: Option<Instant>,
}

impl Inbound {
    pub(crate) fn new(config: Arc<StreamConfig>, ledger: Arc<Ledger>) -> Self {
        Self {
            config,
            ledger,
            queue: VecDeque::new(),
            charges: VecDeque::new(),
            held: 0,
            received: 0,
            consumed: 0,
            owed: 0,
            reported: (0, 0),
            report_at: None,
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Most bytes that the peer may have under way.
    pub(crate) fn limit(&self) -> usize {
        self.config.memory_limit / 2
    }

    pub(crate) fn may_read(&self) -> bool {
        self.ledger.may_read(self.held)
    }

    pub(crate) fn on_data(
        &mut self,
        now: Instant,
        sequence: u64,
        item: Item,
    ) -> Result<(), StreamsError> {
        if sequence != self.received {
            return Err(StreamsError::Protocol { rule: "messages are in order" });
        }
        let charge = item.charge();
        if self.charges.len() >= self.config.buffer_size
            || self.held.saturating_add(charge) > self.limit()
            || item.payload.len() > self.config.max_message_size
        {
            return Err(StreamsError::Protocol { rule: "messages stay inside the window" });
        }
        self.received += 1;
        self.held += charge;
        self.ledger.add_inbound(charge);
        self.charges.push_back(charge);
        self.queue.push_back(item);
        self.report_at.get_or_insert(now + ACK_DELAY);
        Ok(())
    }

    pub(crate) fn peek(&self) -> Option<crate::frame::Kind> {
        self.queue.front().map(|item| item.kind)
    }

    pub(crate) fn take(&mut self, now: Instant) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.owed += 1;
        if self.config.auto_acknowledge {
            self.acknowledge(now);
        }
        Some(item)
    }

    /// Gives the peer one place back; false if nothing is owed.
    pub(crate) fn acknowledge(&mut self, now: Instant) -> bool {
        if self.owed == 0 {
            return false;
        }
        self.owed -= 1;
        let charge = self.charges.pop_front().unwrap_or(0);
        self.held -= charge;
        self.ledger.give_inbound(charge);
        self.consumed += 1;
        self.report_at.get_or_insert(now + ACK_DELAY);
        true
    }

    /// Whether the peer should hear of it now.
    pub(crate) fn is_report_due(&self, now: Instant) -> bool {
        let many = u64::try_from(self.config.buffer_size / 8).unwrap_or(u64::MAX).max(1);
        let (received, consumed) = self.reported;
        self.report_at.is_some_and(|at| now >= at)
            || self.received - received >= many
            || self.consumed - consumed >= many
    }

    pub(crate) fn report_at(&self) -> Option<Instant> {
        self.report_at
    }

    pub(crate) fn on_reported(&mut self) {
        self.reported = (self.received, self.consumed);
        self.report_at = None;
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.ledger.give_inbound(self.held);
    }
}
