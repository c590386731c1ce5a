//! The task of a whole session: takes in the peer's streams and notices the end.

use std::{sync::Arc, time::Duration};

use stt_transport::{ConnectionError, ReadError, WriteError, internal::STREAMS};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{SessionShared, liveness::Liveness, stream_reader};
use crate::{CloseReason, stream::recv_queue::End};

/// How long the end waits for what arrived before it to be handed over. It is all in memory.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs until the session ended.
///
/// What arrived before the end is handed to its streams first: a peer that closed a stream in good
/// order, and then the session, was promised so (docs/sessions.md).
pub(super) async fn run(session: Arc<SessionShared>) {
    let mut accepted = 0;
    let mut route = session.route.clone();
    let mut path = route.now(session.connection.rtt());
    let mut readers = JoinSet::new();
    let (pulse, now) = (session.common.pulse, Instant::now());
    let mut liveness = Liveness::new(pulse.heartbeat, pulse.idle_timeout, now);
    let mut look = std::pin::pin!(sleep_until(liveness.next(now)));
    let error = loop {
        let accepted_one = tokio::select! {
            accepted_one = session.connection.accept_uni() => accepted_one,
            () = &mut look => {
                let now = Instant::now();
                if let Some(missed) = liveness.look(now, session.connection.stats().heard) {
                    session.host.heartbeat_missed(&session, missed.count, missed.silence);
                }
                look.as_mut().reset(liveness.next(now));
                continue;
            }
            () = session.renewal.due() => {
                session.control.renew(&session);
                continue;
            }
            () = route.news() => {
                // What was lost on the path before is noticed by what arrives on the new one.
                session.control.nudge(&session);
                let now = route.now(session.connection.rtt());
                if (now.kind, now.local, now.remote) != (path.kind, path.local, path.remote) {
                    session.host.route_changed(&session, path, now);
                    path = now;
                }
                continue;
            }
        };
        match accepted_one {
            Ok(stream) => {
                accepted += 1;
                if accepted == STREAMS.0 / 2 {
                    let most = u32::try_from(session.common.limits.peer_streams());
                    let most = most.unwrap_or(STREAMS.1).min(STREAMS.1);
                    session.connection.set_max_concurrent_uni_streams(most);
                }
                while readers.try_join_next().is_some() {}
                session.peer_headers().begin(stream.id());
                readers.spawn(stream_reader::run(Arc::clone(&session), stream));
            }
            Err(error) => break error,
        }
    };
    session.over();
    let drained = async { while readers.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await;
    // Those that wait for an application which takes nothing end by themselves.
    readers.detach_all();
    let reason = reason(&session, &error);
    session.finish(&reason);
    session.host.session_ended(&session, &reason);
}

/// What QUIC's word for the end means here.
fn reason(session: &SessionShared, error: &ConnectionError) -> CloseReason {
    let said = || session.said().unwrap_or(CloseReason::Shutdown { by_peer: false });
    error.reason().unwrap_or_else(said)
}

/// How a read that failed ends a receiving direction.
pub(super) fn read_end(session: &SessionShared, id: u32, error: ReadError) -> End {
    use crate::StreamError;
    End::Failed(match error {
        ReadError::Reset(code) => StreamError::Reset { id, code },
        ReadError::Lost(error) => StreamError::SessionEnded(reason(session, &error)),
        ReadError::Closed => {
            StreamError::Protocol { id, rule: "the stream was read after its end" }
        }
    })
}

/// How a write that failed ends a sending direction.
pub(super) fn write_error(
    session: &SessionShared,
    id: u32,
    error: WriteError,
) -> crate::StreamError {
    use crate::StreamError;
    match error {
        WriteError::Stopped(code) => StreamError::Reset { id, code },
        WriteError::Lost(error) => StreamError::SessionEnded(reason(session, &error)),
        WriteError::Closed => StreamError::Closed { id },
    }
}

/// Codes that a direction of a stream is stopped or reset with by the transport itself
/// (docs/streams.md, STREAM-2). Applications have the numbers from 0x100 on.
pub(crate) mod code {
    /// The header is malformed.
    pub(crate) const HEADER: u32 = 0x01;
    /// There are too many streams.
    pub(crate) const TOO_MANY: u32 = 0x02;
    /// A message was given up because its deadline passed.
    pub(crate) const LATE: u32 = 0x03;
    /// A message with a deadline is too long.
    pub(crate) const TOO_LONG: u32 = 0x04;
    /// Nobody handles the protocol of this label.
    pub(crate) const UNKNOWN_LABEL: u32 = 0x05;
    /// Nobody takes any more of it.
    pub(crate) const DROPPED: u32 = 0x06;
}
