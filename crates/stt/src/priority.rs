//! How urgent a message is, 0 to 1000.
//!
//! Set by the caller, or adaptive: [`AdaptivePriority`] watches what is sent and gives each content
//! a [`PriorityReport`], in which every part of the decision can be read.
//!
//! ```
//! use std::time::Instant;
//!
//! use stt::{ContentId, priority::{AdaptivePriority, Surroundings}};
//!
//! let (mut adaptive, now) = (AdaptivePriority::new(), Instant::now());
//! let (news, old) = (ContentId::of(b"news"), ContentId::of(b"old"));
//! let congested = Surroundings { congestion: 1.0, affinity: 0.5 };
//! adaptive.assess(&old, congested, now);
//! let again = adaptive.assess(&old, congested, now); // It was sent before.
//! let first = adaptive.assess(&news, congested, now);
//! assert!(first.priority > again.priority);
//! ```
//!
//! [`StreamOptions::adaptive_priority`](crate::StreamOptions::adaptive_priority) lets a stream do
//! this by itself.

use std::time::{Duration, Instant};

use stt_transport::internal::Lru;

use crate::ContentId;

/// How urgent, 0 (last) to 1000 (first). The default is 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u16);

/// A priority above 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority is 0 to 1000, not {got}")]
pub struct PriorityError {
    got: u16,
}

impl stc::Coded for PriorityError {
    fn code(&self) -> &'static str {
        "priority.out_of_range"
    }

    fn retry_helps(&self) -> bool {
        false
    }
}

impl Priority {
    /// First of all.
    pub const HIGHEST: Self = Self(1000);
    /// After everything else.
    pub const LOWEST: Self = Self(0);

    /// That priority.
    ///
    /// # Errors
    /// [`PriorityError`] above 1000.
    pub const fn new(value: u16) -> Result<Self, PriorityError> {
        if value > 1000 { Err(PriorityError { got: value }) } else { Ok(Self(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number as the QUIC engine orders streams: higher goes first, and 0 is where streams
    /// begin.
    pub(crate) fn engine_order(self) -> i32 {
        i32::from(self.0) - i32::from(Self::default().0)
    }

    pub(crate) fn from_engine_order(order: i32) -> Self {
        let value = (order + i32::from(Self::default().0)).clamp(0, 1000);
        Self(u16::try_from(value).unwrap_or_default())
    }

    /// The priority nearest to `share` of 1000.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1000 before the cast"
    )]
    fn from_share(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * 1000.0).round() as u16)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(500)
    }
}

impl TryFrom<u16> for Priority {
    type Error = PriorityError;

    fn try_from(value: u16) -> Result<Self, PriorityError> {
        Self::new(value)
    }
}

/// What the path and the session look like when a priority is asked for. Each is 0 to 1; values
/// outside are clamped, and what is not a number counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// How full the path is: the share of the round trip that is spent in queues.
    pub congestion: f64,
    /// How likely the session's peer wants this content: its hit ratio in the
    /// [`crate::affinity::AffinityPool`].
    pub affinity: f64,
}

/// A priority and where it came from. The parts are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PriorityReport {
    /// The result.
    pub priority: Priority,
    /// 1 for a content never sent before, 1/n when it is sent for the n-th time.
    pub uniqueness: f64,
    /// 1 for a content accessed right now, halved with each [`AdaptivePriority::half_life`]; 0 for
    /// one that was never accessed before.
    pub recency: f64,
    /// As given.
    pub congestion: f64,
    /// As given.
    pub affinity: f64,
}

/// Makes priorities from content uniqueness, recency of access, congestion and affinity.
///
/// The merit of a content is `0.5 * uniqueness + 0.3 * recency + 0.2 * affinity`. On an idle path
/// there is nothing to decide, so merits are drawn towards the middle; the fuller the path, the
/// wider they spread: `priority = 1000 * (0.5 + (merit - 0.5) * (0.2 + 0.8 * congestion))`.
///
/// Remembers at most [`Self::MAX_CONTENTS`] contents; one that was forgotten counts as new.
#[derive(Debug)]
pub struct AdaptivePriority {
    seen: Lru<ContentId, Seen>,
    half_life: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    times: u32,
    accessed: Option<Instant>,
}

impl AdaptivePriority {
    /// Contents remembered, at most.
    pub const MAX_CONTENTS: usize = 8_192;
    /// After this time without access the recency is halved, when nothing else is said.
    pub const DEFAULT_HALF_LIFE: Duration = Duration::from_secs(60);

