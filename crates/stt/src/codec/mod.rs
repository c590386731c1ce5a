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
//!
//! ```
//! use stt::{Key, SessionId, StreamDecoder, StreamEncoder, codec::CodecConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (key, id) = (Key::generate()?, SessionId::from_bytes([7; 8]));
//! let config = CodecConfig::new().segment_size(1 << 10);
//! let mut encoder = StreamEncoder::new(&key, id, 1, config)?;
//! let mut decoder = StreamDecoder::new(&key, id, 1, config)?;
//! let mut segments = encoder.send(vec![42; 5_000])?;
//! segments.extend(encoder.finish()?);
//!
//! // Whatever order the carrier makes of them.
//! for segment in segments.into_iter().rev() {
//!     decoder.receive_segment(segment.bytes)?;
//! }
//! assert_eq!(decoder.receive_all(), vec![42; 5_000]);
//! assert!(decoder.is_finished());
//! # Ok(())
//! # }
//! ```

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
