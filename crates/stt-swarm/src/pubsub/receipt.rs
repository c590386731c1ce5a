//! Receipts: a publisher asks a subscriber whether it has had a message, which gossip has no word
//! for. A stream for each question (`question`), and one message each way. The answer is 1 if the
//! message arrived, or arrives within [`WITHIN`], otherwise 0. A publisher is told about its own
//! messages only.

use std::time::Duration;

use stt::{ProtocolStream, Session};
use tokio::{sync::mpsc::WeakSender, time::timeout};

use super::{Sequence, awaited::Question, question};
use crate::engine::command::Command;

/// The label of the streams.
pub(crate) const LABEL: &str = "stt/swarm-receipt/1";
/// How long a subscriber waits for a message that it is asked about.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a question.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
const MAX_MESSAGE: u64 = 64;
const NONSENSE: u32 = 0x100;

/// Asks the peer of `session` whether it has had a message of this node. False if it does not say
/// so.
pub(crate) async fn ask(session: Session, topic: String, sequence: Sequence) -> bool {
    let Ok(stream) = session.open_protocol(LABEL) else { return false };
    stream.set_max_frame_size(MAX_MESSAGE);
    stream.send(question::encode(&topic, sequence)).await.is_ok()
        && matches!(stream.receive().await, Ok(Some(answer)) if answer.as_ref() == [1])
}

/// Answers a question of the peer of `session`.
pub(crate) async fn answer(engine: WeakSender<Command>, session: Session, stream: ProtocolStream) {
    stream.set_max_frame_size(MAX_MESSAGE);
    let Ok(Ok(Some(question))) = timeout(ASKED_WITHIN, stream.receive()).await else { return };
    let Some((topic, sequence)) = question::parse(&question) else { return stream.reset(NONSENSE) };
    let (reply, had) = tokio::sync::oneshot::channel();
    // The engine is not kept running for it.
    let Some(engine) = engine.upgrade() else { return };
    let (publisher, from) = (session.peer_node_id(), session.remote_address().ip());
    let question = Question { topic, publisher, sequence, from };
    let asked = engine.send(Command::Had { question, reply }).await;
    drop(engine);
    let had = asked.is_ok() && matches!(had.await, Ok(Ok(true)));
    let _ = stream.send(&[u8::from(had)]).await;
}
