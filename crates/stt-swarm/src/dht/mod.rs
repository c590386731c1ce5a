//! The distributed hash table.
//!
//! | look for | in |
//! |---|---|
//! | what applications hold | [`KademliaDht`], [`Providers`] |
//! | signed values | `record` |
//! | what outlives a restart | `saved`, `entries` |
//! | what a node keeps for others | `store` |

pub(crate) mod entries;
pub(crate) mod record;
pub(crate) mod saved;
pub(crate) mod store;

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use stt::{Bytes, ContentId, IntoAddress, NodeId, Payload, Session};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    ContentTicket, DialFailure, Provider,
    engine::{Handle, command::Command},
    pubsub::check,
    swarm_error::SwarmError,
};

/// Providers that one search gives, at most.
pub(crate) const MAX_FOUND: usize = 256;
/// Nodes that are tried at once to join a swarm.
const MAX_BOOTSTRAP: usize = 64;

/// A member of the swarm, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwarmMember {
    /// Who it is.
    pub node_id: NodeId,
    /// Where it can be reached. Empty if only it can reach this node.
    pub addresses: Vec<SocketAddr>,
    /// Whether this node is linked with it now.
    pub linked: bool,
}

/// A provider that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderFound {
    /// Who it is. This node, if it provides itself.
    pub node_id: NodeId,
    /// Where it was reached; of this node, where it listens.
    pub address: SocketAddr,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedValue {
    /// The value.
    pub data: Bytes,
    /// Who stored it, proved by a signature.
    pub publisher: NodeId,
}

/// What became of a value that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Other nodes that confirmed that they keep it: 20 at most, 0 alone. This node keeps it
    /// anyway.
    pub copies: usize,
}

/// How joining a swarm went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bootstrapped {
    /// Who was reached first.
    pub reached: NodeId,
    /// Nodes in the routing table.
    pub known: usize,
}

/// A distributed hash table among the members of a swarm ([`Swarm::dht`](crate::Swarm::dht)).
///
/// Keys are bytes of any length up to [`MAX_KEY`](Self::MAX_KEY); those of values and those of
/// providers do not meet.
#[derive(Clone, Debug)]
pub struct KademliaDht {
    pub(crate) handle: Handle,
}

/// Providers as they are found ([`KademliaDht::find_providers`]). Dropped, the search ends.
#[derive(Debug)]
pub struct Providers {
    found: mpsc::Receiver<ProviderFound>,
}

impl KademliaDht {
    /// Longest key, in bytes.
    pub const MAX_KEY: usize = 1_024;
    /// Longest value, in bytes.
    pub const MAX_VALUE: usize = record::MAX_VALUE;

    /// Joins the swarm by nodes at `addresses`, which are those that
    /// [`Node::connect`](stt::Node::connect) takes, all tried at once: it is enough that one
    /// answers. Those that answer later are linked as well. Whoever answers is some member of the
    /// swarm; everybody met after that is dialled by its node id. They are told what this node
    /// stored and provides already, 128 of each at once.
    ///
    /// # Errors
    /// [`SwarmError::NoBootstrap`] if none answers, [`SwarmError::TooMany`] beyond 64 addresses,
    /// [`SwarmError::Timeout`], [`SwarmError::Stopped`].
    pub async fn bootstrap(
        &self,
        addresses: impl IntoIterator<Item = impl IntoAddress>,
    ) -> Result<Bootstrapped, SwarmError> {
        let addresses = addresses.into_iter().take(MAX_BOOTSTRAP + 1);
        let addresses: Vec<_> = addresses.map(IntoAddress::into_address).collect();
        if addresses.len() > MAX_BOOTSTRAP {
            return Err(SwarmError::TooMany {
                what: "addresses to begin with",
                max: MAX_BOOTSTRAP,
            });
        }
        let (mut joining, mut causes) = (JoinSet::new(), Vec::new());
        for address in addresses {
            let address = match address {
                Ok(address) => address,
                Err(error) => {
                    causes.push(DialFailure {
                        address: error.text().to_owned(),
                        cause: error.into(),
                    });
                    continue;
                }
            };
            let links = self.handle.links();
            joining.spawn(async move {
                let joined = links.join(&address).await;
                joined.map_err(|error| DialFailure {
                    address: address.to_string(),
                    cause: error.into_cause(),
                })
            });
        }
        while let Some(joined) = joining.join_next().await {
            match joined {
                Ok(Ok(reached)) => {
                    joining.detach_all();
                    let known = self.handle.ask(Command::Bootstrap).await?;
                    return Ok(Bootstrapped { reached, known });
                }
                Ok(Err(cause)) => causes.push(cause),
                Err(_) => {}
            }
        }
        Err(SwarmError::NoBootstrap { causes })
    }

