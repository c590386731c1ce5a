//! Byte streams cut into sealed segments, for carriers that may reorder, repeat or lose them.
//!
//! A session's own streams need none of this. It is for bytes that travel elsewhere: fanned out to
//! several endpoints, over datagrams, or through something that is not ours.
//!
//! | look for | in |
//! |---|---|
//! | sealing | [`StreamEncoder`] |
//! | opening, in order, within bounds | [`StreamDecoder`] |
//! | sizes, flow control, role | [`CodecConfig`] |
//! | how far an encoder may go | [`Credit`] |
//! | the bytes of a segment | [`Segment`] |

mod config;
mod decoder;
mod encoder;
mod error;
mod segment;

pub use config::{CodecConfig, CodecMode, CodecRole};
pub use decoder::{Arrival, DecoderStats, StreamDecoder};
pub use encoder::{EncoderStats, StreamEncoder};
pub use error::CodecError;
pub use segment::{Credit, Segment};

/// [`StreamEncoder`], by the other name that the documents use.
pub type BinaryStreamEncoder = StreamEncoder;
/// [`StreamDecoder`], by the other name that the documents use.
pub type BinaryStreamDecoder = StreamDecoder;