    /// With [`Self::DEFAULT_HALF_LIFE`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_half_life(Self::DEFAULT_HALF_LIFE)
    }

    /// With another half-life of recency, at least a millisecond.
    #[must_use]
    pub fn with_half_life(half_life: Duration) -> Self {
        let half_life = half_life.max(Duration::from_millis(1));
        Self { seen: Lru::new(Self::MAX_CONTENTS), half_life }
    }

    /// After this time without access the recency is halved.
    #[must_use]
    pub const fn half_life(&self) -> Duration {
        self.half_life
    }

    /// Notes that a content was read or asked for.
    pub fn accessed(&mut self, content: &ContentId, now: Instant) {
        let seen = self.seen.touch(*content, || Seen { times: 0, accessed: None });
        seen.accessed = Some(now);
    }

    /// The priority with which to send a content now; counts as sending it once.
    pub fn assess(
        &mut self,
        content: &ContentId,
        around: Surroundings,
        now: Instant,
    ) -> PriorityReport {
        let seen = self.seen.touch(*content, || Seen { times: 0, accessed: None });
        seen.times = seen.times.saturating_add(1);
        let uniqueness = 1.0 / f64::from(seen.times);
        let recency = seen.accessed.map_or(0.0, |at| {
            let age = now.saturating_duration_since(at).as_secs_f64();
            (-age / self.half_life.as_secs_f64()).exp2()
        });
        let share = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        let (congestion, affinity) = (share(around.congestion), share(around.affinity));
        let merit = 0.5 * uniqueness + 0.3 * recency + 0.2 * affinity;
        let spread = 0.2 + 0.8 * congestion;
        let priority = Priority::from_share(0.5 + (merit - 0.5) * spread);
        PriorityReport { priority, uniqueness, recency, congestion, affinity }
    }
}

impl Default for AdaptivePriority {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(byte: u8) -> ContentId {
        ContentId::from_bytes([byte; 32])
    }

    const FULL: Surroundings = Surroundings { congestion: 1.0, affinity: 0.5 };

    #[test]
    fn a_priority_is_0_to_1000() {
        assert_eq!(Priority::new(1000), Ok(Priority::HIGHEST));
        assert_eq!(Priority::new(1001), Err(PriorityError { got: 1001 }));
        assert_eq!(Priority::default().get(), 500);
    }

    #[test]
    fn each_part_moves_it_the_documented_way() {
        let now = Instant::now();
        let mut adaptive = AdaptivePriority::new();
        let first = adaptive.assess(&content(1), FULL, now);
        let again = adaptive.assess(&content(1), FULL, now);
        assert_eq!((first.uniqueness, again.uniqueness), (1.0, 0.5));
        assert!(again.priority < first.priority);

        adaptive.accessed(&content(2), now);
        let fresh = adaptive.assess(&content(2), FULL, now);
        assert!(fresh.priority > first.priority);
        let mut later = AdaptivePriority::new();
        later.accessed(&content(2), now);
        let stale = later.assess(&content(2), FULL, now + AdaptivePriority::DEFAULT_HALF_LIFE);
        assert!((stale.recency - 0.5).abs() < 1e-9);

        let far = Surroundings { affinity: 0.0, ..FULL };
        assert!(adaptive.assess(&content(3), far, now).priority < first.priority);
    }

    #[test]
    fn an_idle_path_draws_priorities_together() {
        let now = Instant::now();
        let spread = |congestion| {
            let around = Surroundings { congestion, affinity: 0.5 };
            let mut adaptive = AdaptivePriority::new();
            adaptive.accessed(&content(1), now);
            let high = adaptive.assess(&content(1), around, now).priority.get();
            for _ in 0..9 {
                adaptive.assess(&content(2), around, now);
            }
            high - adaptive.assess(&content(2), around, now).priority.get()
        };
        assert!(spread(1.0) > 4 * spread(0.0));
        assert!(spread(0.0) > 0);
    }

    #[test]
    fn nonsense_is_clamped() {
        let around = Surroundings { congestion: f64::NAN, affinity: f64::INFINITY };
        let report = AdaptivePriority::new().assess(&content(1), around, Instant::now());
        assert_eq!((report.congestion, report.affinity), (0.0, 1.0));
    }
}
