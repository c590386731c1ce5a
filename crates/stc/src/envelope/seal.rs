//! Making an envelope.

use std::io::{Read, Write};

use super::{
    Header, SealError,
    digest::{Digest, Leaf},
    geometry::{Geometry, MAX_CHUNKS},
    ordered_workers::{self, Buffer, Sink, Source},
    slot::{Contents, Kind, Slot, chunk_nonce, seal_of},
    source::{Lookahead, read_full},
};
use crate::{FileChanged, Key, aead::AeadKey};

/// Told how many bytes are done, and of how many if that is known.
pub(crate) type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// One slot to be made.
pub(crate) struct Entry<'a> {
    pub(crate) slot: Slot,
    pub(crate) kind: Kind,
    /// `None`: the slot holds nothing, and its region is padding.
    pub(crate) content: Option<Content<'a>>,
}

/// Where the content of a slot comes from.
pub(crate) struct Content<'a> {
    pub(crate) reader: Box<dyn Read + Send + 'a>,
    /// Needed when there is more than one slot.
    pub(crate) len: Option<u64>,
}

/// Everything that makes an envelope. The order of the entries is the order of the slots.
pub(crate) struct Sealing<'a> {
    /// Its slots are filled in here.
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry<'a>>,
    pub(crate) workers: usize,
    pub(crate) progress: Option<Progress<'a>>,
}

struct Job {
    entry: usize,
    index: u64,
    last: bool,
}

/// Gives the plaintext chunks of all regions, one region after the other.
struct Regions<'a> {
    /// `None`: one region that ends where its reader does.
    geometry: Option<Geometry>,
    chunk_len: usize,
    readers: std::iter::Enumerate<std::vec::IntoIter<Option<Content<'a>>>>,
    current: Option<Region<'a>>,
}

struct Region<'a> {
    entry: usize,
    next: u64,
    input: Input<'a>,
}

enum Input<'a> {
    Open(Lookahead<Box<dyn Read + Send + 'a>>),
    Known { reader: Box<dyn Read + Send + 'a>, len: u64, left: u64 },
    Nothing,
}

fn reading(source: std::io::Error) -> SealError {
    if FileChanged::is_inside(&source) {
        return SealError::Changed;
    }
    SealError::Io { what: "read the content", source }
}

fn writing(source: std::io::Error) -> SealError {
    SealError::Io { what: "write the envelope", source }
}

impl Regions<'_> {
    fn next_region(&mut self) -> Result<bool, SealError> {
        let Some((entry, content)) = self.readers.next() else { return Ok(false) };
        let input = match (content, self.geometry) {
            (None, _) => Input::Nothing,
            (Some(content), None) => Input::Open(Lookahead::new(content.reader, 1)),
            (Some(content), Some(_)) => {
                let len = content.len.ok_or(SealError::UnknownLength)?;
                Input::Known { reader: content.reader, len, left: len }
            }
        };
        self.current = Some(Region { entry, next: 0, input });
        Ok(true)
    }
}

impl Source<Job, SealError> for Regions<'_> {
    fn next(&mut self, buffer: &mut Buffer) -> Result<Option<Job>, SealError> {
        if self.current.is_none() && !self.next_region()? {
            return Ok(None);
        }
        let Some(region) = &mut self.current else { return Ok(None) };
        let index = region.next;
        region.next += 1;
        let wanted = self.geometry.map_or(self.chunk_len, |geometry| {
            usize::try_from(geometry.plaintext_of(index)).unwrap_or(self.chunk_len)
        });
        // Room for the lookahead or the tag, so that the buffer is never moved.
        let had = buffer.len();
        buffer.reserve_exact((wanted + 16).saturating_sub(had));
        let last = match &mut region.input {
            Input::Open(reader) => {
                let last = !reader.next(buffer, wanted).map_err(reading)?;
                if !last && index + 1 == MAX_CHUNKS {
                    let chunk_len = u32::try_from(self.chunk_len).unwrap_or(u32::MAX);
                    return Err(SealError::TooLong { chunk_len });
                }
                if last && let Some(byte) = reader.rest().first() {
                    buffer.push(*byte);
                }
                last
            }
            input => {
                let last = self.geometry.is_none_or(|geometry| geometry.is_last(index));
                buffer.clear();
                buffer.resize(wanted, 0);
                if let Input::Known { reader, len, left } = input {
                    let take = usize::try_from(*left).unwrap_or(wanted).min(wanted);
                    let space = buffer.get_mut(..take).unwrap_or_default();
                    let read = read_full(reader, space).map_err(reading)?;
                    *left -= read as u64;
                    let ends = last && read_full(reader, &mut [0]).map_err(reading)? == 0;
                    if read != take || (last && !ends) {
                        return Err(SealError::LengthChanged { expected: *len });
                    }
                }
                last
            }
        };
        let entry = region.entry;
        if last {
            self.current = None;
        }
        Ok(Some(Job { entry, index, last }))
    }
}

