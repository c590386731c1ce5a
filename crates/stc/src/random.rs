//! Random bytes from the operating system, watched for a source that is stuck.
//!
//! The two tests are those of NIST SP 800-90B, section 4.4, on bytes taken to hold 8 bits of
//! entropy each, with a false alarm once in 2^40 samples. They catch a source that repeats itself
//! and nothing else: a bad generator whose output looks random passes them.
//!
//! ```
//! let nonce: [u8; 24] = stc::random::bytes()?;
//! assert_ne!(nonce, stc::random::bytes()?);
//! # Ok::<(), stc::random::RandomError>(())
//! ```

use std::sync::{Mutex, PoisonError};

/// Why there are no random bytes. Nothing that needs a secret can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RandomError {
    /// The operating system refused.
    #[error("the operating system gave no random bytes")]
    Unavailable,
    /// What it gave repeats itself.
    #[error("the operating system's random bytes repeat themselves")]
    Stuck,
}

impl crate::Coded for RandomError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unavailable => "random.unavailable",
            Self::Stuck => "random.stuck",
        }
    }

    fn retry_helps(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<&'static str> {
        Some("this machine is not fit to make secrets until its random source works")
    }
}

/// Repetition count test: so many equal bytes in a row are an alarm. 1 + 40/8 (section 4.4.1).
const REPETITIONS: u32 = 6;
/// Adaptive proportion test: bytes in a window (section 4.4.2).
const WINDOW: u32 = 512;
/// So many of a window equal to its first byte are an alarm: the smallest number with a chance
/// below 2^-40 when 511 further bytes match with 1/256 each.
const PROPORTION: u32 = 20;
/// Bytes that are tested before the first is used (section 4.3 asks for 1,024 at least).
const START_UP: usize = 1024;

/// The continuous tests.
#[derive(Clone, Copy, Default)]
struct Watch {
    started: bool,
    last: u8,
    run: u32,
    reference: u8,
    matches: u32,
    seen: u32,
}

static WATCH: Mutex<Watch> =
    Mutex::new(Watch { started: false, last: 0, run: 0, reference: 0, matches: 0, seen: 0 });

impl Watch {
    /// Looks at bytes; false is an alarm.
    fn look(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            self.run = if self.run > 0 && byte == self.last { self.run + 1 } else { 1 };
            self.last = byte;
            if self.seen == 0 {
                self.reference = byte;
                self.matches = 0;
            }
            self.matches += u32::from(byte == self.reference);
            self.seen = (self.seen + 1) % WINDOW;
            if self.run >= REPETITIONS || self.matches >= PROPORTION {
                *self = Self::default();
                return false;
            }
        }
        true
    }
}

fn raw(out: &mut [u8]) -> Result<(), RandomError> {
    aws_lc_rs::rand::fill(out).map_err(|_| RandomError::Unavailable)
}

/// Fills `out` with random bytes.
///
/// # Errors
/// [`RandomError`] when the operating system refuses, or gives what repeats itself; the next call
/// then starts with the start-up test again.
pub fn fill(out: &mut [u8]) -> Result<(), RandomError> {
    raw(out)?;
    let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
    if !watch.started {
        let mut samples = [0; START_UP];
        raw(&mut samples)?;
        if !watch.look(&samples) {
            return Err(RandomError::Stuck);
        }
        watch.started = true;
    }
    if watch.look(out) { Ok(()) } else { Err(RandomError::Stuck) }
}

/// `N` random bytes.
///
/// # Errors
/// As [`fill`].
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_equal_bytes_are_an_alarm_and_five_are_not() {
        let mut watch = Watch::default();
        assert!(watch.look(&[1, 7, 7, 7, 7, 7, 2, 7, 7, 7, 7, 7]));
        assert!(!watch.look(&[7]));
        assert!(watch.look(&[7]), "starts anew");
    }

    #[test]
    fn a_byte_that_comes_too_often_is_an_alarm() {
        let window = |often: usize| {
            let mut bytes: Vec<u8> = (1..=250_u8).cycle().take(512).collect();
            bytes.iter_mut().step_by(3).take(often).for_each(|byte| *byte = 0);
            Watch::default().look(&bytes)
        };
        assert!(window(19));
        assert!(!window(20));
    }

    #[test]
    fn the_real_source_passes() {
        let mut out = vec![0; 1 << 20];
        assert_eq!(fill(&mut out), Ok(()));
    }
}
