//! The envelope: a header, key slots, one region per slot, and trailers.
//!
//! The bytes are specified in `docs/formats.md`, "Envelope".
//!
//! | look for | in |
//! |---|---|
//! | the header's bytes and limits | [`header`] |
//! | the keys of one slot, its commitment, its box and its trailer | `slot` |
//! | where chunks begin and end | `geometry` |
//! | the digest that trailers authenticate | `digest` |
//! | sealing, opening, reading a range | `seal`, `open`, `range` |
//! | workers that read, compute and write in turns | `turns` |
//! | what can go wrong | `error` |
//!
//! Contexts make and open envelopes ([`Context::seal`](crate::Context::seal)); here is what a
//! stranger sees of one:
//!
//! ```
//! use stc::{Context, Header, Key, SealOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let context = Context::from_key(Key::generate()?)?;
//! let blob = context.seal("meet at nine", &SealOptions::new().use_decoys(false))?;
//! let header = Header::parse(&blob)?;
//! assert_eq!(header.slot_count(), 1);
//! assert_eq!(header.content_len(Some(blob.len() as u64)), Some(12));
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod collision;
mod digest;
mod error;
mod geometry;
pub mod header;
mod open;
mod ordered_workers;
mod range;
mod seal;
mod slot;
mod source;

pub use error::{EnvelopeError, OpenError, SealError};
pub(crate) use geometry::{Geometry, padme};
pub(crate) use header::FIXED_LEN;
pub use header::{CHUNK_LEN, Header, MAX_REAL, MAX_SLOTS, MIN_SLOTS};
pub(crate) use open::{Opening, open};
pub(crate) use range::open_range;
pub(crate) use seal::{Content as SealingContent, Entry, Progress, Sealing, seal};
pub(crate) use slot::{Kind, SLOT_LEN, Slot};
pub(crate) use source::read_full;
