//! Tests of the gateway with a real client over loopback.

mod gateway;
mod store;
mod surface;
