//! Tests of managed streams over channels and over sessions.

mod common_issues;
mod many;
mod session;
mod streams;
