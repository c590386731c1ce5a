//! A node for other programs: gRPC, gRPC-Web, reflection and health over one port.
//!
//! [`Gateway::start`] serves a [`stt::Node`] and a [`stt_store::Chamber`], and a
//! [`stt_swarm::Swarm`] if [`GatewaySettings::swarm`] names one; [`Gateway::stop`] drains it within
//! a deadline. The services are described in `proto/`; [`proto`] holds what is made of them.
//!
//! Everything but health wants the bearer token of [`Token`]; beyond loopback the gateway listens only
//! with a token and TLS ([`GatewayError::Unprotected`]).
//!
//! | look for | in |
//! |---|---|
//! | starting and draining it | [`Gateway`], [`Drained`] |
//! | address, limits, token, TLS, origins | [`GatewaySettings`], [`StreamConfig`], [`Token`], [`LogLevels`] |
//! | messages, clients and servers of its services | [`proto`] |
//! | why it does not start, why a call failed | [`GatewayError`], [`RequestError`] |
//!
//! # A node for the programs of this machine
//!
//! ```
//! use std::time::Duration;
//!
//! use stt::{Key, Mode, Node, SharedSeed};
//! use stt_gateway::{Drained, Gateway, GatewaySettings};
//! use stt_store::{Chamber, ChamberKey};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seed = SharedSeed::from_key(Key::generate()?);
//! let node = Node::builder(seed).host("127.0.0.1").start(Mode::Server).await?;
//! let chamber = Chamber::in_memory(&ChamberKey::from_key(&stc::Key::generate()?)).await?;
//! let gateway = Gateway::start(node, chamber, GatewaySettings::new()).await?;
//! println!("http://{}", gateway.local_addr());
//!
//! // Callers are told that it ends, and may finish.
//! assert_eq!(gateway.stop(Duration::from_secs(5)).await, Drained::Whole);
//! # Ok(())
//! # }
//! ```
//!
//! # Calling it
//!
//! Any gRPC client can, from the files in `proto/` or by reflection; here tonic's.
//!
//! ```
//! use stt_gateway::proto::health::{HealthCheckRequest, health_client::HealthClient};
//! # use stt::{Key, Mode, Node, SharedSeed};
//! # use stt_gateway::{Gateway, GatewaySettings};
//! # use stt_store::{Chamber, ChamberKey};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let node = Node::builder(seed).host("127.0.0.1").start(Mode::Server).await?;
//! # let chamber = Chamber::in_memory(&ChamberKey::from_key(&stc::Key::generate()?)).await?;
//! # let gateway = Gateway::start(node, chamber, GatewaySettings::new()).await?;
//! let address = format!("http://{}", gateway.local_addr());
//! let channel = tonic::transport::Channel::from_shared(address)?.connect().await?;
//! let asked = HealthCheckRequest::default(); // The whole of it; or the name of a service.
//! let answer = HealthClient::new(channel).check(asked).await?.into_inner();
//! assert_eq!(answer.status().as_str_name(), "SERVING");
//! # Ok(())
//! # }
//! ```

mod answers;
mod arrivals;
mod content;
mod deadline;
mod download;
mod error;
mod events;
mod files;
mod gateway;
mod guard;
mod health;
mod listener;
mod log_levels;
mod managed;
mod message_size;
mod metrics;
mod peers;
pub mod proto;
mod request_error;
mod settings;
mod state;
mod status;
mod store;
mod streams;
mod swarm;
mod system;
mod token;
mod topics;
mod upload;

pub use bytes::{self, Bytes};
pub use error::GatewayError;
pub use gateway::{Drained, Gateway};
pub use log_levels::LogLevels;
pub use prost;
pub use prost_types;
pub use request_error::RequestError;
pub use settings::GatewaySettings;
pub use stt;
pub use stt_store;
pub use stt_streams::{self, StreamConfig};
pub use stt_swarm;
pub use token::Token;
pub use tonic;
