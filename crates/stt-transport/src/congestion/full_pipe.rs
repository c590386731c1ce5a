//! Whether sending faster still delivers faster: how Startup knows that the pipe is full.

/// Round trips without growth after which the pipe is full.
const ROUNDS: u32 = 3;

/// Detects that bandwidth stopped growing.
#[derive(Clone, Copy, Debug)]
pub(super) struct FullPipe {
    growth: f64,
    best: f64,
    flat_rounds: u32,
}

impl FullPipe {
    /// `growth` within a round trip counts as growth.
    pub(super) const fn new(growth: f64) -> Self {
        Self { growth, best: 0.0, flat_rounds: 0 }
    }

    /// Starts over.
    pub(super) fn reset(&mut self, growth: f64) {
        *self = Self::new(growth);
    }

    /// Whether the last round trip brought no growth.
    pub(super) const fn is_flat(&self) -> bool {
        self.flat_rounds > 0
    }

    /// A round trip ended with this bandwidth estimate; true once the pipe is full.
    pub(super) fn round_ended(&mut self, bandwidth: f64, app_limited: bool) -> bool {
        if app_limited {
            return false;
        }
        if bandwidth >= self.best * self.growth {
            self.best = bandwidth;
            self.flat_rounds = 0;
        } else {
            self.flat_rounds = self.flat_rounds.saturating_add(1);
        }
        self.flat_rounds >= ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_flat_rounds_are_full() {
        let mut pipe = FullPipe::new(1.25);
        for bandwidth in [1.0, 2.0, 4.0, 5.0] {
            assert!(!pipe.round_ended(bandwidth, false));
            assert!(!pipe.is_flat());
        }
        assert!(!pipe.round_ended(5.1, false));
        assert!(pipe.is_flat());
        assert!(!pipe.round_ended(5.2, true), "a slow application proves nothing");
        assert!(!pipe.round_ended(5.2, false));
        assert!(pipe.round_ended(5.3, false));
        pipe.reset(1.25);
        assert!(!pipe.round_ended(5.3, false));
    }
}
