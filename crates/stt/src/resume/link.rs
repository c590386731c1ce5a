//! One link: a stream of one sealed session that carries a resumable one until it is cut.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    ResumeError,
    frame::{self, Frame},
    machine::Broken,
    pace::Pace,
    shared::Shared,
};
use crate::{ProtocolError, ProtocolReceiver, ProtocolSender, stream::unpinned};

/// How long the end of a finished session may take to arrive.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How a link ended.
#[derive(Debug)]
pub(super) enum LinkEnd {
    /// It was cut, or another one has taken its place.
    Cut,
    /// Both ends are through, and the peer knows.
    Finished,
    /// The session cannot go on.
    Over(ResumeError),
}

/// What a peer did wrong, in words.
pub(super) const fn broken(broken: Broken) -> ResumeError {
    ResumeError::Broken {
        what: match broken {
            Broken::Forgot => "it forgot what it had committed",
            Broken::NeverSent => "it has what it was never sent",
            Broken::OutOfOrder => "its messages do not follow each other",
        },
    }
}

/// What to do once the frames are written.
enum Next {
    /// Look again.
    Write,
    Wait,
    /// Wait, but look again then: commits are due.
    WaitUntil(Instant),
    Gone,
    Finished,
    /// The peer was told that the session is given up.
    GivenUp,
}

/// Takes the next frames for the link, about as many as one batch has, under one lock.
fn next(shared: &Shared, link: u64, pace: &mut Pace, frames: &mut Vec<Frame>) -> Next {
    let mut machine = shared.machine();
    if !machine.has_link(link) {
        return Next::Gone;
    }
    match shared.ended() {
        // The peer asks again because it has not heard so.
        Some(ResumeError::Finished) => return Next::Finished,
        // It goes on in the next process.
        Some(why) if why.is_for_later() => return Next::Gone,
        Some(_) => {
            frames.push(Frame::GivenUp);
            return Next::GivenUp;
        }
        None => {}
    }
    let due = match machine.pending_commits() {
        0 => None,
        _ if machine.has_committed_all() => None,
        pending => pace.tell(pending, Instant::now()).err(),
    };
    let mut bytes = 0_usize;
    while bytes < frame::MAX_BATCH {
        let frame = match due {
            None => machine.next_frame(link),
            Some(_) => machine.next_item(link),
        };
        let Some(frame) = frame else { break };
        bytes = bytes.saturating_add(frame.size());
        frames.push(frame);
    }
    if !frames.is_empty() {
        Next::Write
    } else if let Some(due) = due {
        Next::WaitUntil(due)
    } else if machine.is_finished() {
        Next::Finished
    } else {
        Next::Wait
    }
}

/// Carries frames until the link ends. `seen` is called once, at the first frame from the peer.
pub(super) async fn run(
    shared: &Arc<Shared>,
    link: u64,
    (sender, receiver): (ProtocolSender, ProtocolReceiver),
    seen: impl FnOnce(),
) -> LinkEnd {
    let mut writing = pin!(write(shared, link, &sender));
    let mut reading = pin!(read(shared, link, &receiver, seen));
    let mut living = pin!(shared.show_life());
    let end = tokio::select! {
        () = &mut living => LinkEnd::Cut,
        end = &mut writing => match end {
            // The peer may lose what its transport acknowledged. Its own end says that it is
            // through.
            LinkEnd::Finished => {
                let heard = tokio::time::timeout(CLOSE_PATIENCE, &mut reading).await;
                heard.unwrap_or(LinkEnd::Cut)
            }
            end => end,
        },
        end = &mut reading => match end {
            // The peer is through as well, or else it would not have ended.
            LinkEnd::Finished => writing.await,
            end => end,
        },
    };
    let mut machine = shared.machine();
    if machine.has_link(link) {
        machine.detach();
    }
    end
}

