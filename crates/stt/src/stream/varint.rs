//! Variable-length integers (RFC 9000, section 16): 1, 2, 4 or 8 bytes, up to 2^62 - 1.

use bytes::{Buf, BufMut};

/// The largest value.
pub(crate) const MAX: u64 = (1 << 62) - 1;
/// Most bytes of one.
pub(crate) const MAX_LEN: usize = 8;

/// Bytes that `value` takes.
pub(crate) const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`; values above [`MAX`] are cut to it, which no caller reaches.
pub(crate) fn put(out: &mut impl BufMut, value: u64) {
    let value = value.min(MAX);
    let bytes = value.to_be_bytes();
    let [.., c, d, e, f, g, h] = bytes;
    match len(value) {
        1 => out.put_u8(h),
        2 => out.put_slice(&[g | 0x40, h]),
        4 => out.put_slice(&[e | 0x80, f, g, h]),
        _ => {
            let [a, b, ..] = bytes;
            out.put_slice(&[a | 0xc0, b, c, d, e, f, g, h]);
        }
    }
}

/// Takes one from the front of `input`; `None` and nothing taken when it is not there in full.
pub(crate) fn take(input: &mut impl Buf) -> Option<u64> {
    let first = *input.chunk().first()?;
    let len = 1usize << (first >> 6);
    // The usual cases: a short length, all of it in the piece at hand.
    match (len, input.chunk()) {
        (1, _) => {
            input.advance(1);
            return Some(u64::from(first));
        }
        (2, [_, second, ..]) => {
            let value = u64::from(first & 0x3f) << 8 | u64::from(*second);
            input.advance(2);
            return Some(value);
        }
        _ if input.remaining() < len => return None,
        _ => {}
    }
    let mut value = u64::from(input.get_u8() & 0x3f);
    for _ in 1..len {
        value = (value << 8) | u64::from(input.get_u8());
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_rfc_9000_appendix_a1() {
        let cases: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in cases {
            assert_eq!(take(&mut &*bytes), Some(value));
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back_and_no_cut_is_taken(value in 0..=MAX) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            for cut in 0..out.len() {
                prop_assert_eq!(take(&mut &out[..cut]), None);
            }
            prop_assert_eq!(take(&mut &out[..]), Some(value));
        }
    }
}
