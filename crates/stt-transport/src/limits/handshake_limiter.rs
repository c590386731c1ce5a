//! The handshake limit of an endpoint or a listener: [`HandshakeLimit`] with the clock, and the
//! handshakes under way.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{HandshakeLimit, HandshakeLimits, Rejected, now};

/// Decides which handshakes begin.
#[derive(Debug)]
pub(crate) struct HandshakeLimiter {
    door: Mutex<HandshakeLimit<oneshot::Sender<()>>>,
}

/// An unfinished handshake; dropping it makes its place free.
#[derive(Debug)]
pub(crate) struct HalfOpenGuard {
    keeper: Arc<HandshakeLimiter>,
    number: u64,
    gave_way: Option<oneshot::Receiver<()>>,
}

impl HandshakeLimiter {
    pub(crate) fn new(limits: HandshakeLimits) -> Self {
        Self { door: Mutex::new(HandshakeLimit::new(limits)) }
    }

    /// As [`HandshakeLimit::knock`], now.
    pub(crate) fn knock(&self, from: IpAddr) -> Result<(), Rejected> {
        self.door().knock(now(), from)
    }

    /// As [`HandshakeLimit::begin`], now.
    pub(crate) fn begin(self: &Arc<Self>, from: Option<IpAddr>) -> Result<HalfOpenGuard, Rejected> {
        self.begin_at(from, false)
    }

    /// As [`HandshakeLimit::begin_at`], now.
    pub(crate) fn begin_at(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        has_knocked: bool,
    ) -> Result<HalfOpenGuard, Rejected> {
        let (tell, told) = oneshot::channel();
        let (number, _) = self.door().begin_at(now(), from, has_knocked, tell)?;
        Ok(HalfOpenGuard { keeper: Arc::clone(self), number, gave_way: Some(told) })
    }

    /// Unfinished handshakes.
    pub(crate) fn half_open(&self) -> usize {
        self.door().half_open()
    }

    fn door(&self) -> MutexGuard<'_, HandshakeLimit<oneshot::Sender<()>>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HalfOpenGuard {
    /// Ready when it has had all its time, or has to give way.
    pub(crate) fn expired(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let gave_way = self.gave_way.take();
        Box::pin(async move {
            let gave_way = async {
                match gave_way {
                    // The door drops the other end.
                    Some(gave_way) => drop(gave_way.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = gave_way => {}
                () = tokio::time::sleep(HandshakeLimits::TIME) => {}
            }
        })
    }
}

impl Drop for HalfOpenGuard {
    fn drop(&mut self) {
        self.keeper.door().end(self.number);
    }
}
