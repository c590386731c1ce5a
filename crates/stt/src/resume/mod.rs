//! Sessions that survive: messages that a cut takes nothing from and adds nothing to.
//!
//! | look for | in |
//! |---|---|
//! | the rules of one end: what is kept, sent again, refused | `machine`, and `tokens` for who may resume |
//! | the bytes | `frame` |
//! | what outlives a process | `entry` and `stored` for the records, `journal` for the task |
//! | the model check of the rules | `model_tests` |
//! | what applications hold | [`Continuity`] (`continuity`), [`ResumableSession`] (`handle`) |
//! | one link: a stream of one session that carries them | `link` |
//! | answering, dialling again | `accept`, `connect` |
//!
//! The specification is `docs/resume.md`.

mod accept;
mod connect;
mod continuity;
mod entry;
mod error;
mod frame;
mod handle;
mod journal;
mod link;
mod machine;
#[cfg(test)]
mod model_tests;
mod options;
mod pace;
mod shared;
mod stored;
mod tokens;

pub use continuity::Continuity;
pub use error::ResumeError;
pub use handle::{ResumableSession, ResumedMessage};
pub use options::ResumeOptions;
pub use shared::ResumeState;
