//! How good the secrets are, as far as that can be measured.

use super::Context;
use crate::{random, stretch::Cost};

/// Bits of guessing and stretching together that count as full strength.
const FULL_BITS: f64 = 80.0;
/// Envelopes in an epoch that count as used up: NIST SP 800-38D's limit for random nonces (section
/// 8.3). Every envelope has a key of its own, so nothing breaks there; it is a time to look up.
const ENVELOPES: f64 = 4_294_967_296.0;
/// Bytes in an epoch that count as used up: 2^50.
const BYTES: f64 = 1_125_899_906_842_624.0;

/// A word for a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntropyStatus {
    /// 0.9 and more.
    Excellent,
    /// 0.7 and more.
    Good,
    /// 0.5 and more.
    Fair,
    /// Less.
    Poor,
}

impl EntropyStatus {
    fn of(score: f64) -> Self {
        match score {
            score if score >= 0.9 => Self::Excellent,
            score if score >= 0.7 => Self::Good,
            score if score >= 0.5 => Self::Fair,
            _ => Self::Poor,
        }
    }

    /// The word, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Excellent => "excellent",
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
        }
    }
}

impl std::fmt::Display for EntropyStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be said about a context's secrets. Scores lie from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntropyHealth {
    /// The smaller of [`Self::strength`] and [`Self::freshness`].
    pub quality_score: f64,
    /// A word for [`Self::quality_score`].
    pub status: EntropyStatus,
    /// Strength of the seed, or of the weakest password where there is no seed: bits of guessing
    /// (by zxcvbn, for phrases) and of stretching, of 80. No call improves it: a weak seed stays
    /// weak.
    pub strength: f64,
    /// 0 when the random source failed its tests, otherwise the share of the epoch's use that is
    /// left. [`Context::update`] brings it back to 1.
    pub freshness: f64,
    /// Strength of the weakest password that was used for sealing, on the same scale.
    pub password_strength: Option<f64>,
    /// Whether the random source passes the tests of NIST SP 800-90B, which find only one that
    /// repeats itself.
    pub random_source_ok: bool,
    /// Envelopes sealed in this epoch.
    pub envelopes: u64,
    /// Bytes sealed in this epoch.
    pub bytes: u64,
    /// What could be done, if anything should.
    pub advice: Option<&'static str>,
}

/// log10 of the guesses that `secret` takes.
pub(super) fn guesses_log10(secret: &[u8]) -> f64 {
    match std::str::from_utf8(secret) {
        Ok(text) => zxcvbn::zxcvbn(text, &[]).guesses_log10(),
        // Not a text, so not a phrase: as many guesses as it has different bytes.
        Err(_) => {
            let mut seen = [false; 256];
            for byte in secret {
                if let Some(seen) = seen.get_mut(usize::from(*byte)) {
                    *seen = true;
                }
            }
            seen.iter().filter(|seen| **seen).map(|_| 256_f64.log10()).sum()
        }
    }
}

/// Strength of a secret that takes so many guesses, each of which costs a stretch.
fn strength(guesses_log10: f64, cost: Cost) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 2^20")]
    let work = (cost.kib() as f64 * f64::from(cost.passes())).log2();
    ((guesses_log10 * std::f64::consts::LOG2_10 + work) / FULL_BITS).min(1.0)
}

impl Context {
    /// Remembers how weak the weakest password is.
    pub(super) fn note_password(&self, password: &[u8]) {
        let guesses = guesses_log10(password);
        let mut moving = self.moving();
        let weakest = moving.weakest_password.map_or(guesses, |weakest| weakest.min(guesses));
        moving.weakest_password = Some(weakest);
    }

    /// Measures seed, passwords and randomness.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn entropy_health(&self) -> EntropyHealth {
        let random_source_ok = random::bytes::<64>().is_ok();
        let (envelopes, bytes, weakest) = {
            let moving = self.moving();
            (moving.envelopes, moving.bytes, moving.weakest_password)
        };
        let password_strength = weakest.map(|guesses| strength(guesses, self.cost));
        let own = match (self.seeded, self.seed_guesses) {
            (true, Some(guesses)) => strength(guesses, self.cost),
            (true, None) => 1.0,
            (false, _) => password_strength.unwrap_or(1.0),
        };
        let used = (envelopes as f64 / ENVELOPES).max(bytes as f64 / BYTES).min(1.0);
        let freshness = if random_source_ok { 1.0 - used } else { 0.0 };
        let quality_score = own.min(freshness);
        let advice = if !random_source_ok {
            Some("the random source repeats itself: make no secrets on this machine")
        } else if own < 0.7 {
            Some("the seed can be guessed: make one with `stt seed new`, or use a longer phrase")
        } else if freshness < 0.7 {
            Some("much was sealed in this epoch: call update()")
        } else {
            None
        };
        EntropyHealth {
            quality_score,
            status: EntropyStatus::of(quality_score),
            strength: own,
            freshness,
            password_strength,
            random_source_ok,
            envelopes,
            bytes,
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, SealOptions};

    fn health(seed: &str) -> EntropyHealth {
        Context::builder(seed).lattice(16, 1).build().unwrap().entropy_health()
    }

    #[test]
    fn better_seeds_score_higher_and_keys_score_full() {
        let weak = health("password");
        let phrase = health("velvet turnip ocean quarrel 77 lantern");
        assert!(weak.quality_score < 0.5, "{weak:?}");
        assert_eq!(weak.status, EntropyStatus::Poor);
        assert!(weak.advice.is_some());
        assert!(phrase.quality_score > weak.quality_score);
        let key = Context::from_key(Key::generate().unwrap()).unwrap().entropy_health();
        assert_eq!((key.quality_score, key.status), (1.0, EntropyStatus::Excellent));
        assert_eq!(key.advice, None);
        assert!(guesses_log10(&[0xff; 32]) < 3.0);
    }

    #[test]
    fn update_restores_freshness_and_not_strength() {
        let context = Context::builder("password").lattice(16, 1).build().unwrap();
        context.moving().envelopes = 1 << 31;
        let before = context.entropy_health();
        assert_eq!(before.freshness, 0.5);
        context.update();
        let after = context.entropy_health();
        assert_eq!(after.freshness, 1.0);
        assert_eq!(after.strength, before.strength);
        assert_eq!(context.epoch(), 1);
    }

    #[test]
    fn the_weakest_password_is_remembered() {
        let context = Context::seedless().lattice(16, 1).build().unwrap();
        assert_eq!(context.entropy_health().password_strength, None);
        let seal = |password: &str| {
            context.seal("x", &SealOptions::new().password(password)).unwrap();
            context.entropy_health().strength
        };
        let strong = seal("velvet turnip ocean quarrel 77 lantern");
        let weak = seal("123456");
        assert!(weak < strong);
        assert_eq!(seal("velvet turnip ocean quarrel 77 lantern"), weak);
    }
}
