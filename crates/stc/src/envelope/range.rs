//! Reading a part of the content without the rest.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
};

use super::{
    Geometry, OpenError, open::Opening, ordered_workers::Buffer, slot::chunk_nonce,
    source::read_full,
};

fn reading(source: std::io::Error) -> OpenError {
    OpenError::Io { what: "read the envelope", source }
}

/// Writes the bytes `range` of the content to `writer`.
///
/// `body` is where the first region begins in `reader`. The chunks that hold the range are
/// authenticated, and so is the length of the content; the trailers are not looked at.
pub(crate) fn open_range(
    opening: &Opening,
    mut reader: impl Read + Seek,
    body: u64,
    range: Range<u64>,
    mut writer: impl Write,
) -> Result<(), OpenError> {
    let header = &opening.header;
    let (geometry, start, len) = match Geometry::of_ciphertext(header.chunk_len, header.region_len)
    {
        Some(geometry) => {
            let start = body + header.region_len * opening.index as u64;
            (geometry, start, opening.contents.len.unwrap_or(0))
        }
        None => {
            let end = reader.seek(SeekFrom::End(0)).map_err(reading)?;
            let besides = body + header.trailers_len() as u64;
            let missing = (besides + 16).saturating_sub(end);
            if missing > 0 {
                return Err(OpenError::Truncated { missing });
            }
            let geometry = Geometry::of_ciphertext(header.chunk_len, end - besides)
                .ok_or(OpenError::Truncated { missing: 1 })?;
            (geometry, body, geometry.plaintext())
        }
    };
    if range.start > range.end || range.end > len {
        return Err(OpenError::Range { start: range.start, end: range.end, len });
    }
    let cipher = opening.slot.region().map_err(|_| OpenError::NothingOpens)?;
    let chunk_len = geometry.chunk_len();
    // The last chunk proves the length: without it, a cut at a chunk's edge would go unnoticed.
    let wanted = range.start / chunk_len..range.end.div_ceil(chunk_len).max(1);
    let proof = Some(geometry.chunks() - 1).filter(|last| !wanted.contains(last));
    let mut buffer = Buffer::default();
    for index in proof.into_iter().chain(wanted) {
        let from = start + index * (chunk_len + 16);
        reader.seek(SeekFrom::Start(from)).map_err(reading)?;
        let plaintext = geometry.plaintext_of(index);
        buffer.resize(usize::try_from(plaintext).unwrap_or(0) + 16, 0);
        let read = read_full(&mut reader, &mut buffer).map_err(reading)?;
        if read != buffer.len() {
            return Err(OpenError::Truncated { missing: (buffer.len() - read) as u64 });
        }
        let opened = cipher
            .open(chunk_nonce(index, geometry.is_last(index)), &[], &mut buffer)
            .map_err(|_| OpenError::Chunk { chunk: index })?;
        if Some(index) == proof {
            continue;
        }
        let offset = index * chunk_len;
        let within = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let part = within(range.start)..within(range.end).min(opened.len());
        writer
            .write_all(opened.get(part).unwrap_or_default())
            .map_err(|source| OpenError::Io { what: "write the content", source })?;
    }
    writer.flush().map_err(|source| OpenError::Io { what: "write the content", source })
}
