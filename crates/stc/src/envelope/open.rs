//! Opening an envelope from its first byte to its last.

use std::io::{Read, Write};

use subtle::ConstantTimeEq;

use super::{
    Geometry, Header, OpenError,
    digest::{Digest, Leaf},
    geometry::MAX_CHUNKS,
    ordered_workers::{self, Buffer, Sink, Source},
    seal::Progress,
    slot::{Contents, Slot, chunk_nonce, seal_of},
    source::{Lookahead, read_full},
};

/// A header whose slot was found.
pub(crate) struct Opening {
    pub(crate) header: Header,
    pub(crate) slot: Slot,
    pub(crate) index: usize,
    pub(crate) contents: Contents,
}

impl Opening {
    /// Finds the slot that belongs to `slot`'s key and opens its box.
    pub(crate) fn new(header: Header, slot: Slot) -> Result<Self, OpenError> {
        let index = slot.find(&header).ok_or(OpenError::NothingOpens)?;
        let contents = slot.open(&header, index)?;
        Ok(Self { header, slot, index, contents })
    }
}

struct Job {
    index: u64,
    last: bool,
    /// Whether it is a chunk of the slot that is being opened.
    mine: bool,
}

/// Gives the chunks of all regions as they are stored.
enum Regions<R> {
    /// One region, which ends where the trailers of `trailers` bytes begin.
    One {
        reader: Lookahead<R>,
        sealed_len: usize,
        next: u64,
        ended: Option<Vec<u8>>,
        trailers: usize,
    },
    Many {
        reader: R,
        geometry: Geometry,
        slots: usize,
        mine: usize,
        at: (usize, u64),
    },
}

fn reading(source: std::io::Error) -> OpenError {
    OpenError::Io { what: "read the envelope", source }
}

fn missing(wanted: usize, got: usize) -> OpenError {
    OpenError::Truncated { missing: (wanted - got) as u64 }
}

impl<R: Read + Send> Source<Job, OpenError> for Regions<R> {
    fn next(&mut self, buffer: &mut Buffer) -> Result<Option<Job>, OpenError> {
        match self {
            Self::One { ended: Some(_), .. } => Ok(None),
            Self::One { reader, sealed_len, next, ended, trailers } => {
                let index = *next;
                *next += 1;
                let more = reader.next(buffer, *sealed_len).map_err(reading)?;
                if !more {
                    buffer.extend_from_slice(reader.rest());
                    let region = buffer.len().checked_sub(*trailers).filter(|len| *len >= 16);
                    let region = region.ok_or_else(|| missing(*trailers + 16, buffer.len()))?;
                    if region == 16 && index > 0 {
                        // A writer ends with a chunk that holds something.
                        return Err(OpenError::Chunk { chunk: index });
                    }
                    *ended = Some(buffer.split_off(region));
                } else if index + 1 == MAX_CHUNKS {
                    return Err(OpenError::Trailing);
                }
                Ok(Some(Job { index, last: !more, mine: true }))
            }
            Self::Many { reader, geometry, slots, mine, at } => {
                let (slot, index) = *at;
                if slot == *slots {
                    return Ok(None);
                }
                let last = geometry.is_last(index);
                *at = if last { (slot + 1, 0) } else { (slot, index + 1) };
                let len = usize::try_from(geometry.plaintext_of(index)).unwrap_or(0) + 16;
                buffer.resize(len, 0);
                let read = read_full(reader, buffer).map_err(reading)?;
                if read != len {
                    return Err(missing(len, read));
                }
                Ok(Some(Job { index, last, mine: slot == *mine }))
            }
        }
    }
}

struct Opened {
    leaf: Leaf,
    /// Bytes of plaintext at the front of the buffer, if it is ours.
    plaintext: Option<usize>,
    stored: u64,
}

struct Out<'a, W> {
    writer: W,
    digest: Digest,
    left: Option<u64>,
    chunks: u64,
    content: u64,
    done: u64,
    total: Option<u64>,
    progress: Option<Progress<'a>>,
}

