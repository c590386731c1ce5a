//! Feeding the engine: the urgent first, no faster than the bandwidth allows, in pieces that are
//! small beside the engine's window.

use bytes::Bytes;
use quinn::{SendStream, WriteError};

use super::SessionShared;

impl SessionShared {
    /// Hands all of `chunks` to QUIC. `written` hears how many bytes each step took.
    pub(super) async fn feed(
        &self,
        quic: &mut SendStream,
        priority: i32,
        chunks: &mut [Bytes],
        mut written: impl FnMut(usize),
    ) -> Result<(), WriteError> {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = chunks.get_mut(done..) {
            let throttled = self.throttled_piece();
            // The engine's room comes back in the pieces that it was given: one as large as the
            // window would have to be acknowledged to its end before anybody gets any.
            let most = self.send_window.piece();
            let whole = rest.iter().take_while(|chunk| chunk.len() <= most).count();
            let bytes = match (throttled, rest) {
                (None, rest) if whole > 0 => {
                    let fitting = rest.get_mut(..whole).unwrap_or_default();
                    let fed = self.precedence.write(priority, quic.write_chunks(fitting)).await?;
                    done += fed.chunks;
                    fed.bytes
                }
                (_, [first, ..]) if !first.is_empty() => {
                    let most = throttled.map_or(most, |piece| piece.min(most));
                    let piece = first.split_to(first.len().min(most));
                    let bytes = piece.len();
                    self.pass(bytes).await;
                    self.precedence.write(priority, quic.write_chunk(piece)).await?;
                    bytes
                }
                _ => {
                    done += 1;
                    continue;
                }
            };
            self.fed(bytes);
            written(bytes);
        }
        Ok(())
    }
}
