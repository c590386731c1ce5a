//! The controller: which phase it is in, and the window that follows.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerMetrics, Cubic, CubicConfig};

use super::aggregation::Aggregation;
use super::bandwidth::MaxBandwidth;
use super::delivery_rate::{Acked, Delivery};
use super::full_pipe::FullPipe;
use super::loss_bounds::Bounds;
use super::min_rtt::MinRtt;
use super::probe_cycle::Cycle;

/// Bytes in flight are never more than this many bandwidth-delay products of the empty path: the
/// path's own, and a queue of the same size, which others may have filled.
const MAX_BDPS: f64 = 2.0;

/// A shorter round trip counts as this long: below it, what makes a round trip longer is when the
/// processes at both ends get to run, not a queue.
const LEAST_RTT: Duration = Duration::from_millis(1);

/// Rate while cruising: what is measured is never below the truth, so a queue would grow slowly.
const CRUISE_GAIN: f64 = 0.99;

/// Rate while probing for more, and while giving back the queue that a probe made.
const UP_GAIN: f64 = 1.25;
const DOWN_GAIN: f64 = 0.9;

/// A round trip this much longer than the shortest means a queue: a loss then is congestion, not
/// chance.
const QUEUED: f64 = 1.25;

/// Growth of the delivery rate within a round trip that keeps Startup going
/// (`draft-ietf-ccwg-bbr`, "BBRCheckFullBWReached"), and a probe for more.
const STARTUP_GROWTH: f64 = 1.25;
const UP_GROWTH: f64 = 1.1;

/// A round trip that stays this much above the shortest, once our own queue is drained, means that
/// others keep a queue: then we share as they do.
const SHARED: f64 = 1.15;

/// Round trips in a row that must show it while cruising.
const QUEUED_ROUNDS: u32 = 3;

/// Round trips that draining takes: one to stop, one to see the effect, one to measure it.
const DRAIN_ROUNDS: u64 = 3;

/// How long is shared before looking again whether a queue remains.
const SHARE_TIME: Duration = Duration::from_secs(4);
const SHARE_ROUNDS: u64 = 16;

/// What the model had in flight, of the full queue that Cubic is told of when sharing begins: half
/// way between being cut by a full step and not at all.
const SHARE_ENTRY: f64 = 0.85;

/// Least part of the model's window that sharing leaves.
const SHARE_FLOOR: f64 = 0.5;

/// Bytes in flight while the shortest round trip is measured, in bandwidth-delay products, and for
/// how long.
const PROBE_RTT_BDPS: f64 = 0.5;
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);

/// Losses in one round trip that, above [`super::loss_bounds::LOSS_THRESHOLD`], end Startup
/// (`draft-ietf-ccwg-bbr`: `BBRStartupFullLossCnt`).
const STARTUP_LOSSES: u32 = 6;

/// Time between two of the pacer's bursts; what it sends at once comes on top of the window.
const BURST: Duration = Duration::from_millis(2);

/// What the controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Doubling every round trip until the pipe is full.
    Startup,
    /// Giving back the queue that Startup made.
    Drain,
    /// Giving back the queue that Up made, and looking whether one remains.
    Down,
    /// Others keep a queue: sharing it with them as Cubic does.
    Share,
    /// Sending at the path's bandwidth.
    Cruise,
    /// Filling the path without a queue, before Up.
    Refill,
    /// Probing for more bandwidth.
    Up,
    /// Measuring the shortest round trip.
    ProbeRtt,
}

/// BBRv3 behind the engine's [`Controller`]: see the [module](super).
#[derive(Clone, Debug)]
pub struct Bbr {
    phase: Phase,
    phase_started: Instant,
    phase_round: u64,
    window: u64,
    initial_window: u64,
    mtu: u64,
    rounds: u64,
    srtt: Option<Duration>,
    delivery: Delivery,
    bandwidth: MaxBandwidth,
    min_rtt: MinRtt,
    aggregation: Aggregation,
    full_pipe: FullPipe,
    bounds: Bounds,
    cycle: Cycle,
    filled_pipe: bool,
    /// Whether losses still judge the last probe.
    judging: bool,
    round: Round,
    /// Best rate of the round trip before.
    round_before: f64,
    /// Round trips in Cruise that were longer than ours alone would make them.
    queued_rounds: u32,
    /// Window that was drained: where sharing starts.
    before_drain: f64,
    /// Shortest round trip seen once our queue was drained.
    drained_rtt: Duration,
    /// What shares with others.
    share: Option<Box<Cubic>>,
    /// When the queue will have been drained for long enough.
    probe_rtt_until: Option<Instant>,
}

/// What the current round trip brought.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    delivered_at_start: u64,
    lost_at_start: u64,
    losses: u32,
    marked: bool,
    bandwidth: f64,
    rtt: Option<Duration>,
}

