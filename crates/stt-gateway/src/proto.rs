//! Messages, clients and servers that are made of the `.proto` files.
//!
//! Their types are those of [`crate::tonic`], [`crate::prost`],
//! [`crate::prost_types`] and [`crate::bytes`], which this crate re-exports.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::cast_possible_truncation,
    reason = "generated; the .proto files hold the documentation"
)]

/// The gateway's own services.
pub mod v1 {
    tonic::include_proto!("stt.gateway.v1");
}

/// Health, as gRPC defines it.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// All descriptors, encoded: what reflection serves.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
