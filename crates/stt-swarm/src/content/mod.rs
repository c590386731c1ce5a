//! Content: offered by members, fetched from many of them, verified group by group.
//!
//! | look for | in |
//! |---|---|
//! | the bytes on a stream | `wire` |
//! | checking what arrives | `verify` |
//! | the provider's side | `library` |
//! | which piece is fetched next | `plan` |
//! | what is on the disk so far | `partial` |
//! | the fetching side | `fetch`, and `source` for one provider of it |

mod fetch;
mod library;
mod partial;
mod plan;
mod source;
mod verify;
mod wire;

use bao_tree::BlockSize;
pub use fetch::{FetchOptions, FetchProgress, Fetched, ProviderReport, fetch};
pub use library::{ContentLibrary, LibraryStats, Shared};

/// The label of its streams.
const LABEL: &str = "stt.content/1";
/// Bytes that are verified together: 16 KiB.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes that are asked for at once.
const PIECE: u64 = 1 << 20;
/// Groups that are asked for at once.
const PIECE_GROUPS: u64 = PIECE >> 14;
