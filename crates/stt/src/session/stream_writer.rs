//! The task of one sending direction: writes what has gathered in its queue.

use std::sync::Arc;

use bytes::BytesMut;

use super::{SessionShared, driver::write_error, labelled, paced_writer::PacedWriter, resets};
use crate::{
    StreamError,
    stream::{StreamShared, header::Header, send_queue::Next},
};

/// Runs until the direction is over.
pub(super) async fn run(session: Arc<SessionShared>, stream: Arc<StreamShared>) {
    if let Err(error) = write(&session, &stream).await {
        labelled::sending_failed(&stream, &error);
        stream.outbound.fail(error);
    }
}

async fn write(
    session: &Arc<SessionShared>,
    stream: &Arc<StreamShared>,
) -> Result<(), StreamError> {
    let first = match &stream.labelled {
        // Its peer has to hear of it, whoever is the first to speak.
        Some(_) => stream.outbound.next(),
        None => match first_work(stream).await {
            Some(first) => first,
            None => return Ok(()),
        },
    };
    let lost = |error| write_error(session, stream.id, error);
    let quic = session.connection.open_uni().await.map_err(|error| lost(error.into()))?;
    let index = quic.id();
    let mut feed = PacedWriter::new(quic);
    session.control.add_sender(index, stream);
    let result = async {
        let mut header = BytesMut::with_capacity(Header::MAX_LEN);
        match &stream.labelled {
            Some(part) => Header::Labelled { label: part.label, id: stream.id },
            None => Header::Stream { raw: stream.outbound.is_raw(), id: stream.id },
        }
        .put(&mut header);
        let priority = || stream.outbound.priority();
        // What says no more than its header is sent as it is.
        feed.quic.expect_more(!matches!(first, Next::Wait | Next::Reset(_)));
        feed.write(session, priority, &mut [header.freeze()], |_| {}).await.map_err(lost)?;
        feed.quic.expect_more(false);
        pump(session, stream, &mut feed, first).await
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
            // A peer that nobody wants to hear from need not hear of it.
            Next::Reset(_) if stream.inbound.never_asked_for() => {
                stream.outbound.acknowledged();
                return None;
            }
            Next::Over => return None,
            // An empty stream that is closed or given up still has to be seen by the peer.
            work @ (Next::Write(_) | Next::Finish | Next::Reset(_)) => return Some(work),
        }
    }
}

async fn pump(
    session: &Arc<SessionShared>,
    stream: &StreamShared,
    feed: &mut PacedWriter,
    mut next: Next,
) -> Result<(), StreamError> {
    let outbound = &stream.outbound;
    let lost = |error| write_error(session, stream.id, error);
    loop {
        match next {
            Next::Write(mut batch) => {
                let (priority, written) = (|| outbound.priority(), |len| outbound.written(len));
                tokio::select! {
                    biased;
                    fed = feed.write(session, priority, &mut batch, written) => {
                        fed.map_err(lost)?;
                    }
                    // What was being written is given up with the rest.
                    () = outbound.resetting() => {}
                }
            }
            Next::Finish => {
                feed.quic.finish();
                let stopped = tokio::select! {
                    biased;
                    stopped = feed.quic.stopped() => Some(stopped),
                    () = outbound.resetting() => None,
                };
                match stopped {
                    None => {}
                    Some(Ok(None)) => outbound.acknowledged(),
                    Some(Ok(Some(code))) => {
                        return Err(StreamError::Reset { id: stream.id, code });
                    }
                    Some(Err(error)) => return Err(lost(error.into())),
                }
            }
            Next::Reset(code) => {
                feed.quic.reset(code);
                match &stream.labelled {
                    Some(_) => labelled::given_up(session, stream, code).await,
                    None => resets::tell(session, stream.id, feed.quic.id(), code).await,
                }
                outbound.acknowledged();
            }
            // Who waits for an answer has to hear that there will be none.
            Next::Wait if stream.labelled.is_some() => tokio::select! {
                biased;
                () = outbound.wait_for_work() => {}
                stopped = feed.quic.stopped() => match stopped {
                    Ok(Some(code)) => {
                        return Err(StreamError::Reset { id: stream.id, code });
                    }
                    Ok(None) => return Err(StreamError::Closed { id: stream.id }),
                    Err(error) => return Err(lost(error.into())),
                },
            },
            Next::Wait => outbound.wait_for_work().await,
            Next::Over => return Ok(()),
        }
        next = outbound.next();
    }
}
