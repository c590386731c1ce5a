//! Content: offered by members, fetched from many of them, verified group by group.
//!
//! | look for | in |
//! |---|---|
//! | all of it by content ids | `distribution`, and `probe` for asking who has one |
//! | the bytes on a stream | `wire` |
//! | checking what arrives | `verify` |
//! | the provider's side | `library` |
//! | which piece is fetched next | `plan` |
//! | what is on the disk so far | `partial` |
//! | the fetching side | `fetch`; `source` for one provider of it, `sessions` for all of them |
//! | messages that are too long for gossip | `messages` |
//! | folders | `manifest`, and `folder` for fetching one |

mod distribution;
mod fetch;
mod folder;
mod library;
mod manifest;
mod messages;
mod offer;
mod partial;
mod plan;
mod probe;
mod region;
mod sessions;
mod source;
mod verify;
mod wire;

use bao_tree::BlockSize;
pub use distribution::{ContentDistribution, DistributionStats, RetrieveOptions};
pub use fetch::{FetchOptions, FetchProgress, Fetched, ProviderReport, fetch};
pub use library::{ContentLibrary, LibraryStats};
pub(crate) use manifest::ManifestError;
pub use messages::{LongMessages, LongSubscription};
pub use offer::{Folder, Shared};

/// The label of its streams.
const LABEL: &str = "stt.content/1";
/// Bytes that are verified together: 16 KiB.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes that are asked for at once.
const PIECE: u64 = 1 << 20;
/// Groups that are asked for at once.
const PIECE_GROUPS: u64 = PIECE >> 14;
