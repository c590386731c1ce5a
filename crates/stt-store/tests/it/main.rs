//! Tests of every storage provider, of the chamber and of the durable logs.

#[path = "../log_suite/mod.rs"]
mod log_suite;
#[path = "../suite/mod.rs"]
mod suite;

mod chamber;
mod conformance;
mod damage;
mod fixture;
mod jetstream;
mod log_conformance;
mod object;
