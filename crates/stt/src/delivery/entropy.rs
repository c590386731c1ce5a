//! A probability of arrival picked from the data itself.

use super::{DeliveryError, Probability, error::in_range};

/// How dense data is, 0 to 1: the Shannon entropy of its bytes over the most that so many bytes
/// could have.
///
/// The entropy is estimated from the frequencies of byte values, with the correction of Miller and
/// Madow (1955) for short data, and divided by 8 bits or, when there are fewer than 256 bytes, by
/// log2 of their number. Fewer than 2 bytes say nothing and count as dense.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts of bytes in a message are far below 2^52")]
pub fn density(data: &[u8]) -> f64 {
    if data.len() < 2 {
        return 1.0;
    }
    let mut counts = [0_usize; 256];
    for byte in data {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = data.len() as f64;
    let used = counts.iter().filter(|count| **count > 0);
    let entropy: f64 =
        used.clone().map(|count| *count as f64 / total).map(|share| -share * share.log2()).sum();
    let correction = (used.count() - 1) as f64 / (2.0 * total * std::f64::consts::LN_2);
    ((entropy + correction) / total.log2().min(8.0)).clamp(0.0, 1.0)
}

/// Which density gets which probability.
///
/// At `redundant` and below a message gets 0.7: what repeats itself can be guessed or is soon sent
/// again. At `dense` it gets 0.99, at density 1 it gets 0.999: nothing in it stands in for what
/// is lost. Between these points the probability rises in straight lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyThresholds {
    redundant: f64,
    dense: f64,
}

impl EntropyThresholds {
    /// Density at and below which data is redundant. English text has about 0.55 to 0.6.
    pub const DEFAULT_REDUNDANT: f64 = 0.5;
    /// Density at and above which data is dense. Compressed or encrypted data has 0.95 and more.
    pub const DEFAULT_DENSE: f64 = 0.9;
    /// Probability for redundant data.
    pub const LOWEST: f64 = 0.7;
    /// Probability at the threshold of dense data.
    pub const DENSE: f64 = 0.99;
    /// Probability at density 1.
    pub const HIGHEST: f64 = 0.999;

    /// Other thresholds, `0 <= redundant < dense <= 1`.
    ///
    /// # Errors
    /// [`DeliveryError::OutOfRange`].
    pub fn new(redundant: f64, dense: f64) -> Result<Self, DeliveryError> {
        let redundant = in_range("the threshold of redundant data", redundant, 0.0, 0.99)?;
        let dense = in_range("the threshold of dense data", dense, redundant + 0.01, 1.0)?;
        Ok(Self { redundant, dense })
    }

    /// The probability for this message.
    #[must_use]
    pub fn pick(&self, message: &[u8]) -> Probability {
        let density = density(message);
        let line = |from: (f64, f64), to: (f64, f64)| {
            from.1 + (to.1 - from.1) * (density - from.0) / (to.0 - from.0)
        };
        Probability::nearest(if density <= self.redundant {
            Self::LOWEST
        } else if density < self.dense {
            line((self.redundant, Self::LOWEST), (self.dense, Self::DENSE))
        } else if self.dense < 1.0 {
            line((self.dense, Self::DENSE), (1.0, Self::HIGHEST))
        } else {
            Self::HIGHEST
        })
    }
}

impl Default for EntropyThresholds {
    fn default() -> Self {
        Self { redundant: Self::DEFAULT_REDUNDANT, dense: Self::DEFAULT_DENSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..)).take(length).collect()
    }

    #[test]
    fn dense_data_must_arrive_whatever_its_length() {
        for length in [1, 2, 16, 64, 200, 256, 300, 1_000, 60_000] {
            let data = random(length);
            let picked = EntropyThresholds::default().pick(&data).get();
            assert!(picked >= 0.99, "{length} bytes: {picked}, density {}", density(&data));
        }
    }

    #[test]
    fn redundant_data_may_be_lost() {
        let text = "the quick brown fox jumps over the lazy dog again and again ".repeat(20);
        assert_eq!(EntropyThresholds::default().pick(&[0; 1_000]).get(), 0.7);
        let of_text = EntropyThresholds::default().pick(text.as_bytes()).get();
        assert!((0.7..0.9).contains(&of_text), "{of_text}");
    }

    #[test]
    fn thresholds_are_settable_and_checked() {
        let strict = EntropyThresholds::new(0.1, 0.2).unwrap();
        assert!(strict.pick(b"the quick brown fox jumps over it").get() >= 0.99);
        assert!(EntropyThresholds::new(0.9, 0.5).is_err());
        assert!(EntropyThresholds::new(f64::NAN, 0.5).is_err());
    }
}
