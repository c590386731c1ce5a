//! The choice per stream.

use std::time::Duration;

use super::{DeliveryError, EntropyThresholds, error::in_range};

/// How sure the messages of a stream arrive, and how late they may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Delivery {
    /// Every message arrives, in order, however long it takes, as long as the session lives.
    #[default]
    Reliable,
    /// A message that has not been acknowledged within this time of `send` is given up. Messages
    /// arrive whole or not at all, and may overtake each other.
    Deadline(Duration),
    /// Each message arrives with at least this probability without ever being sent again:
    /// Reed-Solomon repair packets sized from the loss that is measured on the path. May overtake.
    Probabilistic(Chance),
    /// One datagram, sent once. A message longer than a datagram is refused.
    Datagram,
}

/// Where the probability of [`Delivery::Probabilistic`] comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Chance {
    /// The caller states it.
    Stated(Probability),
    /// Picked for each message from its own Shannon entropy.
    ///
    /// **This shows through to an observer.** The number of packets of a message then depends on
    /// what is in it: who counts datagrams can tell dense data (compressed, encrypted) from
    /// redundant data (text, zeros). That is why it is never the default.
    FromEntropy(EntropyThresholds),
}

/// A probability of arrival, 0.5 to 0.99999.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// The smallest one that is worth a repair code.
    pub const MIN: f64 = 0.5;
    /// The largest one that a measurement of loss can support.
    pub const MAX: f64 = 0.99999;

    /// That probability.
    ///
    /// # Errors
    /// [`DeliveryError::OutOfRange`] outside of [`Self::MIN`] to [`Self::MAX`].
    pub fn new(value: f64) -> Result<Self, DeliveryError> {
        in_range("the probability of arrival", value, Self::MIN, Self::MAX).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The nearest one that is allowed.
    pub(super) const fn nearest(value: f64) -> Self {
        Self(value.clamp(Self::MIN, Self::MAX))
    }
}

impl Chance {
    /// The probability for this message.
    #[must_use]
    pub fn for_message(&self, message: &[u8]) -> Probability {
        match self {
            Self::Stated(probability) => *probability,
            Self::FromEntropy(thresholds) => thresholds.pick(message),
        }
    }
}

impl Delivery {
    /// Each message arrives with at least this probability.
    ///
    /// # Errors
    /// [`DeliveryError::OutOfRange`] as [`Probability::new`].
    pub fn probabilistic(value: f64) -> Result<Self, DeliveryError> {
        Ok(Self::Probabilistic(Chance::Stated(Probability::new(value)?)))
    }
}
