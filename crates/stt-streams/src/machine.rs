//! One end of a managed stream as a pure state machine: frames and time go in, frames, deadlines
//! and events come out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    ErrorClass, StreamConfig, StreamEventKind as Event, StreamsError, Trigger,
    backpressure::{Pressure, RateWatch},
    frame::{Frame, Hello, Instance, Kind},
    inbound::Inbound,
    memory::Ledger,
    outbound::{Item, Outbound},
    transport::TransportError,
};

/// Heartbeats missed in a row that make a stream unhealthy.
const UNHEALTHY: u32 = 2;
/// Heartbeats missed in a row after which the transport counts as lost.
const LOST: u32 = 3;
/// How often memory of the manager is asked for again.
const MEMORY_RECHECK: Duration = Duration::from_millis(10);

/// Who should look at the machine again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wakes {
    /// There is something to send.
    pub(crate) writer: bool,
    /// There is something to receive.
    pub(crate) readable: bool,
    /// There is room to send.
    pub(crate) writable: bool,
    /// A deadline is earlier than before.
    pub(crate) timer: bool,
}

#[derive(Debug)]
pub(crate) struct Machine {
    id: Arc<str>,
    config: Arc<StreamConfig>,
    instance: Instance,
    peer: Option<Instance>,
    local: bool,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    connected: bool,
    peer_heartbeat: Duration,
    pub(crate) created: Instant,
    pub(crate) last_activity: Instant,
    last_heard: Instant,
    last_sent: Instant,
    missed: u32,
    healthy: bool,
    pressure: Pressure,
    slow: Pressure,
    rate: RateWatch,
    pace_due: bool,
    /// This side closes: nothing new is taken in.
    closing: bool,
    close_sent: bool,
    /// CLOSE was sent over some transport, so the peer may say that it arrived.
    close_known: bool,
    /// The peer's CLOSE arrived, with everything before it.
    peer_closed: bool,
    close_reported: bool,
    ended: Option<StreamsError>,
    pub(crate) events: Vec<Event>,
    pub(crate) wakes: Wakes,
    /// Failures by class, in the order of [`ErrorClass::ALL`].
    pub(crate) errors: [u64; 4],
}

impl Machine {
    pub(crate) fn new(
        id: Arc<str>,
        config: Arc<StreamConfig>,
        ledger: &Arc<Ledger>,
        instance: Instance,
        local: bool,
        now: Instant,
    ) -> Self {
        Self {
            id,
            outbound: Outbound::new(Arc::clone(&config), Arc::clone(ledger)),
            inbound: Inbound::new(Arc::clone(&config), Arc::clone(ledger)),
            peer_heartbeat: config.heartbeat_interval,
            config,
            instance,
            peer: None,
            local,
            connected: false,
            created: now,
            last_activity: now,
            last_heard: now,
            last_sent: now,
            missed: 0,
            healthy: true,
            pressure: Pressure::default(),
            slow: Pressure::default(),
            rate: RateWatch::new(now),
            pace_due: false,
            closing: false,
            close_sent: false,
            close_known: false,
            peer_closed: false,
            close_reported: false,
            ended: None,
            events: vec![Event::Created],
            wakes: Wakes::default(),
            errors: [0; 4],
        }
    }

    pub(crate) fn ended(&self) -> Option<&StreamsError> {
        self.ended.as_ref()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy && self.ended.is_none()
    }

    /// Messages that wait now, in the direction that has more.
    pub(crate) fn waiting(&self) -> usize {
        self.outbound.buffered().max(self.inbound.waiting())
    }

    pub(crate) fn trigger(&self) -> Option<Trigger> {
        self.pressure.trigger().or(self.slow.trigger())
    }

    pub(crate) fn pressure_time(&self, now: Instant) -> Duration {
        self.pressure.total(now) + self.slow.total(now)
    }

    pub(crate) fn count(&mut self, class: ErrorClass) {
        let at = ErrorClass::ALL.iter().position(|other| *other == class);
        if let Some(count) = at.and_then(|at| self.errors.get_mut(at)) {
            *count += 1;
        }
    }

    // --- what the application does ----------------------------------------------------------------

