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
//! ```
//! use stt::{
//!     Key, Mode, Node, SharedSeed,
//!     resume::{Continuity, ResumeOptions},
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seed = SharedSeed::from_key(Key::generate()?);
//! // Who may take up a session is known by its node id.
//! let node = |name: &str| {
//!     Node::builder(seed.clone()).host("127.0.0.1").node_seed(name).persistent_identity(true)
//! };
//! let server = node("the secret of the one").start(Mode::Server).await?;
//! let client = node("the secret of the other").start(Mode::Client).await?;
//! // `Continuity::open` keeps sessions in a directory, also over a crash of either process.
//! let there = Continuity::new(&server, ResumeOptions::default())?;
//! let here = Continuity::new(&client, ResumeOptions::default())?;
//! let ours = here.connect(server.local_addr(), server.node_id()).await?;
//! let theirs = there.accept().await.ok_or("the server was stopped")?;
//!
//! ours.session().ok_or("nothing carries it")?.abort("somebody pulled the plug");
//! let position = ours.send("order 1").await?;
//! let order = theirs.receive().await?.ok_or("the other side closed")?;
//! assert_eq!(order.data, "order 1");
//! // It is done with, and never comes again.
//! theirs.commit(order.position)?;
//! ours.acknowledged(position).await?;
//! # Ok(())
//! # }
//! ```
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