impl Bbr {
    /// A controller for a new path.
    pub(super) fn new(now: Instant, mtu: u16, initial_window: u64, seed: u64) -> Self {
        Self {
            phase: Phase::Startup,
            phase_started: now,
            phase_round: 0,
            window: initial_window,
            initial_window,
            mtu: mtu.into(),
            rounds: 0,
            srtt: None,
            delivery: Delivery::new(now),
            bandwidth: MaxBandwidth::default(),
            min_rtt: MinRtt::new(),
            aggregation: Aggregation::new(now),
            full_pipe: FullPipe::new(STARTUP_GROWTH),
            bounds: Bounds::NONE,
            cycle: Cycle::new(now, seed),
            filled_pipe: false,
            judging: false,
            round: Round::default(),
            round_before: 0.0,
            queued_rounds: 0,
            before_drain: initial_window as f64,
            drained_rtt: Duration::MAX,
            share: None,
            probe_rtt_until: None,
        }
    }

    /// What it is doing.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The path's bandwidth as far as it is known, in bytes a second.
    #[must_use]
    pub const fn bandwidth(&self) -> f64 {
        self.bounds.bandwidth(self.bandwidth.get())
    }

    /// The path's shortest round trip as far as it is known.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt.get()
    }

    /// Bytes that fill the empty path.
    fn bdp(&self) -> f64 {
        self.bandwidth() * self.base_rtt().unwrap_or_default().as_secs_f64()
    }

    /// The round trip of the path without a queue.
    fn base_rtt(&self) -> Option<Duration> {
        self.min_rtt.get().map(|min| min.max(LEAST_RTT))
    }

    fn min_window(&self) -> u64 {
        4 * self.mtu
    }

    fn is_queued(&self) -> bool {
        match (self.srtt, self.base_rtt()) {
            (Some(srtt), Some(min)) => srtt > min.mul_f64(QUEUED),
            _ => false,
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.phase_started = now;
        self.phase_round = self.rounds;
    }

    fn enter_down(&mut self, now: Instant) {
        self.drained_rtt = Duration::MAX;
        if self.phase != Phase::Drain {
            self.before_drain = self.window_at(1.0);
        }
        self.cycle.start(now, self.rounds);
        self.enter(Phase::Down, now);
    }

    /// Whether a queue remains after ours was drained.
    fn is_shared(&self) -> bool {
        self.base_rtt().is_some_and(|min| self.drained_rtt > min.mul_f64(SHARED))
    }

    fn enter_share(&mut self, now: Instant) {
        if self.share.is_none() {
            // As if Cubic had just met a full queue somewhat above what the model had in flight.
            let window = self.before_drain / SHARE_ENTRY;
            let mut config = CubicConfig::default();
            config.initial_window(bytes(window));
            let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
            let mut cubic = Cubic::new(Arc::new(config), now, mtu);
            cubic.on_congestion_event(now, now, false, 0);
            self.share = Some(Box::new(cubic));
        }
        self.bounds.probe();
        self.enter(Phase::Share, now);
    }

    /// The window that holds `gain` times the path's bandwidth, bounded by what a path holds.
    fn window_at(&self, gain: f64) -> f64 {
        let rtt = self.srtt.unwrap_or_default().as_secs_f64();
        (gain * self.bandwidth() * rtt).min(MAX_BDPS * self.bdp())
    }

    fn enter_refill(&mut self, now: Instant) {
        self.bounds.probe();
        self.enter(Phase::Refill, now);
    }

    fn enter_up(&mut self, now: Instant) {
        self.judging = true;
        self.full_pipe.reset(UP_GROWTH);
        self.enter(Phase::Up, now);
    }

    /// Ends the round trip: judges its losses.
    fn end_round(&mut self, now: Instant, app_limited: bool) {
        self.rounds += 1;
        let delivered = self.delivery.delivered() - self.round.delivered_at_start;
        let lost = self.delivery.lost() - self.round.lost_at_start;
        let too_much = Bounds::too_much(delivered + lost, lost, self.mtu);

        match self.phase {
            Phase::Startup => {
                let full = self.full_pipe.round_ended(self.bandwidth.get(), app_limited);
                let overflowed = too_much && self.round.losses >= STARTUP_LOSSES;
                if overflowed {
                    self.bounds.found(delivered as f64, self.bdp());
                }
                if full || overflowed {
                    self.filled_pipe = true;
                    self.before_drain =
                        self.bandwidth() * self.srtt.unwrap_or_default().as_secs_f64();
                    self.enter(Phase::Drain, now);
                }
            }
            // A probe's losses are judged one by one, as they arrive.
            Phase::Refill | Phase::Up => {}
            Phase::Share => {}
            Phase::Drain | Phase::Down | Phase::Cruise | Phase::ProbeRtt => {
                let congested = self.round.marked || (lost > 0 && (too_much || self.is_queued()));
                if congested {
                    self.bounds.congested(
                        self.bandwidth.get(),
                        self.round.bandwidth,
                        self.window as f64,
                        delivered as f64,
                    );
                }
            }
        }
        self.watch_cruise(now);
        if self.judging && self.phase != Phase::Up && self.rounds > self.phase_round + 1 {
            self.judging = false;
            self.bandwidth.advance();
        }
        self.round_before = self.round.bandwidth;
        self.round = Round {
            delivered_at_start: self.delivery.delivered(),
            lost_at_start: self.delivery.lost(),
            ..Round::default()
        };
    }

    /// Cruising makes no queue: one that is there all the same is that of others.
    fn watch_cruise(&mut self, now: Instant) {
        let (Some(rtt), Some(base)) = (self.round.rtt, self.base_rtt()) else { return };
        let own =
            Duration::try_from_secs_f64(self.allowance() / self.bandwidth()).unwrap_or_default();
        if self.phase != Phase::Cruise || rtt <= base.mul_f64(SHARED) + own {
            self.queued_rounds = 0;
            return;
        }
        self.queued_rounds += 1;
        if self.queued_rounds >= QUEUED_ROUNDS {
            self.queued_rounds = 0;
            self.before_drain = self.window_at(1.0);
            self.enter_share(now);
        }
    }

    /// Moves between phases after an acknowledgement.
    fn advance(&mut self, now: Instant, acked: &Acked) {
        let in_flight = self.delivery.in_flight() as f64;
        let rounds_here = self.rounds - self.phase_round;
        match self.phase {
            Phase::Drain => {
                if in_flight <= self.bdp() {
                    self.enter_down(now);
                }
            }
            Phase::Down => {
                if rounds_here >= DRAIN_ROUNDS - 1 {
                    self.drained_rtt = self.drained_rtt.min(acked.rtt);
                }
                if rounds_here >= DRAIN_ROUNDS && acked.round_ended {
                    if self.is_shared() {
                        self.enter_share(now);
                    } else {
                        self.share = None;
                        self.enter(Phase::Cruise, now);
                    }
                }
            }
            Phase::Share => {
                if now.saturating_duration_since(self.phase_started) > SHARE_TIME
                    && rounds_here > SHARE_ROUNDS
                {
                    self.bandwidth.advance();
                    self.enter_down(now);
                }
            }
            Phase::Cruise => {
                if self.is_probe_due(now) {
                    self.enter_refill(now);
                }
            }
            Phase::Refill => {
                if rounds_here > 0 && acked.round_ended {
                    self.enter_up(now);
                }
            }
            Phase::Up => self.advance_up(now, acked),
            Phase::Startup | Phase::ProbeRtt => {}
        }
    }

    fn advance_up(&mut self, now: Instant, acked: &Acked) {
        if let Some(carried) = acked.in_flight_then {
            self.bounds.carried(carried as f64);
        }
        let limit = self.bounds.inflight_long();
        if self.window as f64 >= limit {
            // Doubles the raise each round trip, from one packet (`BBRRaiseInflightLongtermSlope`).
            let doubled = 1_u64 << (self.rounds - self.phase_round).min(30);
            let raise = acked.bytes as f64 * (doubled * self.mtu) as f64 / limit;
            self.bounds.raise(raise);
        }
        let elapsed = now.saturating_duration_since(self.phase_started);
        if acked.round_ended {
            self.full_pipe.round_ended(self.round_before, false);
        }
        let pushed = self.delivery.in_flight() as f64 >= UP_GAIN * self.bdp();
        let held_back = self.window as f64 >= limit;
        if self.full_pipe.is_flat() && (pushed || !held_back) && Some(elapsed) > self.min_rtt.get()
        {
            self.enter_down(now);
        }
    }

    fn is_probe_due(&self, now: Instant) -> bool {
        let packets = bytes(self.bdp()) / self.mtu.max(1);
        self.cycle.is_over(now, self.rounds, packets)
    }

    /// Measures the shortest round trip anew when it is old.
    fn probe_rtt(&mut self, now: Instant, expired: bool, round_ended: bool) {
        if self.phase != Phase::ProbeRtt {
            if expired && self.filled_pipe && self.share.is_none() {
                self.probe_rtt_until = None;
                self.enter(Phase::ProbeRtt, now);
            }
            return;
        }
        match self.probe_rtt_until {
            None => {
                if self.delivery.in_flight() <= self.probe_rtt_window() {
                    self.probe_rtt_until = Some(now + PROBE_RTT_TIME);
                    self.phase_round = self.rounds;
                }
            }
            Some(until) => {
                if now >= until && round_ended && self.rounds > self.phase_round {
                    self.min_rtt.refreshed(now);
                    self.bounds.probe();
                    self.cycle.start(now, self.rounds);
                    self.enter(Phase::Cruise, now);
                }
            }
        }
    }

    fn probe_rtt_window(&self) -> u64 {
        bytes(self.bdp() * PROBE_RTT_BDPS).max(self.min_window())
    }

    /// Bytes that are in flight on top of the rate: bursts, and acknowledgements in lumps.
    fn allowance(&self) -> f64 {
        let burst = (self.bandwidth() * BURST.as_secs_f64()).max(2.0 * self.mtu as f64);
        self.aggregation.get().max(burst)
    }

    /// The window that the model and the phase ask for.
    fn target(&self) -> f64 {
        let allowance = self.allowance();
        let target = match self.phase {
            Phase::ProbeRtt => return self.probe_rtt_window() as f64,
            Phase::Share => {
                let least = self.window_at(SHARE_FLOOR);
                return self.share.as_ref().map_or(least, |cubic| least.max(cubic.window() as f64));
            }
            Phase::Drain => self.bdp(),
            Phase::Down => return DOWN_GAIN * self.bdp(),
            Phase::Startup | Phase::Refill => self.window_at(1.0) + allowance,
            Phase::Cruise => self.window_at(CRUISE_GAIN) + allowance,
            Phase::Up => self.window_at(UP_GAIN) + allowance,
        };
        let long = match self.phase {
            Phase::Refill | Phase::Up => self.bounds.inflight_long(),
            _ => self.bounds.with_headroom(),
        };
        target.min(long).min(self.bounds.inflight_short())
    }

    fn set_window(&mut self, acked: u64, app_limited: bool) {
        let grown = self.window.saturating_add(acked);
        self.window = if self.filled_pipe {
            bytes(self.target()).min(grown)
        } else if app_limited
            || (self.full_pipe.is_flat() && self.window as f64 > MAX_BDPS * self.bdp())
        {
            self.window
        } else {
            grown
        };
        self.window = self.window.max(self.min_window());
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.delivery.on_sent(now, bytes, self.srtt.unwrap_or_default());
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.delivery.on_ack(sent, bytes);
        if self.phase == Phase::Share
            && let Some(cubic) = &mut self.share
        {
            cubic.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let srtt = self.srtt.unwrap_or_default();
        let shortest = self.min_rtt.get().unwrap_or_default();
        let Some(acked) = self.delivery.on_end_acks(now, in_flight, app_limited, srtt, shortest)
        else {
            return;
        };
        self.srtt = Some(match self.srtt {
            Some(srtt) => (srtt * 7 + acked.rtt) / 8,
            None => acked.rtt,
        });
        self.round.rtt = Some(self.round.rtt.map_or(acked.rtt, |rtt| rtt.min(acked.rtt)));
        let expired = self.min_rtt.update(now, acked.rtt);
        if let Some(rate) = &acked.rate {
            self.bandwidth.update(rate);
            self.round.bandwidth = self.round.bandwidth.max(rate.bytes_per_second);
        }
        self.aggregation.update(now, self.rounds, acked.bytes, self.bandwidth(), self.window);
        if acked.round_ended {
            self.end_round(now, app_limited);
        }
        self.advance(now, &acked);
        self.probe_rtt(now, expired, acked.round_ended);
        self.set_window(acked.bytes, app_limited);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let group = self.delivery.on_lost(sent, lost_bytes);
        self.round.losses = self.round.losses.saturating_add(1);
        self.round.marked |= lost_bytes == 0;
        if let Some(group) = group
            && self.judging
        {
            let lost = self.delivery.lost().saturating_sub(group.lost);
            if lost_bytes == 0 || Bounds::too_much(group.in_flight, lost, self.mtu) {
                // What was in flight when the tolerable part of it had been lost.
                let in_flight = group.in_flight.saturating_sub(lost_bytes) as f64;
                let target = (self.bandwidth() * self.srtt.unwrap_or_default().as_secs_f64())
                    .min(self.window as f64);
                self.bounds.found(in_flight, target);
                self.judging = false;
                self.bandwidth.advance();
                if self.phase == Phase::Up {
                    self.enter_down(now);
                }
            }
        }
        if self.is_queued()
            && let Some(cubic) = &mut self.share
        {
            cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
        if is_persistent_congestion {
            // Nothing came back for several round trips: the model is of a path that is gone.
            self.window = self.min_window();
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.window = self.window.max(self.min_window());
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window;
        metrics.pacing_rate = Some(bytes(self.bandwidth() * 8.0));
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A float of the model as whole bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what a window of too many bytes should do"
)]
fn bytes(value: f64) -> u64 {
    value as u64
}
