//! STT and STC for Python: the native half.
//!
//! Python code under `python/` is what people import; it calls what stands here. `bridge` alone
//! knows of asyncio.
//!
//! | look for | in |
//! |---|---|
//! | messages, files, hashes, states | [`context`] |
//! | files | [`files`] |
//! | files piece by piece | [`pieces`] |
//! | sealed segments over any carrier | [`codec`] |
//! | storage | [`store`] |
//! | live streams of chunks | [`streaming`] |
//! | durable logs | [`log`] |
//! | nodes | [`node`] |
//! | the seeds of a node | [`keyring`] |
//! | sessions and streams | [`session`] |
//! | how sure and how urgent a message is, the affinity pool | [`delivery`] |
//! | streams with a label | [`protocol`] |
//! | sessions that go on after a cut | [`resume`] |
//! | endpoints | [`endpoints`] |
//! | swarms | [`swarm`] |
//! | content of a swarm, files and folders by tickets | [`content`], [`tickets`] |
//! | managed streams | [`managed`] |
//! | their events, health and statistics | [`service`] |
//! | awaiting the engine | [`bridge`] |
//! | what the engine logs | [`logs`] |
//! | errors on their way to Python | [`failure`] |
//! | Python values on their way in | [`value`] |

mod blocking;
mod bridge;
mod codec;
mod content;
mod context;
mod delivery;
mod endpoints;
mod failure;
mod files;
mod keyring;
mod log;
mod logs;
mod managed;
mod node;
mod pieces;
mod protocol;
mod resume;
mod service;
mod session;
mod store;
mod store_io;
mod streaming;
mod swarm;
mod tickets;
mod value;

/// The private module of the wheel.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::bridge::{Op, Reactor, after_fork, check_not_forked, is_forked_child};
    #[pymodule_export]
    use crate::codec::{Decoder, Encoder};
    #[pymodule_export]
    use crate::content::{Content, content_providers, start_content};
    #[pymodule_export]
    use crate::context::{Context, Metadata};
    #[pymodule_export]
    use crate::context::{content_hash, new_seed};
    #[pymodule_export]
    use crate::delivery::{AdaptivePriority, Pool};
    #[pymodule_export]
    use crate::endpoints::Endpoints;
    #[pymodule_export]
    use crate::keyring::Keyring;
    #[pymodule_export]
    use crate::log::{Consumer, Delivery, Log, dead_letter, open_log};
    #[pymodule_export]
    use crate::logs::{log_from_the_engine, take_logs};
    #[pymodule_export]
    use crate::managed::{Managed, ManagedEvents, Manager, Multiplexer};
    #[pymodule_export]
    use crate::node::{Events, Node, start_node, verify_signature};
    #[pymodule_export]
    use crate::pieces::Pieces;
    #[pymodule_export]
    use crate::protocol::{Labelled, Protocol, handle_protocol};
    #[pymodule_export]
    use crate::resume::{Continuity, Resumable, open_continuity};
    #[pymodule_export]
    use crate::service::{Service, ServiceEvents};
    #[pymodule_export]
    use crate::session::{Session, Stream};
    #[pymodule_export]
    use crate::store::{ContentGuard, Store, open_chamber, open_store};
    #[pymodule_export]
    use crate::store_io::{StoreReader, StoreWriter};
    #[pymodule_export]
    use crate::streaming::{ChunkHeader, StreamingContext};
    #[pymodule_export]
    use crate::swarm::{Subscription, Swarm, start_swarm};
    #[pymodule_export]
    use crate::tickets::{
        Progress, fetch_ticket, make_ticket, read_ticket, share_path, shared_contents,
    };
}
