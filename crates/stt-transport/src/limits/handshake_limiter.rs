//! The door of an endpoint or a listener: [`Door`] with the clock, and those who wait at it.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Door, DoorLimits, Shut, now};

/// Decides which handshakes begin.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    door: Mutex<Door<oneshot::Sender<()>>>,
}

/// An unfinished handshake; dropping it makes its place free.
#[derive(Debug)]
pub(crate) struct Begun {
    keeper: Arc<Doorkeeper>,
    number: u64,
    gave_way: Option<oneshot::Receiver<()>>,
}

impl Doorkeeper {
    pub(crate) fn new(limits: DoorLimits) -> Self {
        Self { door: Mutex::new(Door::new(limits)) }
    }

    /// As [`Door::knock`], now.
    pub(crate) fn knock(&self, from: IpAddr) -> Result<(), Shut> {
        self.door().knock(now(), from)
    }

    /// As [`Door::begin`], now.
    pub(crate) fn begin(self: &Arc<Self>, from: Option<IpAddr>) -> Result<Begun, Shut> {
        self.begin_at(from, false)
    }

    /// As [`Door::begin_at`], now.
    pub(crate) fn begin_at(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        has_knocked: bool,
    ) -> Result<Begun, Shut> {
        let (tell, told) = oneshot::channel();
        let (number, _) = self.door().begin_at(now(), from, has_knocked, tell)?;
        Ok(Begun { keeper: Arc::clone(self), number, gave_way: Some(told) })
    }

    /// Unfinished handshakes.
    pub(crate) fn half_open(&self) -> usize {
        self.door().half_open()
    }

    fn door(&self) -> MutexGuard<'_, Door<oneshot::Sender<()>>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun {
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
                () = tokio::time::sleep(DoorLimits::TIME) => {}
            }
        })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.keeper.door().end(self.number);
    }
}
