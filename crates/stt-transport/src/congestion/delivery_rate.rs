//! Delivery rate: how fast the path carried what it carried.
//!
//! The method is that of `draft-cheng-iccrg-delivery-rate-estimation`: remember, with what was
//! sent, how much had been delivered by then; when it is acknowledged, the difference over the
//! longer of the time it took to send and the time it took to be acknowledged is a rate that the
//! path has really carried, never more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most groups remembered. A round trip makes at most [`GROUPS_PER_RTT`] of them, and what is
/// older than [`MEMORY_RTTS`] of them is forgotten; this bounds what a stalled path can hold.
const MAX_GROUPS: usize = 1024;

/// Packets that leave within this part of a round trip share one record.
const GROUPS_PER_RTT: u32 = 128;

/// How many smoothed round trips a record lives: lost packets are noticed after 9/8 of one.
const MEMORY_RTTS: u32 = 4;

/// Groups for which there is always room: those of a few messages.
const FEW_GROUPS: usize = 4;

/// A delivery rate sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Bytes a second.
    pub(super) bytes_per_second: f64,
    /// Whether the application had too little to send meanwhile.
    pub(super) app_limited: bool,
}

/// What was known when a group of packets left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// When its first packet left.
    sent: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    app_limited: bool,
    /// Bytes in flight once the group had left.
    pub(super) in_flight: u64,
    /// Bytes declared lost by then.
    pub(super) lost: u64,
}

/// What an acknowledgement told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    /// Bytes it acknowledged.
    pub(super) bytes: u64,
    /// Time since the newest packet it acknowledged had left.
    pub(super) rtt: Duration,
    /// The path's rate, if enough time passed to tell.
    pub(super) rate: Option<Rate>,
    /// Bytes in flight when the newest acknowledged packet left, if remembered.
    pub(super) in_flight_then: Option<u64>,
    /// Whether it ended a round trip.
    pub(super) round_ended: bool,
}

/// The account of bytes sent, delivered and lost.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    groups: VecDeque<Group>,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    in_flight: u64,
    lost: u64,
    /// Samples are application-limited until this many bytes were delivered.
    app_limited_until: u64,
    /// A round trip ends with the first packet sent after this many bytes were delivered.
    round_end: u64,
    /// The acknowledgement being processed: its bytes and when its newest packet left.
    batch: u64,
    newest: Option<Instant>,
}

