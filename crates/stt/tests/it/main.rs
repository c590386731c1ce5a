//! Tests of whole nodes over loopback, and of the rules that need no node. What measures this
//! process or changes its global state is a program of its own beside this one.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../stc/tests/common/error_page.rs"]
mod error_page;
#[path = "../common/path.rs"]
mod path;

mod chamber;
mod codec;
mod delivery;
mod delivery_modes;
mod endpoints;
mod error_codes;
mod events;
mod folders;
mod guarantees;
mod limits;
mod node;
mod node_endpoints;
mod patterns;
mod protocol;
mod resume;
mod resume_disk;
mod routes;
mod stream;
mod transfer;
mod websocket;
mod websocket_stall;
mod wss;
