//! Handlers by frame type.

use std::{
    array,
    future::Future,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{Carrier, DispatchError, Frame, FrameType};
use crate::{Payload, catch_panic::catching};

/// Something that handles frames. Every `Fn(Frame) -> impl Future` is one.
pub trait FrameHandler: Send + Sync + 'static {
    /// Handles one frame.
    fn handle(&self, frame: Frame) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<F, Fut> FrameHandler for F
where
    F: Fn(Frame) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, frame: Frame) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self(frame))
    }
}

/// Calls the handler of a frame's type. Cheap to clone; clones share everything.
///
/// `dispatch` waits for the handler, so a carrier that dispatches one frame after the other keeps
/// their order and is pushed back by a slow handler: a stream's flow control then slows the peer,
/// and datagrams that find their queue full are dropped.
#[derive(Clone)]
pub struct FrameDispatcher {
    table: Arc<Table>,
}

struct Table {
    handlers: RwLock<[Option<Arc<dyn FrameHandler>>; FrameType::COUNT]>,
    handled: AtomicU64,
    unknown: AtomicU64,
    reserved: AtomicU64,
    empty: AtomicU64,
    panicked: AtomicU64,
}

/// What a dispatcher has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DispatcherStats {
    /// Frames whose handler was called.
    pub handled: u64,
    /// Frames of a type without a handler, dropped.
    pub unknown: u64,
    /// Frames of a type that is not an application's, refused.
    pub reserved: u64,
    /// Frames without a type, refused.
    pub empty: u64,
    /// Calls that panicked.
    pub panicked: u64,
}

impl FrameDispatcher {
    /// A dispatcher without handlers.
    #[must_use]
    pub fn new() -> Self {
        let table = Table {
            handlers: RwLock::new(array::from_fn(|_| None)),
            handled: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
        };
        Self { table: Arc::new(table) }
    }

    /// Registers the handler of a type.
    ///
    /// # Errors
    /// [`DispatchError::Reserved`] below 0x80, [`DispatchError::Taken`] when there is one already.
    pub fn register_handler(
        &self,
        frame_type: u8,
        handler: impl FrameHandler,
    ) -> Result<(), DispatchError> {
        let frame_type = FrameType::new(frame_type)?;
        let taken = DispatchError::Taken { frame_type: frame_type.get() };
        let mut handlers = self.table.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let slot = handlers.get_mut(frame_type.index()).ok_or(taken)?;
        if slot.is_some() {
            return Err(taken);
        }
        *slot = Some(Arc::new(handler));
        Ok(())
    }

    /// Removes the handler of a type, and says whether there was one.
    pub fn unregister_handler(&self, frame_type: u8) -> bool {
        let Ok(frame_type) = FrameType::new(frame_type) else { return false };
        let mut handlers = self.table.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let removed = handlers.get_mut(frame_type.index()).and_then(Option::take);
        drop(handlers);
        removed.is_some()
    }

    /// The types that have a handler, in order.
    #[must_use]
    pub fn registered(&self) -> Vec<u8> {
        let handlers = self.table.handlers.read().unwrap_or_else(PoisonError::into_inner);
        (FrameType::FIRST..=u8::MAX)
            .zip(handlers.iter())
            .filter_map(|(frame_type, handler)| handler.as_ref().map(|_| frame_type))
            .collect()
    }

    /// Calls the handler of `frame_type` and waits for it. False when there is none: the frame is
    /// counted and dropped.
    ///
    /// # Errors
    /// [`DispatchError::Reserved`] below 0x80, [`DispatchError::Panicked`].
    pub async fn dispatch(
        &self,
        frame_type: u8,
        payload: impl Payload,
    ) -> Result<bool, DispatchError> {
        let frame_type = FrameType::new(frame_type).inspect_err(|error| self.count(*error))?;
        let payload = payload.into_bytes();
        let frame = Frame { frame_type, payload, session_id: None, carrier: Carrier::Local };
        self.dispatch_frame(frame).await
    }

    /// As [`Self::dispatch`], with the bytes of a frame as they came over a session.
    ///
    /// # Errors
    /// [`DispatchError`]; none of them ends the session.
    pub async fn dispatch_bytes(
        &self,
        bytes: Bytes,
        session_id: Option<crate::SessionId>,
        carrier: Carrier,
    ) -> Result<bool, DispatchError> {
        let frame =
            Frame::decode(bytes, session_id, carrier).inspect_err(|error| self.count(*error))?;
        self.dispatch_frame(frame).await
    }

