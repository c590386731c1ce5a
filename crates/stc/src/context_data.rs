//! Data that a ciphertext is bound to, in one encoding only.

use std::collections::BTreeMap;

use crate::kdf;

/// A value of context data: what JSON knows, and bytes.
///
/// It is written as deterministic CBOR (RFC 8949, section 4.2.1), so that equal data gives equal
/// bytes whatever order a map was built in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ContextValue {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number, made by [`ContextValue::integer`].
    Integer(Integer),
    /// A floating-point number. Every not-a-number is the same value.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<ContextValue>),
    /// A map from names to values.
    Map(BTreeMap<String, ContextValue>),
}

/// A whole number that CBOR can hold without a tag: -2^64 to 2^64 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    negative: bool,
    /// The number, or -1 minus it when negative.
    argument: u64,
}

/// Deepest nesting that is encoded. Deeper lists and maps are refused by
/// [`ContextValue::within_limits`].
pub const MAX_DEPTH: usize = 32;

impl ContextValue {
    /// The whole number, if it lies within -2^64 to 2^64 - 1.
    #[must_use]
    pub fn integer(number: i128) -> Option<Self> {
        let negative = number < 0;
        let argument = if negative { -1 - number } else { number };
        let argument = u64::try_from(argument).ok()?;
        Some(Self::Integer(Integer { negative, argument }))
    }

    /// Whether lists and maps nest at most [`MAX_DEPTH`] deep.
    #[must_use]
    pub fn within_limits(&self) -> bool {
        fn fits(value: &ContextValue, left: usize) -> bool {
            match value {
                ContextValue::List(items) => {
                    left > 0 && items.iter().all(|item| fits(item, left - 1))
                }
                ContextValue::Map(map) => left > 0 && map.values().all(|item| fits(item, left - 1)),
                _ => true,
            }
        }
        fits(self, MAX_DEPTH)
    }

