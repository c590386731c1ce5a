//! A node for other programs: gRPC, gRPC-Web, reflection and health over one port.
//!
//! [`Gateway::start`] serves a [`stt::Node`] and a [`stt_store::Chamber`]; [`Gateway::stop`] drains it
//! within a deadline. The services are described in `proto/`; [`proto`] holds what is made of them.
//!
//! Everything but health wants the bearer token of [`Token`]; beyond loopback the gateway listens only
//! with a token and TLS ([`GatewayError::Unprotected`]).

mod arrivals;
mod deadline;
mod error;
mod events;
mod files;
mod gateway;
mod guard;
mod health;
mod listener;
mod managed;
mod message_size;
mod metrics;
mod peers;
pub mod proto;
mod request_error;
mod settings;
mod state;
mod status;
mod streams;
mod system;
mod token;

pub use error::GatewayError;
pub use gateway::{Drained, Gateway};
pub use request_error::RequestError;
pub use settings::GatewaySettings;
pub use stt_streams::StreamConfig;
pub use token::Token;
