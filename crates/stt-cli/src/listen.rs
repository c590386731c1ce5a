//! Where a node listens for its peers.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use stt::NodeBuilder;

use crate::{error::CliError, network};

/// Where nodes listen unless something else is said.
const PORT: u16 = 9337;

/// Where a node listens for its peers.
#[derive(Args)]
pub(crate) struct ListenArgs {
    /// Where to listen; port 0 is a random free one. [default: port 9337 of all addresses]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Also listen for WebSockets, for peers whose network lets no UDP through: at the address of
    /// --listen, or at this one.
    #[arg(long, value_name = "IP:PORT", num_args = 0..=1, require_equals = true)]
    websocket: Option<Option<SocketAddr>>,
}

impl ListenArgs {
    /// Makes the node listen there.
    pub(crate) fn apply(&self, builder: NodeBuilder) -> Result<NodeBuilder, CliError> {
        let (host, port) = match &self.listen {
            Some(listen) => split(listen)?,
            None => (network::any_host().to_owned(), PORT),
        };
        let mut builder = builder.port(port);
        if let Some(address) = self.websocket {
            builder = builder.websocket(match address {
                Some(address) => address,
                None => like_udp(&host)?,
            });
        }
        Ok(builder.host(host))
    }
}

/// Where WebSockets are listened for on a host, with the port number of UDP.
fn like_udp(host: &str) -> Result<SocketAddr, CliError> {
    let ip: IpAddr = host.parse().map_err(|_| {
        CliError::new(
            "usage.listen",
            format!("WebSockets need an IP address, and `{host}` is none"),
        )
        .with_hint("for example --websocket=0.0.0.0:9337")
    })?;
    Ok(SocketAddr::new(ip, 0))
}

/// Splits `HOST:PORT`, where the port may be 0.
fn split(listen: &str) -> Result<(String, u16), CliError> {
    let malformed =
        || CliError::new("usage.listen", format!("`{listen}` is not of the form HOST:PORT"));
    let (host, port) = listen.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().map_err(|_| malformed())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // Without brackets nobody knows where an address of IPv6 ends.
    if bare.is_empty() || (bare == host && bare.contains(':')) {
        return Err(malformed());
    }
    Ok((bare.to_owned(), port))
}