impl<W: Write + Send> Sink<Opened, OpenError> for Out<'_, W> {
    fn put(&mut self, buffer: &[u8], opened: Opened) -> Result<(), OpenError> {
        self.digest.add(&opened.leaf);
        if let Some(plaintext) = opened.plaintext {
            let content = match &mut self.left {
                None => plaintext,
                Some(left) => {
                    let take = usize::try_from(*left).unwrap_or(plaintext).min(plaintext);
                    *left -= take as u64;
                    take
                }
            };
            self.writer
                .write_all(buffer.get(..content).unwrap_or_default())
                .map_err(|source| OpenError::Io { what: "write the content", source })?;
            self.chunks += 1;
            self.content += content as u64;
        }
        self.done += opened.stored;
        if let Some(progress) = self.progress {
            progress(self.done, self.total);
        }
        Ok(())
    }
}

/// What was read.
pub(crate) struct Received {
    pub(crate) chunks: u64,
    /// Bytes of content.
    pub(crate) bytes: u64,
}

/// Reads the regions and trailers from `reader`, which stands behind the header, and writes the
/// content to `writer`.
///
/// Every byte that is written was authenticated, but only `Ok` says that the envelope is whole.
/// `total` is the length of what `reader` gives, if known, for `progress`.
pub(crate) fn open(
    opening: &Opening,
    reader: impl Read + Send,
    writer: impl Write + Send,
    workers: usize,
    total: Option<u64>,
    progress: Option<Progress<'_>>,
) -> Result<Received, OpenError> {
    let Opening { header, slot, index, contents } = opening;
    let chunk_len = usize::try_from(header.chunk_len).unwrap_or(usize::MAX);
    let trailers_len = header.trailers_len();
    let regions = match Geometry::of_ciphertext(header.chunk_len, header.region_len) {
        None => Regions::One {
            reader: Lookahead::new(reader, trailers_len + 1),
            sealed_len: chunk_len + 16,
            next: 0,
            ended: None,
            trailers: trailers_len,
        },
        Some(geometry) => {
            Regions::Many { reader, geometry, slots: header.slots.len(), mine: *index, at: (0, 0) }
        }
    };
    let cipher = slot.region().map_err(|_| OpenError::NothingOpens)?;
    let single = header.slots.len() == 1;
    let work = |buffer: &mut Buffer, job: Job| {
        let leaf = Leaf::of(buffer, single);
        let stored = buffer.len() as u64;
        let plaintext = if job.mine {
            let nonce = chunk_nonce(job.index, job.last);
            let opened = cipher.open(nonce, &[], buffer);
            Some(opened.map_err(|_| OpenError::Chunk { chunk: job.index })?.len())
        } else {
            None
        };
        Ok(Opened { leaf, plaintext, stored })
    };
    let out = Out {
        writer,
        digest: Digest::new(&header.to_bytes()),
        left: contents.len,
        chunks: 0,
        content: 0,
        done: 0,
        total,
        progress,
    };
    let (regions, mut out) = ordered_workers::run(workers, regions, work, out)?;
    let trailers = match regions {
        Regions::One { ended, .. } => ended.unwrap_or_default(),
        Regions::Many { mut reader, .. } => {
            let mut trailers = vec![0; trailers_len];
            let read = read_full(&mut reader, &mut trailers).map_err(reading)?;
            if read != trailers_len {
                return Err(missing(trailers_len, read));
            }
            if read_full(&mut reader, &mut [0]).map_err(reading)? != 0 {
                return Err(OpenError::Trailing);
            }
            trailers
        }
    };
    let digest = out.digest.finish();
    let (mine, seal) = (slot.trailer(&digest), trailers.split_at(trailers.len().max(32) - 32));
    let stored = seal.0.as_chunks::<32>().0.get(*index).unwrap_or(&[0; 32]);
    let whole =
        stored.ct_eq(&mine) & seal.1.ct_eq(&seal_of(&contents.envelope_key, &digest, seal.0));
    if !bool::from(whole) {
        return Err(OpenError::Trailer);
    }
    out.writer.flush().map_err(|source| OpenError::Io { what: "write the content", source })?;
    Ok(Received { chunks: out.chunks, bytes: out.content })
}
