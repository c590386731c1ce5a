//! Whole nodes in a simulated network, on a clock that nobody waits for: the runtime's own, which
//! jumps to the next thing to happen as soon as all tasks wait (`start_paused`). Only for tests.
//!
//! | look for | in |
//! |---|---|
//! | what the network does | `Weather` of the transport |
//! | the sockets of a world | `world` |
//! | its TCP, for WebSockets | `tcp` |
//! | how long calls take when a session dies | `guarantees` |
//! | callers that are cut off | `handshakes` |
//! | sessions that live for days | `long` |
//! | members that mean harm | `members` |
//! | pauses while routes change | `routes` |
//! | streams in bad weather | `streams` |
//! | who opens connections and holds no seed | `strangers` |
//! | what an engine like ours falls into | `traps` |

mod guarantees;
mod handshakes;
mod long;
mod members;
mod routes;
mod strangers;
mod streams;
mod tcp;
mod traps;
mod world;
