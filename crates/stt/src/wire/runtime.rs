//! Knowing which of the engine's tasks is running.
//!
//! The engine answers some strangers from the task that reads the socket (version negotiation,
//! stateless reset, refusals). Only the tasks of connections may send, so the socket has to know
//! who calls it. The engine spawns the task of the endpoint first and then one for each connection;
//! a test asserts it, and the version of the engine is pinned.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::UdpSocket,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

use crate::route::Link;

/// What the socket knows about the task that calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) role: Role,
    /// Bytes of the transmission in hand that the system has taken already.
    pub(crate) taken: usize,
    /// Size of the last full datagram.
    pub(crate) datagram: usize,
}

/// What a task of the engine is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// No task of the engine: somebody called one of its functions.
    #[default]
    Outside,
    /// Reads the socket and sorts datagrams.
    Endpoint,
    /// Drives one connection.
    Connection,
}

thread_local! {
    static SCOPE: Cell<Scope> = const {
        Cell::new(Scope { role: Role::Outside, taken: 0, datagram: 0 })
    };
}

thread_local! {
    static LINK: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) };
}

/// Lets `act` make a connection of the engine: its ids, its task and its poller belong to `link`.
pub(crate) fn making<T>(link: &Arc<Link>, act: impl FnOnce() -> T) -> T {
    let outer = LINK.replace(Some(Arc::clone(link)));
    let result = act();
    LINK.set(outer);
    result
}

/// The link of the connection that is being polled or made on this thread.
pub(crate) fn current_link() -> Option<Arc<Link>> {
    LINK.with_borrow(Option::clone)
}

impl Scope {
    /// That of the task that is being polled on this thread.
    pub(crate) fn current() -> Self {
        SCOPE.get()
    }

    /// Lets `act` send as a connection would.
    pub(crate) fn as_connection<T>(act: impl FnOnce() -> T) -> T {
        let outer = SCOPE.replace(Self { role: Role::Connection, ..Self::default() });
        let result = act();
        SCOPE.set(outer);
        result
    }

    /// Changes it until the task yields, and from its next poll on.
    pub(crate) fn store(self) {
        SCOPE.set(self);
    }
}

/// Tokio's runtime, with a scope around every task of the engine. One for each endpoint.
#[derive(Debug, Default)]
pub(crate) struct ScopedRuntime {
    endpoint_runs: AtomicBool,
}

struct Scoped {
    scope: Scope,
    /// Lent to the thread while the task is polled.
    link: Option<Arc<Link>>,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Scoped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let outer = SCOPE.replace(self.scope);
        let outer_link = LINK.replace(self.link.take());
        let polled = self.task.as_mut().poll(cx);
        self.link = LINK.replace(outer_link);
        self.scope = SCOPE.replace(outer);
        polled
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.close();
        }
    }
}

impl Runtime for ScopedRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let role =
            if self.endpoint_runs.swap(true, Relaxed) { Role::Connection } else { Role::Endpoint };
        let scope = Scope { role, ..Scope::default() };
        TokioRuntime.spawn(Box::pin(Scoped { scope, link: current_link(), task }));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
