//! Tests of every storage provider, of the chamber and of the durable logs.

#[path = "../../../stc/tests/common/error_page.rs"]
mod error_page;
#[path = "../log_suite/mod.rs"]
mod log_suite;
#[path = "../suite/mod.rs"]
mod suite;

mod chamber;
mod conformance;
mod damage;
mod error_codes;
mod fixture;
mod jetstream;
mod log_conformance;
mod object;
mod rebuild;
