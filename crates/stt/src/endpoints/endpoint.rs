//! One endpoint.

use std::{fmt, sync::Arc, time::SystemTime};

use super::EndpointError;
use crate::value::Fields;

/// Who: 1 to 64 bytes that the application chooses, for example a node id or a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(Arc<[u8]>);

impl EndpointId {
    /// Most bytes of an id.
    pub const MAX_LEN: usize = 64;

    /// An id of these bytes.
    ///
    /// # Errors
    /// [`EndpointError::OutOfRange`] unless there are 1 to [`Self::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Result<Self, EndpointError> {
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(EndpointError::OutOfRange {
                what: "the length of an endpoint's id",
                min: 1,
                max: Self::MAX_LEN,
                got: bytes.len(),
            });
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<crate::NodeId> for EndpointId {
    fn from(id: crate::NodeId) -> Self {
        Self(id.as_bytes().as_slice().into())
    }
}

impl From<crate::SessionId> for EndpointId {
    fn from(id: crate::SessionId) -> Self {
        Self(id.as_bytes().as_slice().into())
    }
}

impl TryFrom<&str> for EndpointId {
    type Error = EndpointError;

    fn try_from(name: &str) -> Result<Self, EndpointError> {
        Self::new(name.as_bytes())
    }
}

impl TryFrom<&[u8]> for EndpointId {
    type Error = EndpointError;

    fn try_from(bytes: &[u8]) -> Result<Self, EndpointError> {
        Self::new(bytes)
    }
}

/// Printable names as they are, everything else as hexadecimal digits.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(name) if self.0.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => {
                f.write_str(name)
            }
            _ => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointId({self})")
    }
}

/// Where: a host name or address, and a port. What it means is up to what carries the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointAddress {
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
}

impl From<(&str, u16)> for EndpointAddress {
    fn from((host, port): (&str, u16)) -> Self {
        Self { host: host.into(), port }
    }
}

impl From<std::net::SocketAddr> for EndpointAddress {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EndpointInfo {
    /// Who.
    pub id: EndpointId,
    /// Where.
    pub address: EndpointAddress,
    /// What the application attached.
    pub metadata: Fields,
    /// When it was added, by the system's clock.
    pub connected_at: SystemTime,
}
