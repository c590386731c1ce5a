//! Asking a member whether it has a content, and how long that is.

use std::{io, ops::Range, time::Duration};

use blake3::Hash;
use bytes::Bytes;
use stt::{ProtocolSender, Session};

use super::{
    LABEL,
    verify::{AnswerReader, ReadError, head},
    wire::{Request, group_bytes},
};
use crate::ContentTicket;

/// The length of a content that the peer has. It is proven: by the last group, which no other
/// length has at that place.
pub(super) async fn length(
    session: &Session,
    root: Hash,
    patience: Duration,
) -> Result<u64, ReadError> {
    let stream = session.open_protocol(LABEL).map_err(|error| ReadError::Lost(error.into()))?;
    let (mut sender, mut from) = stream.into_split();
    ask(&mut sender, root, 0..1).await?;
    let size = head(&mut from, patience).await?;
    if size > ContentTicket::MAX_SIZE {
        return Err(ReadError::Size { size });
    }
    if size == 0 {
        // No group could prove it.
        return if root == blake3::hash(b"") { Ok(0) } else { Err(ReadError::Corrupt) };
    }
    let mut first = AnswerReader::after_head(&mut from, root, size, &(0..1), patience);
    while first.next().await?.is_some() {}
    if let Some(start) = size.checked_sub(1).map(|last| last - last % group_bytes())
        && start > 0
    {
        ask(&mut sender, root, start..size).await?;
        let last = AnswerReader::begin(&mut from, root, size, start..size, patience);
        let mut last = last.await?;
        while last.next().await?.is_some() {}
    }
    Ok(size)
}

async fn ask(sender: &mut ProtocolSender, root: Hash, bytes: Range<u64>) -> Result<(), ReadError> {
    let request = Bytes::copy_from_slice(&Request { root, bytes }.encode());
    sender.write_chunk(request).await.map_err(|error| ReadError::Lost(io::Error::from(error)))
}
