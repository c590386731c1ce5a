//! The bandwidth of the path: the largest delivery rate seen in this and the last probing cycle.

use super::delivery_rate::Rate;

/// Windowed maximum of delivery rates; the window is two probing cycles
/// (`draft-ietf-ccwg-bbr`, "BBR.max_bw": `MaxBwFilterLen` = 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxBandwidth {
    last_cycle: f64,
    this_cycle: f64,
}

impl MaxBandwidth {
    /// Bytes a second; 0 before the first sample.
    pub(super) const fn get(&self) -> f64 {
        self.last_cycle.max(self.this_cycle)
    }

    /// Takes a sample. One taken while the application had too little to send says how fast the
    /// application was, not the path, and counts only where it exceeds what is known.
    pub(super) fn update(&mut self, rate: &Rate) {
        if rate.bytes_per_second > 0.0 && (!rate.app_limited || rate.bytes_per_second >= self.get())
        {
            self.this_cycle = self.this_cycle.max(rate.bytes_per_second);
        }
    }

    /// A probing cycle ended: what was learnt before it is forgotten. A cycle without a single
    /// sample (a quiet application) forgets nothing.
    pub(super) fn advance(&mut self) {
        if self.this_cycle > 0.0 {
            self.last_cycle = self.this_cycle;
            self.this_cycle = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bytes_per_second: f64, app_limited: bool) -> Rate {
        Rate { bytes_per_second, app_limited }
    }

    #[test]
    fn remembers_two_cycles() {
        let mut max = MaxBandwidth::default();
        max.update(&rate(10.0, false));
        max.update(&rate(7.0, false));
        assert_eq!(max.get(), 10.0);
        max.advance();
        max.update(&rate(6.0, false));
        assert_eq!(max.get(), 10.0, "the last cycle still counts");
        max.advance();
        assert_eq!(max.get(), 6.0, "the one before it does not");
        max.advance();
        max.advance();
        assert_eq!(max.get(), 6.0, "silence forgets nothing");
    }

    #[test]
    fn a_slow_application_is_not_a_slow_path() {
        let mut max = MaxBandwidth::default();
        max.update(&rate(10.0, false));
        max.advance();
        max.update(&rate(1.0, true));
        max.advance();
        assert_eq!(max.get(), 10.0);
        max.update(&rate(12.0, true));
        assert_eq!(max.get(), 12.0, "but a fast one proves a faster path");
    }
}
