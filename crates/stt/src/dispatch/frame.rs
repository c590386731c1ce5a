//! One frame, and its bytes.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::DispatchError;
use crate::SessionId;

/// A type that applications may use: 0x80 to 0xFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameType(u8);

impl FrameType {
    /// The smallest type of an application.
    pub const FIRST: u8 = 0x80;
    /// How many types applications have.
    pub const COUNT: usize = 128;

    /// That type.
    ///
    /// # Errors
    /// [`DispatchError::Reserved`] below [`Self::FIRST`].
    pub const fn new(value: u8) -> Result<Self, DispatchError> {
        if value < Self::FIRST {
            Err(DispatchError::Reserved { frame_type: value })
        } else {
            Ok(Self(value))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its place among the application's types, 0 to 127.
    pub(super) const fn index(self) -> usize {
        (self.0 & 0x7f) as usize
    }
}

impl TryFrom<u8> for FrameType {
    type Error = DispatchError;

    fn try_from(value: u8) -> Result<Self, DispatchError> {
        Self::new(value)
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)
    }
}

/// What carried a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// A stream: nothing lost, in order.
    Stream,
    /// A datagram: may be lost, or overtaken.
    Datagram,
    /// The application itself called `dispatch`.
    Local,
}

/// A frame that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub frame_type: FrameType,
    /// What it carries, shared and not copied.
    pub payload: Bytes,
    /// The session that it came through, unless it is local.
    pub session_id: Option<SessionId>,
    /// What carried it.
    pub carrier: Carrier,
}

impl Frame {
    /// Bytes that the encoding adds to a payload.
    pub const OVERHEAD: usize = 1;

    /// The bytes of a frame, for a message of a stream or for a datagram.
    #[must_use]
    pub fn encode(frame_type: FrameType, payload: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(payload.len() + Self::OVERHEAD);
        bytes.put_u8(frame_type.get());
        bytes.put_slice(payload);
        bytes.freeze()
    }

    /// The frame in these bytes.
    ///
    /// # Errors
    /// [`DispatchError::Empty`] without a byte, [`DispatchError::Reserved`] when the type is not an
    /// application's.
    pub fn decode(
        mut bytes: Bytes,
        session_id: Option<SessionId>,
        carrier: Carrier,
    ) -> Result<Self, DispatchError> {
        let frame_type = FrameType::new(*bytes.first().ok_or(DispatchError::Empty)?)?;
        let payload = bytes.split_off(Self::OVERHEAD);
        Ok(Self { frame_type, payload, session_id, carrier })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_decoded_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let bytes = Bytes::from(bytes);
            match Frame::decode(bytes.clone(), None, Carrier::Datagram) {
                Ok(frame) => prop_assert_eq!(Frame::encode(frame.frame_type, &frame.payload), bytes),
                Err(DispatchError::Empty) => prop_assert!(bytes.is_empty()),
                Err(DispatchError::Reserved { frame_type }) => {
                    prop_assert!(frame_type < 0x80 && bytes[0] == frame_type);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
