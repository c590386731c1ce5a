//! The stream of a protocol that an application holds.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ProtocolError, ProtocolReceiver, ProtocolSender};
use crate::{Payload, Priority, Session, Stream, StreamStats, stream::label::Label};

/// A two-way stream of one protocol, from [`Session::open_protocol`] or for the handler of
/// [`Node::handle_protocol`](crate::Node::handle_protocol).
///
/// It carries messages ([`send`](Self::send), [`receive`](Self::receive)), raw bytes (`AsyncRead`,
/// `AsyncWrite`), or the ones after the others: both sides of a protocol have to mean the same.
///
/// Dropped, its sending direction is finished and its receiving one stopped, as those of
/// [`ProtocolSender`] and [`ProtocolReceiver`]; its place is free once the peer knows.
#[derive(Debug)]
pub struct ProtocolStream {
    sender: ProtocolSender,
    receiver: ProtocolReceiver,
}

impl ProtocolStream {
    /// Most bytes of a label.
    pub const MAX_LABEL: usize = Label::MAX;

    pub(crate) fn new(stream: Stream, label: Label) -> Self {
        let receiver = ProtocolReceiver::new(stream.clone(), label);
        Self { sender: ProtocolSender::new(stream, label), receiver }
    }

    /// Its two directions, each for whoever needs it.
    #[must_use]
    pub fn into_split(self) -> (ProtocolSender, ProtocolReceiver) {
        (self.sender, self.receiver)
    }

    /// The label of its protocol.
    #[must_use]
    pub fn label(&self) -> Vec<u8> {
        self.sender.label().as_bytes().to_vec()
    }

    /// Its number among those of its label.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.sender.stream().id()
    }

    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> Session {
        self.sender.stream().session()
    }

    /// What went through it.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        self.sender.stream().stats()
    }

    /// The longest message in bytes, sent or received, on this side. Default: that of the node's
    /// streams, [`Stream::DEFAULT_MAX_FRAME_SIZE`].
    pub fn set_max_frame_size(&self, bytes: u64) {
        let shared = &self.receiver.stream().shared;
        shared.inbound.set_max_frame_size(bytes);
        shared.outbound.set_max_frame_size(bytes);
    }

    /// As [`ProtocolSender::set_priority`].
    pub fn set_priority(&self, priority: Priority) {
        self.sender.set_priority(priority);
    }

    /// As [`ProtocolSender::send`].
    ///
    /// # Errors
    /// As [`ProtocolSender::send`].
    pub async fn send(&self, message: impl Payload) -> Result<(), ProtocolError> {
        self.sender.send(message).await
    }

    /// As [`ProtocolReceiver::receive`].
    ///
    /// # Errors
    /// As [`ProtocolReceiver::receive`].
    pub async fn receive(&self) -> Result<Option<Bytes>, ProtocolError> {
        self.receiver.receive().await
    }

    /// As [`ProtocolReceiver::read_chunk`].
    ///
    /// # Errors
    /// As [`ProtocolReceiver::read_chunk`].
    pub async fn read_chunk(&self, max: usize) -> Result<Option<Bytes>, ProtocolError> {
        self.receiver.read_chunk(max).await
    }

    /// As [`ProtocolSender::write_chunk`].
    ///
    /// # Errors
    /// As [`ProtocolSender::send`].
    pub async fn write_chunk(&mut self, bytes: Bytes) -> Result<(), ProtocolError> {
        self.sender.write_chunk(bytes).await
    }

    /// As [`ProtocolSender::close`]; receiving goes on.
    ///
    /// # Errors
    /// As [`ProtocolSender::close`].
    pub async fn close(&self) -> Result<(), ProtocolError> {
        self.sender.close().await
    }

    /// Gives both directions up with `code`, 0x100 or above.
    pub fn reset(self, code: u32) {
        self.sender.reset(code);
        self.receiver.stop(code);
    }
}

impl AsyncRead for ProtocolStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.receiver).poll_read(cx, buf)
    }
}

impl AsyncWrite for ProtocolStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.sender).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sender).poll_shutdown(cx)
    }
}
