//! The engine under the swarm: libp2p's, over our sealed sessions.
//!
//! | look for | in |
//! |---|---|
//! | names and addresses | `peer` |
//! | who is linked, and which of two links counts | `table`, `hello` |
//! | how links begin and end | `links`, `link` |
//! | links as the engine wants them | `transport`, `muxer`, `substream` |
//! | what runs over them, and its settings | `behaviour` |
//! | the task that the engine runs in | `driver` and what is below it, `queries` |
//! | the task that writes what outlives a restart | `keeper` |
//! | many nodes over links in memory, in tests | `simulated`, `scale` |
//! | what is asked of it | `command`, [`Handle`] |

mod behaviour;
pub(crate) mod command;
mod driver;
mod hello;
mod keeper;
mod link;
mod links;
mod muxer;
pub(crate) mod peer;
mod queries;
#[cfg(test)]
mod scale;
#[cfg(test)]
pub(crate) mod simulated;
mod substream;
mod table;
mod transport;

use std::{fmt, sync::Arc};

use libp2p_core::Transport;
use stt::Node;
use stt_store::Chamber;
use tokio::sync::{mpsc, oneshot};

use crate::{
    SwarmOptions,
    dht::{saved::Saved, store},
    swarm_error::SwarmError,
};
use command::{Command, Reply};
use driver::Driver;
use keeper::Keeper;
use links::Links;
use transport::SealedTransport;

/// Wishes that wait for the engine.
const WAITING: usize = 256;

/// How the engine's task is reached. It ends with the last of them.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    links: Arc<Links>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.links.node()).finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn links(&self) -> Arc<Links> {
        Arc::clone(&self.links)
    }

    /// Asks the engine, which always answers while it runs.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, SwarmError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| SwarmError::Stopped)?
    }

    pub(crate) async fn tell(&self, command: Command) -> Result<(), SwarmError> {
        self.commands.send(command).await.map_err(|_| SwarmError::Stopped)
    }
}

/// Starts the engine over links of a network in memory.
#[cfg(test)]
pub(crate) fn start_simulated(
    node: &Node,
    options: &SwarmOptions,
    network: &Arc<simulated::Network>,
) -> Result<Handle, SwarmError> {
    let started = u64::try_from(store::now().as_millis()).unwrap_or(u64::MAX);
    let mut links = Links::new(node.clone(), started, options.serve, options.max_links);
    links.simulated = Some(Arc::clone(network));
    let links = Arc::new(links);
    let transport = network.add(node).boxed();
    let (commands, receiver) = mpsc::channel(WAITING);
    let asked = commands.downgrade();
    let driver = Driver::new(Arc::clone(&links), transport, receiver, asked, options, started)?;
    tokio::spawn(driver.run());
    Ok(Handle { commands, links })
}

/// Starts the engine over `node`. What outlives a restart is in the chamber, if there is one; this
/// is what was there.
pub(crate) fn start(
    node: &Node,
    options: &SwarmOptions,
    chamber: Option<(Chamber, Saved)>,
) -> Result<Handle, SwarmError> {
    let started = u64::try_from(store::now().as_millis()).unwrap_or(u64::MAX);
    let links = Links::new(node.clone(), started, options.serve, options.max_links);
    let links = Arc::new(links);
    let transport = SealedTransport::new(Arc::clone(&links)).boxed();
    let (commands, receiver) = mpsc::channel(WAITING);
    let asked = commands.downgrade();
    let mut driver = Driver::new(Arc::clone(&links), transport, receiver, asked, options, started)?;
    if let Some((chamber, saved)) = chamber {
        driver.restore(Keeper::start(chamber, options.name.clone()), saved);
    }
    tokio::spawn(driver.run());
    Ok(Handle { commands, links })
}
