//! What loss has taught about how much the path holds.

/// Share of what was in flight that may be lost before it means that too much was in flight
/// (`draft-ietf-ccwg-bbr`: `BBRLossThresh`).
pub(super) const LOSS_THRESHOLD: f64 = 0.02;

/// What remains of a bound after a round trip that proved it too high (`BBRBeta`). Cubic's too.
pub(super) const BETA: f64 = 0.7;

/// Share of the proven volume left free for others while cruising (`BBRHeadroom`).
pub(super) const HEADROOM: f64 = 0.15;

/// A long-term bound on the bytes in flight, found by probing, and short-term ones on bandwidth
/// and bytes in flight, which last until the next probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    inflight_long: f64,
    inflight_short: f64,
    bandwidth_short: f64,
}

impl Bounds {
    /// Nothing learnt: no bound.
    pub(super) const NONE: Self = Self {
        inflight_long: f64::INFINITY,
        inflight_short: f64::INFINITY,
        bandwidth_short: f64::INFINITY,
    };

    /// Bytes that may be in flight at all; infinite if unknown.
    pub(super) const fn inflight_long(&self) -> f64 {
        self.inflight_long
    }

    /// Bytes that may be in flight until the next probe.
    pub(super) const fn inflight_short(&self) -> f64 {
        self.inflight_short
    }

    /// `bandwidth`, as far as it may be used until the next probe.
    pub(super) const fn bandwidth(&self, bandwidth: f64) -> f64 {
        self.bandwidth_short.min(bandwidth)
    }

    /// The long-term bound leaving room for others.
    pub(super) fn with_headroom(&self) -> f64 {
        self.inflight_long * (1.0 - HEADROOM)
    }

    /// Whether losing `lost` of `in_flight` bytes, in packets of `mtu`, means that it was too much.
    ///
    /// Random loss comes in clusters. Two standard deviations on top of the threshold keep a path
    /// that loses 1 % from being taken for a full one, which the draft's bare threshold does to
    /// paths of some hundred packets.
    pub(super) fn too_much(in_flight: u64, lost: u64, mtu: u64) -> bool {
        let mtu = mtu.max(1) as f64;
        let tolerated = in_flight as f64 / mtu * LOSS_THRESHOLD;
        lost as f64 / mtu > tolerated + 2.0 * tolerated.sqrt()
    }

    /// Probing found the limit at `in_flight`; never below what `target` leaves after one cut.
    pub(super) fn found(&mut self, in_flight: f64, target: f64) {
        self.inflight_long = in_flight.max(target * BETA);
    }

    /// Probing carried `in_flight` without trouble.
    pub(super) fn carried(&mut self, in_flight: f64) {
        if self.inflight_long.is_finite() {
            self.inflight_long = self.inflight_long.max(in_flight);
        }
    }

    /// The path is being probed for more: raises a known limit by `bytes`.
    pub(super) fn raise(&mut self, bytes: f64) {
        self.inflight_long += bytes;
    }

    /// A round trip that was not probing met congestion. What it delivered all the same is kept.
    pub(super) fn congested(
        &mut self,
        bandwidth: f64,
        bandwidth_latest: f64,
        window: f64,
        inflight_latest: f64,
    ) {
        self.bandwidth_short = bandwidth_latest.max(self.bandwidth(bandwidth) * BETA);
        self.inflight_short = inflight_latest.max(self.inflight_short.min(window) * BETA);
    }

    /// A probe begins: the short-term bounds end.
    pub(super) const fn probe(&mut self) {
        self.inflight_short = f64::INFINITY;
        self.bandwidth_short = f64::INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_and_chance_are_the_line() {
        let packet = 1_000;
        assert!(!Bounds::too_much(10_000 * packet, 200 * packet, packet));
        assert!(Bounds::too_much(10_000 * packet, 230 * packet, packet));
        assert!(!Bounds::too_much(50 * packet, 3 * packet, packet), "a cluster");
        assert!(Bounds::too_much(50 * packet, 4 * packet, packet));
    }

    #[test]
    fn a_limit_is_found_raised_and_never_cut_twice_at_once() {
        let mut bounds = Bounds::NONE;
        bounds.carried(1.0);
        assert!(bounds.inflight_long().is_infinite(), "carrying a byte limits nothing");
        bounds.found(10.0, 100.0);
        assert_eq!(bounds.inflight_long(), 70.0);
        bounds.found(90.0, 100.0);
        bounds.carried(95.0);
        bounds.raise(5.0);
        assert_eq!(bounds.inflight_long(), 100.0);
        assert_eq!(bounds.with_headroom(), 85.0);
    }

    #[test]
    fn congestion_is_forgotten_by_the_next_probe() {
        let mut bounds = Bounds::NONE;
        bounds.congested(100.0, 60.0, 1000.0, 900.0);
        assert_eq!(bounds.bandwidth(100.0), 70.0);
        assert_eq!(bounds.inflight_short(), 900.0, "what was delivered is kept");
        bounds.congested(100.0, 10.0, 1000.0, 100.0);
        assert_eq!(bounds.bandwidth(100.0), 49.0);
        assert_eq!(bounds.inflight_short(), 630.0);
        bounds.probe();
        assert_eq!(bounds.bandwidth(100.0), 100.0);
        assert!(bounds.inflight_short().is_infinite());
    }
}