    /// Takes a message in. `first` is false for the rest of a batch that was let in.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        item: Item,
        first: bool,
    ) -> Result<(), StreamsError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.closing || self.peer_closed {
            return Err(StreamsError::Closed);
        }
        if let (Some(trigger), true) = (self.pressure.trigger(), first && !self.config.lossy) {
            return Err(StreamsError::Backpressure { trigger });
        }
        let offered = self.outbound.offer(item, !first);
        match &offered {
            Ok(dropped) => {
                self.last_activity = now;
                self.wakes.writer = true;
                self.wakes.readable |= self.local;
                if *dropped > 0 {
                    self.events.push(Event::Dropped { messages: *dropped });
                }
            }
            Err(StreamsError::Backpressure { trigger }) => {
                self.count(ErrorClass::ResourceExhausted);
                self.wakes.timer = true;
                if self.pressure.set(*trigger, now) {
                    self.events.push(Event::BackpressureOn(*trigger));
                }
            }
            Err(_) => {}
        }
        offered.map(|_| ())
    }

    /// The next message, `None` while there is none.
    pub(crate) fn take(&mut self, now: Instant) -> Result<Option<Item>, StreamsError> {
        if self.closing {
            return Err(StreamsError::Closed);
        }
        let item = if self.local { self.outbound.take_local() } else { self.inbound.take(now) };
        if item.is_some() {
            self.last_activity = now;
            self.rate.on_taken();
            self.wakes.writer = true;
            self.relieve(now);
            return Ok(item);
        }
        match &self.ended {
            Some(error) => Err(error.clone()),
            None if self.peer_closed => Err(StreamsError::Closed),
            None => Ok(None),
        }
    }

    /// The next message if it is one, and not an error in its place.
    pub(crate) fn take_message(&mut self, now: Instant) -> Option<bytes::Bytes> {
        let next = if self.local { self.outbound.peek_local() } else { self.inbound.peek() };
        if next? == Kind::Message { self.take(now).ok()?.map(|item| item.payload) } else { None }
    }

    pub(crate) fn acknowledge(&mut self, now: Instant) -> bool {
        self.wakes.writer = true;
        self.inbound.acknowledge(now)
    }

    /// Takes nothing more in, and ends once the peer has everything.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.wakes = Wakes { writer: true, readable: true, writable: true, timer: true };
        let untouched = self.peer.is_none() && self.outbound.pending() == 0;
        if self.local || untouched {
            self.end(StreamsError::Closed);
        }
    }

    /// Ends at once. What arrived can still be taken, unless this side closed.
    pub(crate) fn end(&mut self, error: StreamsError) {
        if self.ended.is_some() {
            return;
        }
        let orderly = error == StreamsError::Closed;
        if !orderly {
            self.count(error.class());
            self.set_healthy(false);
        }
        let cause = (!orderly).then(|| stc::Coded::code(&error));
        self.events.push(Event::Ended { cause });
        self.ended = Some(error);
        self.connected = false;
        self.outbound.clear();
        self.wakes = Wakes { writer: true, readable: true, writable: true, timer: true };
    }

    // --- what the transport does ------------------------------------------------------------------

    pub(crate) fn hello(&self) -> Hello {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let heartbeat = self.config.heartbeat_interval.as_millis();
        Hello {
            id: self.id.to_string(),
            instance: self.instance,
            peer: self.peer.unwrap_or_default(),
            received: self.inbound.received(),
            consumed: self.inbound.consumed(),
            window: narrow(self.config.buffer_size),
            bytes: wide(self.inbound.limit()),
            max_message: wide(self.config.max_message_size),
            heartbeat_ms: u32::try_from(heartbeat).unwrap_or(u32::MAX),
        }
    }

    /// Whether `hello` may take this stream over on a new transport.
    pub(crate) fn knows(&self, hello: &Hello) -> bool {
        hello.peer == self.instance && self.peer.is_none_or(|peer| peer == hello.instance)
    }

    pub(crate) fn on_connected(&mut self, now: Instant, hello: &Hello) -> Result<(), StreamsError> {
        if *hello.id != *self.id {
            return Err(StreamsError::Protocol { rule: "both sides mean the same stream" });
        }
        let stranger = self.peer.is_some_and(|peer| peer != hello.instance);
        if stranger || (hello.peer != Instance::default() && hello.peer != self.instance) {
            return Err(StreamsError::PeerRestarted);
        }
        self.outbound.on_hello(hello)?;
        self.peer = Some(hello.instance);
        self.peer_heartbeat =
            Duration::from_millis(u64::from(hello.heartbeat_ms.clamp(10, 3_600_000)));
        self.connected = true;
        self.close_sent = false;
        self.close_reported = false;
        self.pace_due = self.slow.trigger().is_some();
        self.last_heard = now;
        self.last_sent = now;
        self.missed = 0;
        self.events.push(Event::Connected);
        self.set_healthy(true);
        self.wakes.timer = true;
        self.relieve(now);
        Ok(())
    }

    pub(crate) fn on_disconnected(&mut self, error: &TransportError) {
        if self.ended.is_some() || !self.connected {
            return;
        }
        self.connected = false;
        self.count(error.class);
        self.events
            .push(Event::Disconnected { class: error.class, cause: error.cause.to_string() });
        self.set_healthy(false);
    }

    pub(crate) fn on_frame(&mut self, now: Instant, frame: Frame) -> Result<(), StreamsError> {
        self.last_heard = now;
        self.missed = 0;
        if self.connected {
            self.set_healthy(true);
        }
        match frame {
            Frame::Hello(_) => return Err(StreamsError::Protocol { rule: "one HELLO is enough" }),
            Frame::Data { sequence, kind, payload } => {
                if self.peer_closed {
                    return Err(StreamsError::Protocol { rule: "nothing follows CLOSE" });
                }
                let was_empty = self.inbound.waiting() == 0;
                self.inbound.on_data(now, sequence, Item { kind, payload })?;
                self.last_activity = now;
                self.rate.on_arrival();
                self.wakes.readable = true;
                self.wakes.timer |= was_empty;
                self.wakes.writer = true;
            }
            Frame::Ack { received, consumed, closed } => {
                self.outbound.on_ack(received, consumed)?;
                if closed {
                    if !self.close_known {
                        return Err(StreamsError::Protocol { rule: "acknowledge what was sent" });
                    }
                    self.end(StreamsError::Closed);
                }
                self.wakes.writer = true;
                self.relieve(now);
            }
            Frame::Heartbeat => {}
            Frame::Close { end } => {
                if end != self.inbound.received() {
                    return Err(StreamsError::Protocol { rule: "CLOSE comes last" });
                }
                self.peer_closed = true;
                self.wakes = Wakes { writer: true, readable: true, writable: true, timer: false };
            }
            Frame::Pace { slower } => {
                self.outbound.set_slowed(slower);
                self.events.push(Event::Pace { slower });
                self.wakes.writer = true;
                self.relieve(now);
            }
        }
        Ok(())
    }

    /// The next frame to send, if there is any.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<Frame> {
        if !self.connected {
            return None;
        }
        let frame = self.choose_frame(now)?;
        self.last_sent = now;
        if matches!(frame, Frame::Data { .. }) {
            self.last_activity = now;
            self.relieve(now);
        }
        Some(frame)
    }

    fn choose_frame(&mut self, now: Instant) -> Option<Frame> {
        let close_due = self.peer_closed && !self.close_reported;
        if close_due || self.inbound.is_report_due(now) {
            self.close_reported = self.peer_closed;
            self.inbound.on_reported();
            return Some(Frame::Ack {
                received: self.inbound.received(),
                consumed: self.inbound.consumed(),
                closed: self.peer_closed,
            });
        }
        if self.close_reported {
            // The peer heard that its close arrived, and takes nothing more.
            self.end(StreamsError::Closed);
            return None;
        }
        if std::mem::take(&mut self.pace_due) {
            return Some(Frame::Pace { slower: self.slow.trigger().is_some() });
        }
        if let Some(frame) = self.outbound.next_frame() {
            return Some(frame);
        }
        if self.closing && !self.close_sent && self.outbound.is_sent() {
            self.close_sent = true;
            self.close_known = true;
            return Some(Frame::Close { end: self.outbound.sent() });
        }
        (now >= self.last_sent + self.config.heartbeat_interval).then_some(Frame::Heartbeat)
    }

    /// When [`next_frame`](Self::next_frame) has something even if nothing happens.
    pub(crate) fn send_at(&self) -> Instant {
        let heartbeat = self.last_sent + self.config.heartbeat_interval;
        self.inbound.report_at().map_or(heartbeat, |at| at.min(heartbeat))
    }

    // --- what time does ---------------------------------------------------------------------------

    /// When [`on_time`](Self::on_time) has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        let mut at = self.last_activity + self.config.timeout;
        if self.connected {
            at = at.min(self.missed_at(self.missed + 1));
        }
        if let Some(look) = self.rate.deadline(self.inbound.waiting()) {
            at = at.min(look);
        }
        at
    }

    /// As [`deadline`](Self::deadline), also for what other streams of the manager give back.
    pub(crate) fn next_tick(&self, now: Instant) -> Instant {
        let at = self.deadline();
        if self.pressure.trigger() == Some(Trigger::Memory) {
            at.min(now + MEMORY_RECHECK)
        } else {
            at
        }
    }

    fn missed_at(&self, count: u32) -> Instant {
        self.last_heard + self.peer_heartbeat * count + self.peer_heartbeat / 2
    }

    /// Looks at the clock. An error means that the transport is lost.
    pub(crate) fn on_time(&mut self, now: Instant) -> Result<(), TransportError> {
        if self.ended.is_some() {
            return Ok(());
        }
        if now >= self.last_activity + self.config.timeout {
            self.end(StreamsError::Idle { after: self.config.timeout });
            return Ok(());
        }
        self.relieve(now);
        let much = self.config.backpressure_limit / 2;
        if let Some(slow) = self.rate.look(now, self.inbound.waiting(), much) {
            self.pace_due = true;
            self.wakes.writer = true;
            if slow {
                self.slow.set(Trigger::SlowConsumer, now);
                self.events.push(Event::BackpressureOn(Trigger::SlowConsumer));
            } else if self.slow.clear(now) {
                self.events.push(Event::BackpressureOff);
            }
        }
        while self.connected && now >= self.missed_at(self.missed + 1) {
            self.missed += 1;
            self.events.push(Event::HeartbeatMissed { missed: self.missed });
            if self.missed >= UNHEALTHY {
                self.set_healthy(false);
            }
            if self.missed >= LOST {
                return Err(TransportError::new(ErrorClass::Timeout, "no heartbeat in time"));
            }
        }
        Ok(())
    }

    fn relieve(&mut self, now: Instant) {
        let over = self.pressure.trigger().is_some_and(|on| self.outbound.is_relieved(on));
        if over && self.pressure.clear(now) {
            self.events.push(Event::BackpressureOff);
            self.wakes.writable = true;
        }
    }

    fn set_healthy(&mut self, healthy: bool) {
        if self.healthy != healthy {
            self.healthy = healthy;
            self.events.push(Event::Health { healthy });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    fn machine(number: u8, now: Instant) -> Machine {
        let ledger = Arc::new(Ledger::new(1 << 20, 1));
        let config = Arc::new(StreamConfig::default());
        Machine::new(Arc::from("s"), config, &ledger, [number; 16], false, now)
    }

    fn connect(a: &mut Machine, b: &mut Machine, now: Instant) {
        let (from_a, from_b) = (a.hello(), b.hello());
        a.on_connected(now, &from_b).unwrap();
        b.on_connected(now, &from_a).unwrap();
    }

    #[test]
    fn a_close_that_an_earlier_transport_took_along_may_be_acknowledged() {
        let now = Instant::now();
        let (mut a, mut b) = (machine(1, now), machine(2, now));
        connect(&mut a, &mut b, now);
        a.close();
        let close = a.next_frame(now).unwrap();
        assert!(matches!(close, Frame::Close { .. }));
        b.on_frame(now, close).unwrap();
        // The transport ends before the answer, and the answer comes first over the next one.
        let lost = TransportError::new(ErrorClass::Transient, "the transport ended");
        a.on_disconnected(&lost);
        b.on_disconnected(&lost);
        connect(&mut a, &mut b, now);
        let answer = b.next_frame(now).unwrap();
        assert!(matches!(answer, Frame::Ack { closed: true, .. }));
        a.on_frame(now, answer).unwrap();
        assert_eq!(a.ended(), Some(&StreamsError::Closed));

        // Before any CLOSE it is still a lie.
        let (mut a, mut b) = (machine(1, now), machine(2, now));
        connect(&mut a, &mut b, now);
        let lie = Frame::Ack { received: 0, consumed: 0, closed: true };
        assert!(matches!(a.on_frame(now, lie), Err(StreamsError::Protocol { .. })));
    }
}
