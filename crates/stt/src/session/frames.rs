//! Frames of the application over a session.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Session, datagrams};
use crate::{
    Payload, StreamError,
    dispatch::{Carrier, DispatchError, Frame, FrameDispatcher, FrameType},
};

/// Why a frame was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It cannot be a frame.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// What carries frames did not take it.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl stc::Coded for FrameError {
    fn code(&self) -> &'static str {
        match self {
            Self::Dispatch(error) => error.code(),
            Self::Stream(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Dispatch(error) => error.retry_helps(),
            Self::Stream(error) => error.retry_helps(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Dispatch(error) => error.hint(),
            Self::Stream(error) => error.hint(),
        }
    }
}

/// Keeps frames dispatched: dropped, no more of them are. A handler that runs is given up where it
/// waits.
#[derive(Debug)]
#[must_use = "dropped, no frames are dispatched"]
pub struct FrameDispatch(JoinHandle<()>);

impl FrameDispatch {
    /// Waits until the session has ended.
    pub async fn ended(mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for FrameDispatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// The stream that carries frames in order: the highest number. [`Session::accept_stream`] and
    /// [`Node::receive`](crate::Node::receive) leave it alone.
    pub const FRAME_STREAM: u32 = u32::MAX;

    /// Sends a frame of the application, in order with the other frames, and not lost while the
    /// session lives. Waits while the peer does not keep up.
    ///
    /// # Errors
    /// [`DispatchError::Reserved`] below 0x80, or as [`crate::Stream::send`].
    pub async fn send_frame(
        &self,
        frame_type: u8,
        payload: impl Payload,
    ) -> Result<(), FrameError> {
        let frame = Frame::encode(FrameType::new(frame_type)?, payload.as_slice());
        Ok(self.get_stream(Self::FRAME_STREAM)?.send(frame).await?)
    }

    /// Sends a frame of the application in one datagram: it may be lost, or overtaken.
    ///
    /// # Errors
    /// [`DispatchError::Reserved`] below 0x80, [`StreamError::FrameTooLarge`] when it does not fit
    /// into a datagram, or [`StreamError::SessionEnded`].
    pub async fn send_frame_datagram(
        &self,
        frame_type: u8,
        payload: impl Payload,
    ) -> Result<(), FrameError> {
        let frame = Frame::encode(FrameType::new(frame_type)?, payload.as_slice());
        Ok(datagrams::send_frame(self.shared(), frame).await?)
    }

    /// Dispatches the frames of the peer until the session ends or what is returned is dropped.
    ///
    /// Frames of each carrier are dispatched one after the other. A slow handler makes the peer's
    /// `send_frame` wait, and loses frames in datagrams beyond 1,024 that wait. Frames that arrive
    /// before this is called wait for it. Frames that are reserved or of no known type are counted
    /// ([`FrameDispatcher::stats`]) and end nothing.
    ///
    /// # Errors
    /// [`StreamError`] when the session is over.
    pub fn dispatch_frames(
        &self,
        dispatcher: &FrameDispatcher,
    ) -> Result<FrameDispatch, StreamError> {
        let stream = self.get_stream(Self::FRAME_STREAM)?;
        let (session, dispatcher) = (Arc::clone(self.shared()), dispatcher.clone());
        let id = Some(session.id);
        Ok(FrameDispatch(tokio::spawn(async move {
            let ordered = async {
                while let Ok(Some(frame)) = stream.receive().await {
                    // Errors are counted by the dispatcher.
                    let _ = dispatcher.dispatch_bytes(frame, id, Carrier::Stream).await;
                }
                session.closed().await;
            };
            let loose = async {
                loop {
                    let frame = session.datagrams.next_frame().await;
                    let _ = dispatcher.dispatch_bytes(frame, id, Carrier::Datagram).await;
                }
            };
            tokio::select! {
                () = ordered => {}
                () = loose => {}
            }
        })))
    }
}
