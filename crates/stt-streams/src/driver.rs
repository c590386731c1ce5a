//! The task of a stream: it moves frames between the machine and the transports.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    ErrorClass, StreamEventKind, StreamsError,
    frame::{Frame, Hello},
    recovery::Recovery,
    shared::Shared,
    transport::{Connector, Transport, TransportError, max_frame_size},
};

/// The other side has so long to say hello.
pub(crate) const HELLO: Duration = Duration::from_secs(10);
/// A transport has so long to end in order.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often a stream that may not read looks whether it may.
const READ_AGAIN: Duration = Duration::from_millis(10);

/// A transport on which the peer has said hello.
pub(crate) type Greeted = (Arc<dyn Transport>, Hello);

/// Where a stream's transports come from.
pub(crate) enum Source {
    /// There is none: what is sent is received at the same end.
    Local,
    /// This one, and then no other.
    Once(Option<Arc<dyn Transport>>),
    /// This side calls.
    Connector(Arc<dyn Connector>),
    /// The peer calls.
    Accepted(mpsc::Receiver<Greeted>),
}

pub(crate) async fn run(shared: Arc<Shared>, mut source: Source, recovery: Arc<Recovery>) {
    let mut barren = 0;
    loop {
        let found = tokio::select! {
            _ = shared.wait_ended() => return,
            () = keep_time(&shared) => return,
            found = next(&shared, &mut source, &recovery) => found,
        };
        let (transport, hello) = match found {
            Ok(found) => found,
            Err(error) => {
                shared.with(|machine, _| machine.end(error));
                return;
            }
        };
        let moved = |shared: &Shared| {
            shared.with(|machine, _| (machine.inbound.received(), machine.outbound.sent()))
        };
        let before = moved(&shared);
        let lost = match shared.with(|machine, now| machine.on_connected(now, &hello)) {
            Ok(()) => exchange(&shared, &*transport).await,
            Err(error) => Lost::Broken(error),
        };
        let _ = timeout(FAREWELL, transport.close()).await;
        let cause = match lost {
            Lost::Over => return,
            Lost::Broken(error) => {
                shared.with(|machine, _| machine.end(error));
                return;
            }
            Lost::Transport(cause) => cause,
        };
        shared.with(|machine, _| machine.on_disconnected(&cause));
        barren = if moved(&shared) == before { barren + 1 } else { 0 };
        // A peer that answers and fails at once would otherwise be called without end.
        if !cause.class.is_retried() || matches!(source, Source::Once(_)) {
            shared.with(|machine, _| machine.end(StreamsError::Transport(cause)));
            return;
        }
        if barren > 0 && matches!(source, Source::Connector(_)) {
            let error = if barren > shared.config.max_retries {
                Some(StreamsError::RetriesExhausted { retries: barren - 1, cause })
            } else if !recovery.take_retry() {
                Some(StreamsError::BudgetSpent { cause })
            } else {
                report_retry(&shared, &cause, shared.config.retry_delay);
                tokio::select! {
                    _ = shared.wait_ended() => return,
                    () = sleep(shared.config.retry_delay.mul_f64(fastrand::f64())) => None,
                }
            };
            if let Some(error) = error {
                shared.with(|machine, _| machine.end(error));
                return;
            }
        }
    }
}

fn report_retry(shared: &Shared, cause: &TransportError, delay: Duration) {
    let retry = shared.count_retry();
    shared.with(|machine, _| machine.count(cause.class));
    shared.emit(StreamEventKind::Retry { retry, delay, cause: cause.cause.to_string() });
}

/// Says hello on a transport, and hears the peer's.
async fn greet(shared: &Shared, transport: Arc<dyn Transport>) -> Result<Greeted, StreamsError> {
    let ours = Frame::Hello(shared.with(|machine, _| machine.hello())).encode();
    transport.send(ours).await.map_err(StreamsError::Transport)?;
    let hello = read_hello(&*transport).await?;
    Ok((transport, hello))
}

