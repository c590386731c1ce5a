//! A private swarm on sealed sessions.
//!
//! | look for | in |
//! |---|---|
//! | offering files to members | [`ContentLibrary`] |
//! | fetching them from many providers, verified | [`fetch`] |
//! | the text that says what to fetch and where | [`ContentTicket`] |
//!
//! All of it travels in streams with labels of the sessions that a [`stt::Node`] has; nothing here
//! opens a socket.

mod content;
mod error;
mod ticket;

pub use content::{
    ContentLibrary, FetchOptions, FetchProgress, Fetched, LibraryStats, ProviderReport, Shared,
    fetch,
};
pub use error::{ContentError, TicketError};
pub use ticket::{ContentTicket, Provider};
