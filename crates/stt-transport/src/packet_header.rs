//! What long and short headers have of ours: the sizes and the version (docs/protocol.md).

/// What stands in the version field of our long headers: "STT", then the version of the wire
/// (docs/protocol.md, VER-1).
pub(crate) const QUIC_VERSION: u32 = 0x5354_5401;
/// Bytes of the connection ids that we give out (PKT-4).
pub(crate) const CONNECTION_ID_LEN: usize = 8;
/// Bytes of a knock: the longest connection id of QUIC version 1.
pub(crate) const KNOCK_LEN: usize = 20;
