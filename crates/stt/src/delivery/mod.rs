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
