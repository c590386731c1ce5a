//! Feeding the engine: the urgent first, no faster than the bandwidth allows, in pieces that are
//! small beside the engine's window.

use bytes::Bytes;
use stt_transport::{SendStream, WriteError};

use super::SessionShared;

/// A stream of the engine, and the priority that it has there.
pub(super) struct PacedWriter {
    pub(super) quic: SendStream,
    urgency: Option<i32>,
}

impl PacedWriter {
    pub(super) const fn new(quic: SendStream) -> Self {
        Self { quic, urgency: None }
    }

    /// Hands all of `chunks` to QUIC. `priority` is asked before each step, and `written` hears how
    /// many bytes it took.
    pub(super) async fn write(
        &mut self,
        session: &SessionShared,
        priority: impl Fn() -> i32,
        chunks: &mut [Bytes],
        mut written: impl FnMut(usize),
    ) -> Result<(), WriteError> {
        let Self { quic, urgency: last } = self;
        let mut done = 0;
        while let Some(rest @ [_, ..]) = chunks.get_mut(done..) {
            let urgency = priority();
            if last.replace(urgency) != Some(urgency) {
                quic.set_priority(urgency);
            }
            let throttled = session.throttled_piece();
            // The engine's room comes back in the pieces that it was given: one as large as the
            // window would have to be acknowledged to its end before anybody gets any.
            let most = session.send_window.piece();
            let whole = rest.iter().take_while(|chunk| chunk.len() <= most).count();
            let bytes = match (throttled, rest) {
                (None, rest) if whole > 0 => {
                    let fitting = rest.get_mut(..whole).unwrap_or_default();
                    let fed = session.precedence.write(urgency, quic.write_chunks(fitting)).await?;
                    done += fed.chunks;
                    fed.bytes
                }
                (_, [first, ..]) if !first.is_empty() => {
                    let most = throttled.map_or(most, |piece| piece.min(most));
                    let piece = first.split_to(first.len().min(most));
                    let bytes = piece.len();
                    // The urgent need not queue for the bandwidth behind everybody else.
                    let write = async {
                        session.pass(bytes).await;
                        quic.write_chunk(piece).await
                    };
                    session.precedence.write(urgency, write).await?;
                    bytes
                }
                _ => {
                    done += 1;
                    continue;
                }
            };
            session.fed(bytes);
            written(bytes);
        }
        Ok(())
    }
}
