//! Tests of the commands: the program is run as a person runs it.

#[path = "../common/children.rs"]
mod children;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../../../stc/tests/common/error_page.rs"]
mod error_page;
#[path = "../../src/hints.rs"]
mod hints;

mod daemon_swarm;
mod errors;
mod log;
mod mounts;
mod names;
mod network;
mod outputs;
mod private_swarm;
mod pubsub;
mod sealed_files;
mod store;
mod swarm;
mod turned_away;
mod up;
