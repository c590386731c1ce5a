//! Hiding how long a value is.

/// Least bytes of a padded value: up to here all lengths look alike.
const MIN_PADDED: u64 = 256;

/// The length to which `len` bytes are padded: Padmé (Nikitin et al., "Reducing Metadata Leakage
/// from Encrypted Files and Communication with PURBs", PoPETs 2019, section 4), with a minimum.
///
/// Only about log2(log2(len)) bits of the length stay significant; the cost is at most 6 %, and
/// less the longer the value is (3 % at 1 MiB). Powers of two cost nothing.
pub(crate) fn padded_len(len: u64) -> u64 {
    if len <= MIN_PADDED {
        return MIN_PADDED;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - significant)) - 1;
    len.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_lengths() {
        for (len, padded) in [
            (0, 256),
            (1, 256),
            (256, 256),
            (257, 272),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, 1_081_344),
        ] {
            assert_eq!(padded_len(len), padded, "{len}");
        }
    }

    proptest! {
        #[test]
        fn padding_is_small_monotonous_and_stable(len in 257u64..=crate::seal::MAX_LEN) {
            let padded = padded_len(len);
            prop_assert!(padded >= len);
            prop_assert!((padded - len) * 16 <= len, "{padded}");
            prop_assert_eq!(padded_len(padded), padded);
            prop_assert!(padded_len(len - 1) <= padded);
        }
    }
}
