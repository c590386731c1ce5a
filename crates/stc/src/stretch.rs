//! Turning a phrase into a key with Argon2id (RFC 9106).
//!
//! ```
//! use stc::stretch::{Cost, stretch};
//!
//! let cost = Cost::new(16, 4)?; // 1 MiB, for a test; `Cost::DEFAULT` takes 96.
//! let key = stretch(b"orbit velvet cactus", b"salt of this use", cost)?;
//! assert!(key == stretch(b"orbit velvet cactus", b"salt of this use", cost)?);
//! assert!(key != stretch(b"orbit velvet cactus", b"salt of another", cost)?);
//! # Ok::<(), stc::stretch::StretchError>(())
//! ```

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroize;

use crate::Key;

/// How much memory and time one stretch costs.
///
/// The memory is `lattice_size² × depth` blocks of 1 KiB; the passes over it follow from that, so
/// that a small matrix is walked more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cost {
    lattice_size: u16,
    depth: u8,
}

/// Why a stretch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StretchError {
    /// The cost lies outside of what is safe (too cheap) or payable (too dear).
    #[error(
        "lattice size {lattice_size} with depth {depth} needs {kib} KiB; allowed are {} to {}",
        Cost::MIN_KIB,
        Cost::MAX_KIB
    )]
    Cost {
        /// Side of the matrix.
        lattice_size: u16,
        /// Layers of the matrix.
        depth: u8,
        /// Memory it would take.
        kib: u64,
    },
    /// The library refused, for instance because there was not enough memory.
    #[error("the phrase could not be stretched with {kib} KiB of memory")]
    Failed {
        /// Memory asked for.
        kib: u64,
    },
}

impl crate::Coded for StretchError {
    fn code(&self) -> &'static str {
        match self {
            Self::Cost { .. } => "stretch.cost",
            Self::Failed { .. } => "stretch.failed",
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl Cost {
    /// Least memory of one stretch, in KiB (the fast preset has 16 MiB; tests may go lower).
    pub const MIN_KIB: u64 = 256;
    /// Most memory of one stretch, in KiB: 1 GiB. A header that asks for more is refused.
    pub const MAX_KIB: u64 = 1 << 20;
    /// 64² × 4: 16 MiB.
    pub const FAST: Self = Self { lattice_size: 64, depth: 4 };
    /// 128² × 6: 96 MiB.
    pub const DEFAULT: Self = Self { lattice_size: 128, depth: 6 };
    /// 256² × 8: 512 MiB.
    pub const STRONG: Self = Self { lattice_size: 256, depth: 8 };

    /// A cost of one's own.
    ///
    /// # Errors
    /// [`StretchError::Cost`] unless the memory is [`Self::MIN_KIB`] to [`Self::MAX_KIB`].
    pub fn new(lattice_size: u16, depth: u8) -> Result<Self, StretchError> {
        let cost = Self { lattice_size, depth };
        let kib = cost.kib();
        if (Self::MIN_KIB..=Self::MAX_KIB).contains(&kib) {
            Ok(cost)
        } else {
            Err(StretchError::Cost { lattice_size, depth, kib })
        }
    }

    /// Side of the matrix.
    #[must_use]
    pub const fn lattice_size(self) -> u16 {
        self.lattice_size
    }

    /// Layers of the matrix.
    #[must_use]
    pub const fn depth(self) -> u8 {
        self.depth
    }

    /// Memory in KiB.
    #[must_use]
    pub fn kib(self) -> u64 {
        u64::from(self.lattice_size) * u64::from(self.lattice_size) * u64::from(self.depth)
    }

    /// Passes over the memory: 3, and 2 from 256 MiB on. Lanes are always 1, so that a stretch
    /// costs the same on every machine.
    #[must_use]
    pub fn passes(self) -> u32 {
        if self.kib() < 256 * 1024 { 3 } else { 2 }
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The key that belongs to `phrase` and `salt` at `cost`. `salt` has 8 bytes at least.
///
/// # Errors
/// [`StretchError::Failed`] when the salt is too short or the memory cannot be had.
pub fn stretch(phrase: &[u8], salt: &[u8], cost: Cost) -> Result<Key, StretchError> {
    let failed = StretchError::Failed { kib: cost.kib() };
    let kib = u32::try_from(cost.kib()).map_err(|_| failed)?;
    let params = Params::new(kib, cost.passes(), 1, Some(32)).map_err(|_| failed)?;
    let mut out = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(phrase, salt, &mut out)
        .map_err(|_| failed)?;
    let key = Key::from_bytes(out);
    out.zeroize();
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_documented_memory() {
        assert_eq!(Cost::FAST.kib(), 16 * 1024);
        assert_eq!(Cost::DEFAULT.kib(), 96 * 1024);
        assert_eq!(Cost::STRONG.kib(), 512 * 1024);
    }

    #[test]
    fn a_cost_out_of_range_is_refused_with_its_number() {
        assert_eq!(
            Cost::new(1, 1).unwrap_err(),
            StretchError::Cost { lattice_size: 1, depth: 1, kib: 1 }
        );
        assert!(Cost::new(u16::MAX, u8::MAX).is_err());
    }

    #[test]
    fn salt_and_cost_change_the_key() {
        let small = Cost::new(16, 1).unwrap();
        let other = Cost::new(16, 2).unwrap();
        let key = stretch(b"phrase", b"salt-one", small).unwrap();
        assert!(key == stretch(b"phrase", b"salt-one", small).unwrap());
        assert!(key != stretch(b"phrase", b"salt-two", small).unwrap());
        assert!(key != stretch(b"phrase", b"salt-one", other).unwrap());
        assert!(stretch(b"phrase", b"short", small).is_err());
    }
}
