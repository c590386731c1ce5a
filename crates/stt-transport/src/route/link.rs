//! What the socket knows of one connection, and how it finds it.
//!
//! The engine believes that each peer has one address for good. A [`Link`] is where that ends: what
//! arrives is told apart by the connection ids that we gave out, wherever it comes from, and gets
//! the address that the engine knows; what leaves is known by the connection that sends it, and goes
//! where the link's way leads at that moment. So addresses decide nothing: two sessions may have
//! the same one, and one that a session has left is free for the next peer.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    task::Waker,
};

use super::{
    driver::{Input, Inputs},
    multi_socket::Local,
    path::Path,
};

/// Bytes of a connection id or of the id of a route datagram.
pub(crate) type Id = [u8; 8];

/// Most ids of one connection: the engine gives out eight at once, and two of routes come to it.
const MAX_IDS: usize = 32;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) };
}

/// Which ids are whose.
pub(crate) struct Directory {
    links: RwLock<HashMap<Id, Arc<Link>>>,
    next: AtomicU64,
    inputs: Inputs,
}

/// One connection, as the socket sees it.
pub(crate) struct Link {
    /// Names it among those of this node.
    pub(crate) number: u64,
    /// What the engine takes for the peer's address.
    pub(crate) logical: SocketAddr,
    way: RwLock<NextHop>,
    /// Nothing is watched over: the next datagram says so.
    asleep: AtomicBool,
    /// Who waits for room on the way.
    waiting: Mutex<Option<Waker>>,
    /// `None` once it is closed.
    ids: Mutex<Option<Vec<Id>>>,
    directory: Weak<Directory>,
}

/// Where datagrams of a connection go.
#[derive(Clone, Debug)]
pub(crate) struct NextHop {
    pub(crate) path: Path,
    /// The socket of a path over UDP.
    pub(crate) local: Option<Arc<Local>>,
    /// The session left its first path: the engine's own idea of this node's address is out of date.
    pub(crate) moved: bool,
    /// This node's address to send from then, if it has several.
    pub(crate) source: Option<IpAddr>,
}

impl Directory {
    pub(crate) fn new(inputs: Inputs) -> Arc<Self> {
        Arc::new(Self { links: RwLock::default(), next: AtomicU64::new(0), inputs })
    }

    /// A link for a connection that is about to be made.
    pub(crate) fn link(self: &Arc<Self>, logical: SocketAddr, way: NextHop) -> Arc<Link> {
        Arc::new(Link {
            number: self.next.fetch_add(1, Relaxed),
            logical,
            way: RwLock::new(way),
            asleep: AtomicBool::new(false),
            waiting: Mutex::default(),
            ids: Mutex::new(Some(Vec::new())),
            directory: Arc::downgrade(self),
        })
    }

    /// Held while a batch of datagrams is sorted.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, HashMap<Id, Arc<Link>>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

impl Link {
    /// Datagrams with this id are for this connection.
    pub(crate) fn add_id(self: &Arc<Self>, id: Id) {
        let Some(directory) = self.directory.upgrade() else { return };
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = ids.as_mut() else { return };
        if known.contains(&id) || known.len() >= MAX_IDS {
            return;
        }
        known.push(id);
        // Both under the lock: it may be closed just then.
        let mut links = directory.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(id, Arc::clone(self));
    }

    /// Where its datagrams go at the moment.
    pub(crate) fn way(&self) -> NextHop {
        self.with_way(NextHop::clone)
    }

    /// As [`Self::way`], for who needs it for a moment only.
    pub(crate) fn with_way<T>(&self, act: impl FnOnce(&NextHop) -> T) -> T {
        act(&self.way.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets `act` make or feed a connection of the engine: the ids that come up are this link's.
    pub(crate) fn lend<T>(self: &Arc<Self>, act: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(Some(Arc::clone(self)));
        let result = act();
        CURRENT.set(outer);
        result
    }

    /// The link that is lent on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    pub(super) fn set_way(&self, way: NextHop) {
        *self.way.write().unwrap_or_else(PoisonError::into_inner) = way;
        // The way before may never have room again.
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Who waits for room on a way waits no longer once there is another.
    pub(super) fn wake_when_moved(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Some(known) => known.clone_from(waker),
            None => *waiting = Some(waker.clone()),
        }
    }

    /// A datagram came or went.
    pub(crate) fn stir(&self) {
        if self.asleep.load(Relaxed)
            && self.asleep.swap(false, SeqCst)
            && let Some(directory) = self.directory.upgrade()
        {
            directory.inputs.send(Input::Stirred(self.number));
        }
    }

    /// From now on the next datagram is told of.
    pub(super) fn sleep(&self) {
        self.asleep.store(true, SeqCst);
    }

    /// It is watched again; whoever calls this knows of the datagram.
    pub(super) fn wake(&self) {
        self.asleep.store(false, SeqCst);
    }

    /// The connection is over, or was never made.
    pub(crate) fn close(&self) {
        let Some(directory) = self.directory.upgrade() else { return };
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut links = directory.links.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids.into_iter().flatten() {
            links.remove(&id);
        }
        drop(links);
        let path = {
            let mut way = self.way.write().unwrap_or_else(PoisonError::into_inner);
            // Handles of a session that is over hold no socket open.
            way.local = None;
            way.path
        };
        directory.inputs.send(Input::Ended(self.number, path));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("number", &self.number).field("way", &self.way()).finish()
    }
}