    /// Stores `value` under `key` at the nodes closest to it, signed, for 24 hours; while this
    /// swarm runs it is stored again every 8. A key has one value: the first publisher's, until it
    /// expires or is replaced by that publisher.
    ///
    /// With a chamber ([`Swarm::start_with`](crate::Swarm::start_with)) it is on the disk when
    /// this returns, and is stored again after a restart, until it is
    /// [forgotten](Self::forget).
    ///
    /// # Errors
    /// [`SwarmError::Taken`], [`SwarmError::TooLarge`], [`SwarmError::TooMany`] beyond 1,024 own
    /// values, [`SwarmError::NotSaved`] if it was stored but is not on the disk,
    /// [`SwarmError::Timeout`], [`SwarmError::Busy`], [`SwarmError::Stopped`].
    pub async fn store(&self, key: &[u8], value: impl Payload) -> Result<Stored, SwarmError> {
        check_key(key)?;
        check("a value", value.as_slice().len(), Self::MAX_VALUE)?;
        let (key, value) = (key.to_vec(), value.into_bytes().into());
        let stored = self.handle.ask(|reply| Command::Store { key, value, reply }).await?;
        self.handle.ask(Command::Written).await?;
        Ok(stored)
    }

    /// Stores the value of `key` that this node published no more: whether there was one. Copies at
    /// other nodes hold until they expire.
    ///
    /// # Errors
    /// [`SwarmError::TooLarge`], [`SwarmError::NotSaved`], [`SwarmError::Stopped`].
    pub async fn forget(&self, key: &[u8]) -> Result<bool, SwarmError> {
        check_key(key)?;
        let key = key.to_vec();
        let known = self.handle.ask(|reply| Command::Forget { key, reply }).await?;
        self.handle.ask(Command::Written).await?;
        Ok(known)
    }

    /// The value of `key`, by whichever member stored it; `None` if there is none.
    ///
    /// Any member can have stored it, and a node close to the key can answer with a value of its
    /// own: who must not be deceived asks for the value [of a publisher](Self::find_value_of).
    ///
    /// # Errors
    /// [`SwarmError::Timeout`], [`SwarmError::TooLarge`], [`SwarmError::Busy`],
    /// [`SwarmError::Stopped`].
    pub async fn find_value(&self, key: &[u8]) -> Result<Option<SignedValue>, SwarmError> {
        self.find(key, None).await
    }

    /// The value that `publisher` stored under `key`, if somebody has it.
    ///
    /// # Errors
    /// As [`find_value`](Self::find_value).
    pub async fn find_value_of(
        &self,
        key: &[u8],
        publisher: NodeId,
    ) -> Result<Option<SignedValue>, SwarmError> {
        self.find(key, Some(publisher)).await
    }

    async fn find(
        &self,
        key: &[u8],
        publisher: Option<NodeId>,
    ) -> Result<Option<SignedValue>, SwarmError> {
        check_key(key)?;
        let key = key.to_vec();
        self.handle.ask(|reply| Command::Find { key, publisher, reply }).await
    }

    /// Says at the nodes closest to `key` that this node provides what the key stands for, and
    /// again every 10 minutes; it holds for 30. They do not confirm it.
    ///
    /// # Errors
    /// [`SwarmError::TooLarge`], [`SwarmError::TooMany`] beyond 1,024 keys,
    /// [`SwarmError::Timeout`],
    /// [`SwarmError::Busy`], [`SwarmError::Stopped`].
    pub async fn provide(&self, key: &[u8]) -> Result<(), SwarmError> {
        check_key(key)?;
        let key = key.to_vec();
        self.handle.ask(|reply| Command::Provide { key, reply }).await
    }

    /// Says so no more. What others know holds for 30 minutes at most.
    ///
    /// # Errors
    /// [`SwarmError::TooLarge`], [`SwarmError::Stopped`].
    pub async fn stop_providing(&self, key: &[u8]) -> Result<(), SwarmError> {
        check_key(key)?;
        self.handle.tell(Command::StopProviding { key: key.to_vec() }).await
    }