    /// As [`Self::dispatch`], with a frame.
    ///
    /// # Errors
    /// [`DispatchError::Panicked`].
    pub async fn dispatch_frame(&self, frame: Frame) -> Result<bool, DispatchError> {
        let frame_type = frame.frame_type;
        let handler = {
            let handlers = self.table.handlers.read().unwrap_or_else(PoisonError::into_inner);
            handlers.get(frame_type.index()).cloned().flatten()
        };
        let Some(handler) = handler else {
            self.table.unknown.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        };
        self.table.handled.fetch_add(1, Ordering::Relaxed);
        catching(|| handler.handle(frame))
            .await
            .map_err(|_| DispatchError::Panicked { frame_type: frame_type.get() })
            .inspect_err(|error| self.count(*error))?;
        Ok(true)
    }

    /// What the dispatcher has done so far.
    #[must_use]
    pub fn stats(&self) -> DispatcherStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DispatcherStats {
            handled: read(&self.table.handled),
            unknown: read(&self.table.unknown),
            reserved: read(&self.table.reserved),
            empty: read(&self.table.empty),
            panicked: read(&self.table.panicked),
        }
    }

    fn count(&self, error: DispatchError) {
        let counter = match error {
            DispatchError::Reserved { .. } => &self.table.reserved,
            DispatchError::Empty => &self.table.empty,
            DispatchError::Panicked { .. } => &self.table.panicked,
            DispatchError::Taken { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Default for FrameDispatcher {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for FrameDispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameDispatcher")
            .field("registered", &self.registered())
            .field("stats", &self.stats())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn frames_reach_the_handler_of_their_type_and_no_other() {
        let dispatcher = FrameDispatcher::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for frame_type in [0x80, 0xff] {
            let seen = Arc::clone(&seen);
            dispatcher
                .register_handler(frame_type, move |frame: Frame| {
                    seen.lock().unwrap().push((frame.frame_type.get(), frame.payload));
                    async {}
                })
                .unwrap();
        }
        assert_eq!(dispatcher.dispatch(0x80, &b"one"[..]).await, Ok(true));
        let bytes = Frame::encode(FrameType::new(0xff).unwrap(), b"two");
        assert_eq!(dispatcher.dispatch_bytes(bytes, None, Carrier::Stream).await, Ok(true));
        assert_eq!(dispatcher.dispatch(0x81, &b"nobody"[..]).await, Ok(false));
        assert_eq!(
            *seen.lock().unwrap(),
            [(0x80, Bytes::from_static(b"one")), (0xff, Bytes::from_static(b"two"))]
        );
        assert_eq!(dispatcher.registered(), [0x80, 0xff]);
        let stats = dispatcher.stats();
        assert_eq!((stats.handled, stats.unknown), (2, 1));
    }

    #[tokio::test]
    async fn the_reserved_range_is_refused_everywhere() {
        let dispatcher = FrameDispatcher::new();
        for frame_type in 0..0x80 {
            let refused = DispatchError::Reserved { frame_type };
            assert_eq!(dispatcher.register_handler(frame_type, |_: Frame| async {}), Err(refused));
            assert_eq!(dispatcher.dispatch(frame_type, Bytes::new()).await, Err(refused));
        }
        assert_eq!(dispatcher.stats().reserved, 128);
        let empty = dispatcher.dispatch_bytes(Bytes::new(), None, Carrier::Datagram).await;
        assert_eq!(empty, Err(DispatchError::Empty));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_handler_stays() {
        let dispatcher = FrameDispatcher::new();
        dispatcher
            .register_handler(0x90, |frame: Frame| async move {
                assert!(!frame.payload.is_empty(), "empty");
            })
            .unwrap();
        let taken = dispatcher.register_handler(0x90, |_: Frame| async {});
        assert_eq!(taken, Err(DispatchError::Taken { frame_type: 0x90 }));
        let panicked = Err(DispatchError::Panicked { frame_type: 0x90 });
        assert_eq!(dispatcher.dispatch(0x90, Bytes::new()).await, panicked);
        assert_eq!(dispatcher.dispatch(0x90, &b"x"[..]).await, Ok(true));
        assert!(dispatcher.unregister_handler(0x90));
        assert_eq!(dispatcher.dispatch(0x90, &b"x"[..]).await, Ok(false));
    }
}