async fn write(shared: &Arc<Shared>, link: u64, sender: &ProtocolSender) -> LinkEnd {
    let (mut frames, mut pace) = (Vec::new(), Pace::new(Instant::now()));
    loop {
        let next = next_or_wait(shared, link, &mut pace, &mut frames).await;
        for message in frame::packed(&frames) {
            if sender.send(message).await.is_err() {
                return LinkEnd::Cut;
            }
        }
        frames.clear();
        let end = match next {
            Next::Write | Next::Wait | Next::WaitUntil(_) => continue,
            Next::Gone => return LinkEnd::Cut,
            Next::Finished => LinkEnd::Finished,
            Next::GivenUp => LinkEnd::Cut,
        };
        return match tokio::time::timeout(CLOSE_PATIENCE, sender.close()).await {
            Ok(Ok(())) => end,
            _ => LinkEnd::Cut,
        };
    }
}

/// As [`next`]; waits once if there is nothing.
async fn next_or_wait(
    shared: &Arc<Shared>,
    link: u64,
    pace: &mut Pace,
    frames: &mut Vec<Frame>,
) -> Next {
    match next(shared, link, pace, frames) {
        Next::Wait | Next::WaitUntil(_) => {}
        next => return next,
    }
    let mut changed = pin!(shared.to_write.notified());
    changed.as_mut().enable();
    // Something may have come before it began to listen.
    let next = next(shared, link, pace, frames);
    match next {
        Next::Wait => changed.await,
        Next::WaitUntil(due) => {
            let _ = tokio::time::timeout_at(due, changed).await;
        }
        _ => {}
    }
    next
}

async fn read(
    shared: &Arc<Shared>,
    link: u64,
    receiver: &ProtocolReceiver,
    seen: impl FnOnce(),
) -> LinkEnd {
    let mut seen = Some(seen);
    loop {
        // Frames that change nothing must not keep the processor.
        tokio::task::consume_budget().await;
        room(shared, link).await;
        let bytes = match receiver.receive().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) if shared.machine().is_finished() => return LinkEnd::Finished,
            Ok(None) | Err(_) => return LinkEnd::Cut,
        };
        if let Some(seen) = seen.take() {
            seen();
        }
        let taken = match Frame::decode(bytes) {
            Some(Frame::GivenUp) if shared.machine().is_finished() => {
                return LinkEnd::Finished;
            }
            Some(Frame::GivenUp) => {
                return LinkEnd::Over(ResumeError::GivenUp { by_peer: true });
            }
            Some(Frame::Message { position, stream, data }) => {
                // What waits for the application must not hold the buffer that it came in.
                take_in(shared, link, position, std::iter::once((stream, unpinned(data))))
            }
            Some(Frame::Messages { first, entries }) => take_in(shared, link, first, entries),
            Some(frame) => shared.with(|machine| machine.frame(link, frame)).map_err(broken),
            None => Err(ResumeError::Broken { what: "a frame makes no sense" }),
        };
        if let Err(error) = taken {
            return LinkEnd::Over(error);
        }
    }
}

/// Takes in messages that follow each other from `position` on, under one lock.
fn take_in(
    shared: &Shared,
    link: u64,
    mut position: u64,
    messages: impl Iterator<Item = (u32, Bytes)>,
) -> Result<(), ResumeError> {
    let taken = shared.with_quietly(|machine| {
        for (stream, data) in messages {
            if data.len() > shared.options.max_message {
                return Err(ResumeError::Broken { what: "a message is too long" });
            }
            let frame = Frame::Message { position, stream, data };
            machine.frame(link, frame).map_err(broken)?;
            position = position.saturating_add(1);
        }
        Ok(())
    });
    shared.changed.notify_waiters();
    taken
}

/// Waits until the application has taken enough.
async fn room(shared: &Arc<Shared>, link: u64) {
    let may_go_on = || {
        let machine = shared.machine();
        machine.has_room() || !machine.has_link(link)
    };
    while !may_go_on() {
        let mut changed = pin!(shared.has_room.notified());
        changed.as_mut().enable();
        if may_go_on() {
            return;
        }
        changed.await;
    }
}

/// The first message on a stream, in time.
pub(super) async fn first(
    receiver: &ProtocolReceiver,
    within: Duration,
) -> Result<Option<Frame>, ProtocolError> {
    match tokio::time::timeout(within, receiver.receive()).await {
        Ok(Ok(Some(bytes))) => Ok(Frame::decode(bytes)),
        Ok(Err(error)) => Err(error),
        Ok(Ok(None)) | Err(_) => Ok(None),
    }
}
