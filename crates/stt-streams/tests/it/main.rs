//! Tests of managed streams over channels and over sessions.

#[path = "../../../stc/tests/common/error_page.rs"]
mod error_page;

mod common_issues;
mod error_codes;
mod many;
mod session;
mod streams;