/// The first frame of a transport.
pub(crate) async fn read_hello(transport: &dyn Transport) -> Result<Hello, StreamsError> {
    let late = || TransportError::new(ErrorClass::Timeout, "the peer did not say hello in time");
    let frame = timeout(HELLO, transport.receive())
        .await
        .unwrap_or_else(|_| Err(late()))
        .map_err(StreamsError::Transport)?
        .ok_or_else(|| StreamsError::Transport(TransportError::ended()))?;
    match Frame::decode(frame)? {
        Frame::Hello(hello) => Ok(hello),
        _ => Err(StreamsError::Protocol { rule: "HELLO comes first" }),
    }
}

async fn next(
    shared: &Shared,
    source: &mut Source,
    recovery: &Recovery,
) -> Result<Greeted, StreamsError> {
    match source {
        Source::Local => std::future::pending().await,
        Source::Once(transport) => {
            let transport =
                transport.take().ok_or(StreamsError::Transport(TransportError::ended()))?;
            greet(shared, transport).await
        }
        Source::Accepted(calls) => loop {
            // Without a sender the manager is gone.
            let (transport, hello) = calls.recv().await.ok_or(StreamsError::Closed)?;
            let ours = Frame::Hello(shared.with(|machine, _| machine.hello())).encode();
            if transport.send(ours).await.is_ok() {
                return Ok((transport, hello));
            }
        },
        Source::Connector(connector) => {
            let connector = &*connector;
            let attempt = || async {
                let transport = connector.connect().await.map_err(StreamsError::Transport)?;
                greet(shared, transport).await
            };
            let destination = connector.destination();
            let before = recovery.state(destination);
            let found = recovery
                .connect(destination, &shared.config, attempt, |cause, delay| {
                    report_retry(shared, cause, delay);
                })
                .await;
            let after = recovery.state(destination);
            if before != after {
                shared.emit(StreamEventKind::Breaker(after));
            }
            found
        }
    }
}

enum Lost {
    /// The stream ended in order.
    Over,
    /// The peer broke a rule.
    Broken(StreamsError),
    /// Another transport may work.
    Transport(TransportError),
}

async fn exchange(shared: &Shared, transport: &dyn Transport) -> Lost {
    tokio::select! {
        lost = write(shared, transport) => lost,
        lost = read(shared, transport) => lost,
        lost = watch(shared) => Lost::Transport(lost),
        () = shared.superseded.notified() => Lost::Transport(TransportError::new(
            ErrorClass::Transient,
            "the peer came on another transport",
        )),
        _ = shared.wait_ended() => Lost::Over,
    }
}

async fn write(shared: &Shared, transport: &dyn Transport) -> Lost {
    loop {
        match shared.with(|machine, now| machine.next_frame(now)) {
            Some(frame) => {
                if let Err(error) = transport.send(frame.encode()).await {
                    return Lost::Transport(error);
                }
            }
            None if shared.ended().is_some() => return Lost::Over,
            None => {
                let at = shared.with(|machine, _| machine.send_at());
                tokio::select! {
                    () = shared.writer.notified() => {}
                    () = sleep_until(at.into()) => {}
                }
            }
        }
    }
}

async fn read(shared: &Shared, transport: &dyn Transport) -> Lost {
    let longest = max_frame_size(&shared.config);
    loop {
        while !shared.with(|machine, _| machine.inbound.may_read()) {
            sleep(READ_AGAIN).await;
        }
        let frame = match transport.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Lost::Transport(TransportError::ended()),
            Err(error) => return Lost::Transport(error),
        };
        if frame.len() > longest {
            return Lost::Broken(StreamsError::Protocol {
                rule: "messages stay inside the window",
            });
        }
        let taken = Frame::decode(frame)
            .and_then(|frame| shared.with(|machine, now| machine.on_frame(now, frame)));
        if let Err(error) = taken {
            return Lost::Broken(error);
        }
    }
}

/// Looks at the clock until the transport counts as lost.
async fn watch(shared: &Shared) -> TransportError {
    loop {
        let (looked, at) =
            shared.with(|machine, now| (machine.on_time(now), machine.next_tick(now)));
        if let Err(lost) = looked {
            return lost;
        }
        tokio::select! {
            () = shared.timer.notified() => {}
            () = sleep_until(at.into()) => {}
        }
        if shared.ended().is_some() {
            std::future::pending::<()>().await;
        }
    }
}

/// As [`watch`], while there is no transport that could be lost.
async fn keep_time(shared: &Shared) {
    watch(shared).await;
}
