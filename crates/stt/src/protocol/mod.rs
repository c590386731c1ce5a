//! Protocols: streams with a label, each label with numbers of its own.
//!
//! | look for | in |
//! |---|---|
//! | what the application holds | [`ProtocolStream`] (`stream`), its halves (`halves`) |
//! | who handles which label | `handler` |
//! | why it failed | `error` |

mod error;
mod halves;
mod handler;
mod stream;

pub use error::ProtocolError;
pub use halves::{ProtocolReceiver, ProtocolSender};
pub use handler::ProtocolHandler;
pub(crate) use handler::{Handler, Protocols};
pub use stream::ProtocolStream;