    /// The deterministic CBOR form.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0xf6),
            Self::Bool(false) => out.push(0xf4),
            Self::Bool(true) => out.push(0xf5),
            Self::Integer(Integer { negative: false, argument }) => head(out, 0, *argument),
            Self::Integer(Integer { negative: true, argument }) => head(out, 1, *argument),
            Self::Bytes(bytes) => {
                head(out, 2, length(bytes.len()));
                out.extend_from_slice(bytes);
            }
            Self::Text(text) => write_text(out, text),
            Self::List(items) => {
                head(out, 4, length(items.len()));
                for item in items {
                    item.write(out);
                }
            }
            Self::Map(map) => {
                head(out, 5, length(map.len()));
                // The order is that of the encoded keys: shorter texts first, then by byte.
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
                for (name, value) in entries {
                    write_text(out, name);
                    value.write(out);
                }
            }
            Self::Float(number) => write_float(out, *number),
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    head(out, 3, length(text.len()));
    out.extend_from_slice(text.as_bytes());
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Major type and argument in the shortest form (RFC 8949, section 3).
fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    if let Ok(byte) = u8::try_from(argument) {
        if byte < 24 {
            out.push(major | byte);
        } else {
            out.extend([major | 24, byte]);
        }
    } else if let Ok(short) = u16::try_from(argument) {
        out.push(major | 25);
        out.extend(short.to_be_bytes());
    } else if let Ok(word) = u32::try_from(argument) {
        out.push(major | 26);
        out.extend(word.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend(argument.to_be_bytes());
    }
}

/// The shortest of the three widths that keeps the value (RFC 8949, section 4.2.2).
fn write_float(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        out.extend([0xf9, 0x7e, 0x00]);
        return;
    }
    if let Some(half) = to_half(number) {
        out.push(0xf9);
        out.extend(half.to_be_bytes());
        return;
    }
    // Rounds; the comparison tells whether anything was lost.
    #[expect(clippy::cast_possible_truncation, reason = "checked by the comparison that follows")]
    let single = number as f32;
    if f64::from(single).to_bits() == number.to_bits() {
        out.push(0xfa);
        out.extend(single.to_bits().to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(number.to_bits().to_be_bytes());
    }
}

/// The half-precision bits of `number`, if they hold it exactly. Not for not-a-number.
fn to_half(number: f64) -> Option<u16> {
    let bits = number.to_bits();
    let sign = u16::try_from(bits >> 63).ok()? << 15;
    let exponent = i32::try_from((bits >> 52) & 0x7ff).ok()? - 1023;
    let fraction = bits & ((1 << 52) - 1);
    if bits << 1 == 0 {
        return Some(sign);
    }
    match exponent {
        1024 => Some(sign | 0x7c00),
        -14..=15 => {
            let kept = u16::try_from(fraction >> 42).ok()?;
            let biased = u16::try_from(exponent + 15).ok()?;
            (fraction.trailing_zeros() >= 42).then_some(sign | (biased << 10) | kept)
        }
        // Subnormal: the value is a multiple of 2^-24.
        -24..=-15 => {
            let drop = u32::try_from(28 - exponent).ok()?;
            let whole = fraction | (1 << 52);
            (whole.trailing_zeros() >= drop)
                .then(|| u16::try_from(whole >> drop).ok())
                .flatten()
                .map(|kept| sign | kept)
        }
        _ => None,
    }
}

impl From<bool> for ContextValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for ContextValue {
    fn from(value: i64) -> Self {
        Self::integer(i128::from(value)).unwrap_or(Self::Null)
    }
}

impl From<i32> for ContextValue {
    fn from(value: i32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<u64> for ContextValue {
    fn from(argument: u64) -> Self {
        Self::Integer(Integer { negative: false, argument })
    }
}

impl From<f64> for ContextValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for ContextValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for ContextValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for ContextValue {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<Vec<ContextValue>> for ContextValue {
    fn from(value: Vec<ContextValue>) -> Self {
        Self::List(value)
    }
}

/// What a message is bound to: whoever opens it must name the same data.
///
/// It is not stored in the envelope and it is no secret; it enters the key.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextData(ContextValue);

impl ContextData {
    /// A map with nothing in it yet.
    #[must_use]
    pub fn new() -> Self {
        Self(ContextValue::Map(BTreeMap::new()))
    }

    /// Any value. It may nest at most [`MAX_DEPTH`] deep.
    #[must_use]
    pub fn from_value(value: ContextValue) -> Option<Self> {
        value.within_limits().then_some(Self(value))
    }

    /// Adds a name and its value, in place of what the name had.
    ///
    /// It does not look at the depth: a value that nests deeper than [`MAX_DEPTH`] is encoded all the
    /// same, and programs that keep to the format need not take it. [`Self::from_value`] refuses one.
    #[must_use]
    pub fn with(self, name: impl Into<String>, value: impl Into<ContextValue>) -> Self {
        let mut map = match self.0 {
            ContextValue::Map(map) => map,
            _ => BTreeMap::new(),
        };
        map.insert(name.into(), value.into());
        Self(ContextValue::Map(map))
    }

    /// The deterministic CBOR form that is hashed.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        self.0.to_cbor()
    }

    /// What enters the key; no data at all counts as CBOR's null.
    pub(crate) fn digest(data: Option<&Self>) -> [u8; 32] {
        let cbor = data.map_or_else(|| ContextValue::Null.to_cbor(), Self::to_cbor);
        kdf::digest("stc v1 context data", &[&cbor])
    }
}

impl Default for ContextData {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(value: &ContextValue) -> String {
        value.to_cbor().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 8949, appendix A.
    #[test]
    fn numbers_are_as_short_as_the_standard_has_them() {
        let integers: [(i128, &str); 12] = [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (255, "18ff"),
            (256, "190100"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (18_446_744_073_709_551_615, "1bffffffffffffffff"),
            (-1, "20"),
            (-100, "3863"),
            (-1000, "3903e7"),
            (-18_446_744_073_709_551_616, "3bffffffffffffffff"),
        ];
        for (number, expected) in integers {
            assert_eq!(hex(&ContextValue::integer(number).unwrap()), expected, "{number}");
        }
        assert_eq!(ContextValue::integer(1 << 64), None);
        assert_eq!(ContextValue::integer(-(1 << 64) - 1), None);
        let floats = [
            (0.0, "f90000"),
            (-0.0, "f98000"),
            (1.0, "f93c00"),
            (1.1, "fb3ff199999999999a"),
            (1.5, "f93e00"),
            (65504.0, "f97bff"),
            (100_000.0, "fa47c35000"),
            (3.402_823_466_385_288_6e38, "fa7f7fffff"),
            (1.0e300, "fb7e37e43c8800759c"),
            (5.960_464_477_539_063e-8, "f90001"),
            (0.000_061_035_156_25, "f90400"),
            (-4.0, "f9c400"),
            (-4.1, "fbc010666666666666"),
            (f64::INFINITY, "f97c00"),
            (f64::NEG_INFINITY, "f9fc00"),
            (f64::NAN, "f97e00"),
        ];
        for (number, expected) in floats {
            assert_eq!(hex(&ContextValue::Float(number)), expected, "{number}");
        }
    }

    #[test]
    fn maps_are_sorted_by_their_encoded_keys() {
        let data = ContextData::new().with("bb", 1).with("a", 2).with("b", 3).with("aaa", true);
        let other = ContextData::new().with("aaa", true).with("b", 3).with("bb", 1).with("a", 2);
        assert_eq!(data.to_cbor(), other.to_cbor());
        assert_eq!(hex(&data.0), "a4616102616203626262016361616".to_owned() + "1f5");
    }

    #[test]
    fn no_data_and_empty_data_differ() {
        let empty = ContextData::new();
        assert_ne!(ContextData::digest(None), ContextData::digest(Some(&empty)));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut value = ContextValue::Null;
        for _ in 0..MAX_DEPTH {
            value = ContextValue::List(vec![value]);
        }
        assert!(ContextData::from_value(value.clone()).is_some());
        assert!(ContextData::from_value(ContextValue::List(vec![value])).is_none());
    }
}
