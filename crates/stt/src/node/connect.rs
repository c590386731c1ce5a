//! Finding and dialling an address.

use std::{net::SocketAddr, time::Duration};

use tokio::task::JoinSet;

use super::ConnectError;
use crate::{
    NodeId,
    wire::{Established, Wire, WireError},
};

/// How long one address of a name is alone before the next is dialled too (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of one name that are dialled.
const MAX_ADDRESSES: usize = 8;

/// Splits `HOST:PORT`; IPv6 addresses stand in brackets.
pub(super) fn split(address: &str) -> Result<(&str, u16), ConnectError> {
    let malformed = || ConnectError::Malformed { address: address.to_owned() };
    let (host, port) = address.trim().rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(malformed)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(host) => Ok((host, port)),
        None if host.is_empty() || host.contains(':') => Err(malformed()),
        None => Ok((host, port)),
    }
}

/// The addresses of `host` that a socket at `local` can reach.
pub(super) async fn resolve(
    host: &str,
    port: u16,
    local: SocketAddr,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let not_found = |cause| ConnectError::HostNotFound { host: host.to_owned(), cause };
    let all: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| not_found(error.to_string()))?
        .collect();
    if all.is_empty() {
        return Err(not_found("the name has no address".into()));
    }
    let reachable: Vec<SocketAddr> = all
        .into_iter()
        .filter(|address| address.is_ipv4() == local.is_ipv4())
        .take(MAX_ADDRESSES)
        .collect();
    if reachable.is_empty() {
        return Err(ConnectError::Family { host: host.to_owned(), local });
    }
    Ok(reachable)
}

/// Dials all addresses, one after the other begun, and takes the first that answers.
pub(super) async fn dial(
    wire: &Wire,
    addresses: Vec<SocketAddr>,
    expect: Option<NodeId>,
) -> Result<Established, WireError> {
    let mut attempts = JoinSet::new();
    for (at, address) in (0u32..).zip(addresses) {
        let wire = wire.clone();
        attempts.spawn(async move {
            // The clock of the runtime has whole milliseconds: even a sleep of zero is one.
            if at > 0 {
                tokio::time::sleep(STAGGER.saturating_mul(at)).await;
            }
            wire.connect(address, expect).await
        });
    }
    let mut last = WireError::Closed;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(established)) => return Ok(established),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(split("example.org:80").unwrap(), ("example.org", 80));
        assert_eq!(split("[::1]:9337").unwrap(), ("::1", 9337));
        for bad in ["", "host", "host:", ":80", "host:0", "host:70000", "::1:80", "[::1]"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
