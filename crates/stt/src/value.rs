//! Small values for what applications attach to events and endpoints.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

/// Named values, ordered by name.
pub type Fields = BTreeMap<Arc<str>, Value>;

/// One value that an application attaches to an event or an endpoint. STT carries it and gives it
/// back; it never leaves the process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Bytes, shared and not copied.
    Bytes(Bytes),
    /// Text, shared and not copied.
    Text(Arc<str>),
    /// Several values in order.
    List(Vec<Value>),
    /// Named values.
    Map(Fields),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The bytes, if it is bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The whole number, if it is one.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        if let Self::Int(int) = self { Some(*int) } else { None }
    }

    /// The number, if it is a number of either kind. A whole number beyond 2^53 is rounded.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub const fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(*float),
            Self::Int(int) => Some(*int as f64),
            _ => None,
        }
    }

    /// About how many bytes of memory it holds, itself included.
    #[must_use]
    pub fn weight(&self) -> usize {
        let held = match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            Self::List(values) => values.iter().map(Self::weight).sum(),
            Self::Map(fields) => weight_of(fields),
        };
        held.saturating_add(size_of::<Self>())
    }
}

/// About how many bytes of memory `fields` hold.
#[must_use]
pub(crate) fn weight_of(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + size_of::<Arc<str>>() + value.weight()).sum()
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool, i64 => Int, i32 => Int, u32 => Int, u16 => Int, u8 => Int, f64 => Float, f32 => Float,
    Bytes => Bytes, Vec<u8> => Bytes, &'static [u8] => Bytes,
    &str => Text, String => Text, Arc<str> => Text, Vec<Value> => List, Fields => Map,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_as_what_they_are() {
        assert_eq!(Value::from("relay").as_text(), Some("relay"));
        assert_eq!(Value::from(7_u8).as_int(), Some(7));
        assert_eq!(Value::from(7_i64).as_float(), Some(7.0));
        assert_eq!(Value::from(0.5).as_int(), None);
        assert_eq!(Value::from(vec![1_u8]).as_bytes().unwrap().as_ref(), [1]);
    }

    #[test]
    fn weight_counts_what_is_held() {
        let small = Value::from("x").weight();
        assert!(Value::from("x".repeat(1000)).weight() >= small + 999);
        let list = Value::List(vec![Value::from("x"); 10]);
        assert!(list.weight() >= 10 * small);
    }
}
