//! Which message it is.

/// Which of a publisher's messages it is: later ones are greater, also over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    /// When the publisher's swarm was started, in milliseconds since 1970 by its clock.
    pub started: u64,
    /// The how manieth message it is on this topic since then, from 1.
    pub count: u64,
}
