//! Failures that come in lists: of addresses, and of providers.

use std::fmt::Display;

use stc::Cause;
use stt::NodeId;

/// An address that was dialled in vain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {cause}")]
#[non_exhaustive]
pub struct DialFailure {
    /// The address.
    pub address: String,
    /// What the dial said; its [`stt::ConnectError`], if that was all.
    #[source]
    pub cause: Cause,
}

/// A provider that did not give what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{:.16}… {cause}", node_id.to_string())]
#[non_exhaustive]
pub struct ProviderFailure {
    /// Which one.
    pub node_id: NodeId,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// All of them in one line.
pub(crate) fn listed(failures: &[impl Display], between: &str) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join(between)
}
