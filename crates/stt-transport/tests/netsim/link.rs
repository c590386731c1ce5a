//! One direction of a simulated link: rate, delay, a drop-tail queue, random loss.

use std::time::{Duration, Instant};

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// Bytes a second.
    pub rate: f64,
    /// One way.
    pub delay: Duration,
    /// Bytes that may wait.
    pub buffer: u64,
    /// Share of packets lost at random, 0 to 1.
    pub loss: f64,
}

/// How much waited in a queue, sampled every millisecond.
#[derive(Clone, Debug, Default)]
pub struct QueueStats {
    samples: Vec<u32>,
}

impl QueueStats {
    /// Mean bytes waiting.
    pub fn mean(&self) -> f64 {
        self.samples.iter().map(|&bytes| f64::from(bytes)).sum::<f64>()
            / self.samples.len().max(1) as f64
    }

    /// Bytes waiting, that were not exceeded for this share of the time.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let at = (sorted.len().saturating_sub(1)) as f64 * share;
        sorted.get(at as usize).copied().map_or(0.0, f64::from)
    }
}

/// One direction.
pub struct Link {
    config: LinkConfig,
    rng: fastrand::Rng,
    busy_until: Instant,
    sampled: Instant,
    overhead: u64,
    pub stats: QueueStats,
    /// Packets dropped because the queue was full.
    pub overflowed: u64,
    /// Packets carried.
    pub carried: u64,
}

impl Link {
    pub fn new(config: LinkConfig, now: Instant, seed: u64) -> Self {
        Self {
            config,
            rng: fastrand::Rng::with_seed(seed),
            busy_until: now,
            sampled: now,
            // IPv4 and UDP headers, so that goodput is honest about them.
            overhead: 28,
            stats: QueueStats::default(),
            overflowed: 0,
            carried: 0,
        }
    }

    fn waiting(&self, now: Instant) -> f64 {
        self.busy_until.saturating_duration_since(now).as_secs_f64() * self.config.rate
    }

    /// Forgets the samples so far.
    pub fn restart_stats(&mut self) {
        self.stats = QueueStats::default();
        self.overflowed = 0;
        self.carried = 0;
    }

    /// When a packet of `size` bytes offered at `now` arrives, or `None` if it is lost.
    pub fn offer(&mut self, now: Instant, size: usize) -> Option<Instant> {
        while self.sampled <= now {
            let waiting = self.waiting(self.sampled);
            self.stats.samples.push(waiting as u32);
            self.sampled += Duration::from_millis(1);
        }
        if self.config.loss > 0.0 && self.rng.f64() < self.config.loss {
            return None;
        }
        let size = size as u64 + self.overhead;
        if self.waiting(now) + size as f64 > self.config.buffer as f64 {
            self.overflowed += 1;
            return None;
        }
        self.carried += 1;
        let start = self.busy_until.max(now);
        self.busy_until = start + Duration::from_secs_f64(size as f64 / self.config.rate);
        Some(self.busy_until + self.config.delay)
    }
}
