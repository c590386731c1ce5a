//! Tests of the gateway with a real client over loopback.

#[path = "../../../stc/tests/common/error_page.rs"]
mod error_page;

mod error_codes;
mod gateway;
mod store;
mod surface;
