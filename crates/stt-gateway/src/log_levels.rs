//! What of the log is told, as a caller may change it.

use std::fmt::Debug;

/// What of the log is told ([`GatewaySettings::log_levels`](crate::GatewaySettings::log_levels)).
///
/// Levels are a text: `warn` for all, `stt_swarm=debug` for one component, and several of them with
/// commas between; the most special one counts.
pub trait LogLevels: Debug + Send + Sync {
    /// The levels now.
    fn get(&self) -> String;

    /// Changes them.
    ///
    /// # Errors
    /// What is wrong with `levels`, for a person.
    fn set(&self, levels: &str) -> Result<(), String>;
}