/// What a worker made of a chunk, besides the ciphertext.
struct Sealed {
    leaf: Leaf,
    plaintext: u64,
}

struct Out<'a, W> {
    writer: W,
    digest: Digest,
    chunks: u64,
    done: u64,
    total: Option<u64>,
    progress: Option<Progress<'a>>,
}

impl<W: Write + Send> Sink<Sealed, SealError> for Out<'_, W> {
    fn put(&mut self, buffer: &[u8], sealed: Sealed) -> Result<(), SealError> {
        self.writer.write_all(buffer).map_err(writing)?;
        self.digest.add(&sealed.leaf);
        self.chunks += 1;
        self.done += sealed.plaintext;
        if let Some(progress) = self.progress {
            progress(self.done, self.total);
        }
        Ok(())
    }
}

/// What was written.
pub(crate) struct Made {
    pub(crate) header: Header,
    pub(crate) chunks: u64,
    /// Plaintext bytes of all regions, padding included.
    pub(crate) bytes: u64,
}

/// Writes the regions and trailers to `writer`, and before them the header if `with_header`.
///
/// The header must have the region length that fits the entries; its slots are filled in.
pub(crate) fn seal(
    sealing: Sealing<'_>,
    mut writer: impl Write + Send,
    with_header: bool,
) -> Result<Made, SealError> {
    let Sealing { mut header, entries, workers, progress } = sealing;
    let envelope_key = Key::generate()?;
    let geometry = Geometry::of_ciphertext(header.chunk_len, header.region_len);
    let mut ciphers: Vec<AeadKey> = Vec::with_capacity(entries.len());
    let mut slots = Vec::with_capacity(entries.len());
    let mut contents = Vec::with_capacity(entries.len());
    let mut announced = None;
    for entry in entries {
        let len = entry.content.as_ref().and_then(|content| content.len);
        announced = len;
        let record = Contents {
            envelope_key: envelope_key.clone(),
            len: geometry.map(|_| len.unwrap_or(0)),
            kind: entry.kind,
        };
        header.slots.push(entry.slot.seal(&record)?);
        ciphers.push(entry.slot.region()?);
        slots.push(entry.slot);
        contents.push(entry.content);
    }
    let head = header.to_bytes();
    if with_header {
        writer.write_all(&head).map_err(writing)?;
    }
    let regions = Regions {
        geometry,
        chunk_len: usize::try_from(header.chunk_len).unwrap_or(usize::MAX),
        readers: contents.into_iter().enumerate(),
        current: None,
    };
    let total = geometry.map_or(announced, |region| Some(region.plaintext() * slots.len() as u64));
    let out = Out { writer, digest: Digest::new(&head), chunks: 0, done: 0, total, progress };
    let single = slots.len() == 1;
    let work = |buffer: &mut Buffer, job: Job| {
        let cipher = ciphers.get(job.entry).ok_or(SealError::UnknownLength)?;
        let plaintext = buffer.len() as u64;
        let tag = cipher.seal(chunk_nonce(job.index, job.last), &[], buffer)?;
        buffer.extend(tag);
        Ok(Sealed { leaf: Leaf::of(buffer, single), plaintext })
    };
    let (_, mut out) = ordered_workers::run(workers, regions, work, out)?;
    let digest = out.digest.finish();
    let mut trailers: Vec<u8> = slots.iter().flat_map(|slot| slot.trailer(&digest)).collect();
    trailers.extend(seal_of(&envelope_key, &digest, &trailers));
    out.writer.write_all(&trailers).map_err(writing)?;
    out.writer.flush().map_err(writing)?;
    Ok(Made { header, chunks: out.chunks, bytes: out.done })
}