impl Delivery {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            groups: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            in_flight: 0,
            lost: 0,
            app_limited_until: 0,
            round_end: 0,
            batch: 0,
            newest: None,
        }
    }

    /// Bytes delivered so far.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes declared lost so far.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Bytes in flight, as far as this account knows.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// `bytes` left at `now`; `rtt` is the current round trip.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, rtt: Duration) {
        if self.in_flight == 0 {
            self.first_sent = now;
            self.delivered_at = now;
        }
        self.in_flight = self.in_flight.saturating_add(bytes);
        if let Some(last) = self.groups.back_mut()
            && now.saturating_duration_since(last.sent) < rtt / GROUPS_PER_RTT
        {
            last.in_flight = self.in_flight;
            return;
        }
        if self.groups.len() >= MAX_GROUPS {
            self.groups.pop_front();
        }
        self.groups.push_back(Group {
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            app_limited: self.delivered < self.app_limited_until,
            in_flight: self.in_flight,
            lost: self.lost,
        });
    }

    /// One packet that left at `sent` was acknowledged.
    pub(super) fn on_ack(&mut self, sent: Instant, bytes: u64) {
        self.batch = self.batch.saturating_add(bytes);
        self.newest = Some(self.newest.map_or(sent, |newest| newest.max(sent)));
    }

    /// The acknowledgement is complete: what it told, or `None` if it held nothing that counts.
    pub(super) fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        smoothed_rtt: Duration,
        shortest_rate_interval: Duration,
    ) -> Option<Acked> {
        let newest = self.newest.take()?;
        let bytes = std::mem::take(&mut self.batch);
        self.delivered = self.delivered.saturating_add(bytes);
        self.in_flight = in_flight;
        let group = self.at(newest).copied();

        let mut rate = None;
        let mut round_ended = false;
        if let Some(group) = group {
            let sending = newest.saturating_duration_since(group.first_sent);
            let acking = now.saturating_duration_since(group.delivered_at);
            let interval = sending.max(acking);
            let carried = self.delivered.saturating_sub(group.delivered);
            if interval >= shortest_rate_interval && !interval.is_zero() {
                rate = Some(Rate {
                    bytes_per_second: carried as f64 / interval.as_secs_f64(),
                    app_limited: group.app_limited,
                });
            }
            if group.delivered >= self.round_end {
                self.round_end = self.delivered;
                round_ended = true;
            }
        }
        self.delivered_at = now;
        self.first_sent = self.first_sent.max(newest);
        if app_limited {
            // At least 1: zero means that nothing ever limited it.
            self.app_limited_until = self.delivered.saturating_add(in_flight).max(1);
        }
        self.forget(now, in_flight, smoothed_rtt);
        Some(Acked {
            bytes,
            rtt: now.saturating_duration_since(newest),
            rate,
            in_flight_then: group.map(|group| group.in_flight),
            round_ended,
        })
    }

    /// `bytes` were declared lost, the newest of which left at `sent`: what was known then.
    pub(super) fn on_lost(&mut self, sent: Instant, bytes: u64) -> Option<Group> {
        self.lost = self.lost.saturating_add(bytes);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.at(sent).copied()
    }

    /// The group that a packet which left at `sent` belongs to.
    fn at(&self, sent: Instant) -> Option<&Group> {
        let after = self.groups.partition_point(|group| group.sent <= sent);
        self.groups.get(after.checked_sub(1)?)
    }

    /// Drops what can no longer be acknowledged, and the memory of a path that fell silent.
    fn forget(&mut self, now: Instant, in_flight: u64, smoothed_rtt: Duration) {
        if in_flight == 0 {
            // Room for a few is kept: it is filled again with the next message.
            if self.groups.capacity() > FEW_GROUPS {
                self.groups = VecDeque::new();
            }
            self.groups.clear();
            return;
        }
        let horizon = smoothed_rtt * MEMORY_RTTS;
        while self.groups.len() > 1
            && self
                .groups
                .front()
                .is_some_and(|group| now.saturating_duration_since(group.sent) > horizon)
        {
            self.groups.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends 1,000 bytes every millisecond and acknowledges each 10 ms later.
    fn steady(delivery: &mut Delivery, start: Instant, count: u32) -> Vec<Acked> {
        let mut acked = Vec::new();
        for step in 0..count + 10 {
            let now = start + MS * step;
            if step >= 10 {
                delivery.on_ack(now - MS * 10, 1_000);
                let in_flight = delivery.in_flight().saturating_sub(1_000);
                acked.extend(delivery.on_end_acks(now, in_flight, false, MS * 10, MS * 10));
            }
            if step < count {
                delivery.on_sent(now, 1_000, MS * 10);
            }
        }
        acked
    }

    #[test]
    fn a_steady_flow_has_its_rate_and_its_rounds() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        let acked = steady(&mut delivery, start, 100);
        assert_eq!(acked.len(), 100);
        assert_eq!(delivery.delivered(), 100_000);
        let last = acked.last().unwrap();
        assert_eq!(last.rtt, MS * 10);
        let rate = acked[60].rate.unwrap();
        assert!((rate.bytes_per_second - 1e6).abs() < 1e5, "{rate:?}");
        assert!(!rate.app_limited);
        let rounds = acked.iter().filter(|acked| acked.round_ended).count();
        assert!((9..=12).contains(&rounds), "{rounds} rounds in 100 ms at 10 ms each");
    }

    #[test]
    fn a_burst_of_acknowledgements_is_not_a_fast_path() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        for step in 0..100 {
            delivery.on_sent(start + MS * step, 1_000, MS * 10);
        }
        // Held back and then released at once: it took 99 ms to send them.
        for step in 0..100 {
            delivery.on_ack(start + MS * step, 1_000);
        }
        let acked = delivery.on_end_acks(start + MS * 120, 0, false, MS * 10, MS).unwrap();
        assert!(acked.rate.unwrap().bytes_per_second < 1.1e6, "{acked:?}");
    }

    #[test]
    fn too_little_to_send_marks_what_is_in_flight() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        delivery.on_sent(start, 1_000, MS);
        delivery.on_sent(start + MS, 1_000, MS);
        delivery.on_ack(start, 1_000);
        delivery.on_end_acks(start + MS * 10, 1_000, true, MS * 10, MS);
        delivery.on_sent(start + MS * 11, 1_000, MS);
        delivery.on_ack(start + MS * 11, 1_000);
        let acked = delivery.on_end_acks(start + MS * 21, 0, false, MS * 10, MS).unwrap();
        assert!(acked.rate.unwrap().app_limited);
        delivery.on_sent(start + MS * 22, 1_000, MS);
        delivery.on_ack(start + MS * 22, 1_000);
        let acked = delivery.on_end_acks(start + MS * 32, 0, false, MS * 10, MS).unwrap();
        assert!(!acked.rate.unwrap().app_limited);
    }

    #[test]
    fn memory_is_bounded_and_returned() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        for step in 0..100_000 {
            delivery.on_sent(start + MS * step, 1_000, Duration::ZERO);
        }
        assert_eq!(delivery.groups.len(), MAX_GROUPS);
        delivery.on_ack(start + MS * 99_999, 1_000);
        delivery.on_end_acks(start + MS * 100_000, 0, false, MS, MS);
        assert_eq!(delivery.groups.capacity(), 0, "an idle session holds nothing");
    }
}
