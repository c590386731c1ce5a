//! How sure a message arrives, and how late it may be.
//!
//! | look for | in |
//! |---|---|
//! | the choice per stream | [`Delivery`], [`Probability`] |
//! | a probability picked from the data | [`EntropyThresholds`] |
//! | how the path loses packets | [`LossObserver`] (receiver), [`LossEstimator`] (sender) |
//! | how many repair packets a message needs | [`RepairPlanner`], [`Plan`] |
//! | making and reading the packets | [`ShardEncoder`], [`ShardAssembler`] |
//!
//! Everything here is a pure machine: bytes and observations in, bytes and decisions out.
//!
//! A stream of a session does it all by itself:
//!
//! ```
//! use std::time::Duration;
//!
//! use stt::{Delivery, Key, Mode, Node, SharedSeed, StreamOptions};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! # let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
//! let session = client.connect(server.local_addr()).await?;
//! // A frame that is late is not sent any more; one reading in a hundred may be lost.
//! let late = StreamOptions::new().id(1).delivery(Delivery::Deadline(Duration::from_secs(5)));
//! let lossy = StreamOptions::new().id(2).delivery(Delivery::probabilistic(0.99)?);
//! let (video, readings) = (session.open_stream_with(&late)?, session.open_stream_with(&lossy)?);
//! video.send(&[7; 30_000]).await?;
//! readings.send("21.5 degrees").await?;
//! # let accepted = server.accept().await.ok_or("the server stopped")?;
//! # assert_eq!(accepted.get_stream(1)?.receive().await?.map(|frame| frame.len()), Some(30_000));
//! # Ok(())
//! # }
//! ```

mod assembler;
mod entropy;
mod error;
mod loss;
mod mode;
mod plan;
mod shard;

pub use assembler::{AssemblerStats, Message, ShardAssembler};
pub use entropy::{EntropyThresholds, density};
pub use error::DeliveryError;
pub use loss::{LossCounts, LossEstimator, LossModel, LossObserver};
pub use mode::{Chance, Delivery, Probability};
pub use plan::{OverheadCap, Plan, RepairPlanner};
pub use shard::{MAX_DATA_SHARDS, ShardEncoder, ShardHeader};
