//! Which of the nodes that hold the seed may have sessions.

use std::collections::HashSet;

use crate::{NodeId, Refusal};

/// Which nodes may have sessions.
///
/// A list of denied nodes stops whoever keeps a node id; somebody who holds the seed can make
/// another. To shut one out for good, change the seed, or allow only those you know.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    only: Option<HashSet<NodeId>>,
    denied: HashSet<NodeId>,
}

impl Admission {
    /// Every node that holds the seed.
    #[must_use]
    pub fn everyone() -> Self {
        Self::default()
    }

    /// These nodes and no others.
    #[must_use]
    pub fn only(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self { only: Some(nodes.into_iter().collect()), denied: HashSet::new() }
    }

    /// Never this node.
    #[must_use]
    pub fn deny(mut self, node: NodeId) -> Self {
        self.denied.insert(node);
        self
    }

    /// Whether `node` may have a session.
    ///
    /// # Errors
    /// [`Refusal::Denied`].
    pub fn check(&self, node: NodeId) -> Result<(), Refusal> {
        let allowed = self.only.as_ref().is_none_or(|only| only.contains(&node));
        if allowed && !self.denied.contains(&node) { Ok(()) } else { Err(Refusal::Denied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_wins_over_allowed() {
        let [a, b] = [1, 2].map(|byte| NodeId::from_bytes([byte; 32]));
        assert!(Admission::everyone().check(a).is_ok());
        assert_eq!(Admission::only([a]).check(b), Err(Refusal::Denied));
        assert_eq!(Admission::only([a, b]).deny(a).check(a), Err(Refusal::Denied));
        assert!(Admission::only([a, b]).deny(a).check(b).is_ok());
    }
}
