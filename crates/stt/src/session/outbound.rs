//! The task of one sending direction: writes what has gathered in its queue.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::{SendStream, VarInt};

use super::{SessionShared, driver::write_error};
use crate::{
    StreamError,
    stream::{
        StreamShared,
        header::Header,
        outbound::{Next, Outbound},
    },
};

/// Runs until the direction is over.
pub(super) async fn run(session: Arc<SessionShared>, stream: Arc<StreamShared>) {
    if let Err(error) = write(&session, &stream).await {
        stream.outbound.fail(error);
    }
}

async fn write(session: &SessionShared, stream: &Arc<StreamShared>) -> Result<(), StreamError> {
    let Some(first) = first_work(stream).await else { return Ok(()) };
    let lost = |error| write_error(session, stream.id, error);
    let mut quic = session.connection.open_uni().await.map_err(|error| lost(error.into()))?;
    let index = VarInt::from(quic.id()).into_inner();
    session.control.add_sender(index, stream);
    let result = async {
        let mut header = BytesMut::with_capacity(Header::MAX_LEN);
        Header::Stream { raw: stream.outbound.is_raw(), id: stream.id }.put(&mut header);
        quic.write_chunk(header.freeze()).await.map_err(lost)?;
        pump(session, stream, &mut quic, first).await
    }
    .await;
    session.control.remove_sender(index);
    result
}

/// Waits for the first thing to do. `None` when the direction is over before there was any.
async fn first_work(stream: &StreamShared) -> Option<Next> {
    loop {
        match stream.outbound.next() {
            Next::Wait => stream.outbound.wait_for_work().await,
            Next::Reset(_) => {
                stream.outbound.acknowledged();
                return None;
            }
            Next::Over => return None,
            // An empty stream that is closed still has to be seen by the peer.
            work @ (Next::Write(_) | Next::Finish) => return Some(work),
        }
    }
}

/// Hands all of it to QUIC, no faster than the bandwidth allows.
async fn write_batch(
    session: &SessionShared,
    outbound: &Outbound,
    quic: &mut SendStream,
    batch: &mut [Bytes],
) -> Result<(), quinn::WriteError> {
    let mut done = 0;
    while let Some(rest @ [_, ..]) = batch.get_mut(done..) {
        let len = match (session.piece(), rest) {
            (Some(most), [first, ..]) => {
                let piece = first.split_to(first.len().min(most));
                let len = piece.len();
                if first.is_empty() {
                    done += 1;
                }
                session.pass(len).await;
                quic.write_chunk(piece).await?;
                len
            }
            (_, rest) => {
                let written = quic.write_chunks(rest).await?;
                done += written.chunks;
                written.bytes
            }
        };
        session.wrote(len);
        outbound.written(len);
    }
    Ok(())
}

async fn pump(
    session: &SessionShared,
    stream: &StreamShared,
    quic: &mut SendStream,
    mut next: Next,
) -> Result<(), StreamError> {
    let outbound = &stream.outbound;
    let lost = |error| write_error(session, stream.id, error);
    let mut priority = 0;
    loop {
        match next {
            Next::Write(mut batch) => {
                let wanted = outbound.priority();
                if wanted != priority && quic.set_priority(wanted).is_ok() {
                    priority = wanted;
                }
                tokio::select! {
                    biased;
                    written = write_batch(session, outbound, quic, &mut batch) => {
                        written.map_err(lost)?;
                    }
                    // What was being written is given up with the rest.
                    () = outbound.resetting() => {}
                }
            }
            Next::Finish => {
                let _ = quic.finish();
                let stopped = tokio::select! {
                    biased;
                    stopped = quic.stopped() => Some(stopped),
                    () = outbound.resetting() => None,
                };
                match stopped {
                    None => {}
                    Some(Ok(None)) => outbound.acknowledged(),
                    Some(Ok(Some(code))) => {
                        return Err(StreamError::Reset { id: stream.id, code: code.into_inner() });
                    }
                    Some(Err(quinn::StoppedError::ConnectionLost(error))) => {
                        return Err(lost(error.into()));
                    }
                    Some(Err(quinn::StoppedError::ZeroRttRejected)) => {
                        return Err(StreamError::Closed { id: stream.id });
                    }
                }
            }
            Next::Reset(code) => {
                let _ = quic.reset(VarInt::from_u32(code));
                outbound.acknowledged();
            }
            Next::Wait => outbound.wait_for_work().await,
            Next::Over => return Ok(()),
        }
        next = outbound.next();
    }
}