    /// Who provides `key`, as they are found and answer: 256 at most.
    ///
    /// # Errors
    /// [`SwarmError::TooLarge`], [`SwarmError::Busy`], [`SwarmError::Stopped`].
    pub async fn find_providers(&self, key: &[u8]) -> Result<Providers, SwarmError> {
        check_key(key)?;
        let key = key.to_vec();
        let (sender, found) = mpsc::channel(MAX_FOUND);
        let command = |reply| Command::Providers { key, found: sender, reply };
        self.handle.ask(command).await?;
        Ok(Providers { found })
    }

    /// Says that this node offers the content with this root, for
    /// [`add_providers`](Self::add_providers) of others; as [`provide`](Self::provide).
    ///
    /// # Errors
    /// As [`provide`](Self::provide).
    pub async fn provide_content(&self, root: &ContentId) -> Result<(), SwarmError> {
        self.provide(&content_key(root)).await
    }

    /// Says so no more, as [`stop_providing`](Self::stop_providing).
    ///
    /// # Errors
    /// [`SwarmError::Stopped`].
    pub async fn stop_providing_content(&self, root: &ContentId) -> Result<(), SwarmError> {
        self.stop_providing(&content_key(root)).await
    }

    /// Who offers the content with this root, as [`find_providers`](Self::find_providers).
    ///
    /// # Errors
    /// As [`find_providers`](Self::find_providers).
    pub async fn find_providers_of_content(
        &self,
        root: &ContentId,
    ) -> Result<Providers, SwarmError> {
        self.find_providers(&content_key(root)).await
    }

    /// Names in `ticket` who provides its content besides those that it names, looking for up to
    /// `patience`, or until it names as many as it may: how many it names more.
    ///
    /// # Errors
    /// As [`find_providers`](Self::find_providers).
    pub async fn add_providers(
        &self,
        ticket: &mut ContentTicket,
        patience: Duration,
    ) -> Result<usize, SwarmError> {
        let before = ticket.providers().len();
        let until = tokio::time::Instant::now() + patience;
        let mut providers = self.find_providers_of_content(&ticket.root()).await?;
        let me = self.handle.links().node().node_id();
        while let Ok(Some(found)) = tokio::time::timeout_at(until, providers.next()).await {
            let provider = Provider { node_id: found.node_id, addresses: vec![found.address] };
            if found.node_id != me
                && ticket.add_provider(provider).is_err()
                && ticket.providers().len() >= ContentTicket::MAX_PROVIDERS
            {
                break;
            }
        }
        Ok(ticket.providers().len() - before)
    }

    /// The nodes whose ids are closest to `node`, itself included if it takes part: 20 at most.
    ///
    /// # Errors
    /// [`SwarmError::Timeout`], [`SwarmError::Busy`], [`SwarmError::Stopped`].
    pub async fn find_node(&self, node: NodeId) -> Result<Vec<SwarmMember>, SwarmError> {
        self.handle.ask(|reply| Command::Closest { node, reply }).await
    }

    /// A session with `node`, which is looked for if its address is not known.
    ///
    /// # Errors
    /// [`SwarmError::Unreachable`], [`SwarmError::Busy`], [`SwarmError::Stopped`].
    pub async fn connect(&self, node: NodeId) -> Result<Session, SwarmError> {
        self.handle.ask(|reply| Command::Connect { node, reply }).await
    }

    /// Who is linked with this node or in its routing table.
    ///
    /// # Errors
    /// [`SwarmError::Stopped`].
    pub async fn peers(&self) -> Result<Vec<SwarmMember>, SwarmError> {
        self.handle.ask(Command::Peers).await
    }
}

/// The key of a content, which is no application's.
fn content_key(root: &ContentId) -> Vec<u8> {
    [b"content ", &root.as_bytes()[..]].concat()
}

fn check_key(key: &[u8]) -> Result<(), SwarmError> {
    check("a key", key.len(), KademliaDht::MAX_KEY)
}

impl Providers {
    /// The next one; `None` once the search is over.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<ProviderFound> {
        self.found.recv().await
    }
}

impl futures_util::Stream for Providers {
    type Item = ProviderFound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.found.poll_recv(cx)
    }
}
