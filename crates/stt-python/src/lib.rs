//! STT and STC for Python: the native half.
//!
//! Python code under `python/` is what people import; it calls what stands here. Nothing here knows
//! of asyncio.
//!
//! | look for | in |
//! |---|---|
//! | messages, files, hashes, states | [`context`] |
//! | files | [`files`] |
//! | sealed segments over any carrier | [`codec`] |
//! | live streams of chunks | [`streaming`] |
//! | errors on their way to Python | [`failure`] |
//! | Python values on their way in | [`value`] |

mod codec;
mod context;
mod failure;
mod files;
mod streaming;
mod value;

/// The private module of the wheel.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::codec::{Decoder, Encoder};
    #[pymodule_export]
    use crate::context::content_hash;
    #[pymodule_export]
    use crate::context::{Context, Metadata};
    #[pymodule_export]
    use crate::streaming::{ChunkHeader, StreamingContext};
}
