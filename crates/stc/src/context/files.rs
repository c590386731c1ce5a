//! Files, streams and ranges.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use super::{Context, FileOptions, OpenOptions, SealOptions, envelope_slots::Main};
use crate::{
    OutputFile, SteadyFile,
    envelope::{
        self, EnvelopeError, FIXED_LEN, Header, Kind, OpenError, SLOT_LEN, SealError,
        SealingContent, read_full,
    },
};

/// Which slot a password opens, and how long it took to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundSlot {
    /// Index, from 0. Slots stand in random order, so it says nothing about what the slot holds.
    pub index: usize,
    /// Slots of the envelope.
    pub slots: usize,
    /// Time from the header to the slot, with the stretch unless the password was known.
    pub elapsed: Duration,
}

/// What was done with a file or a stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// The header.
    pub metadata: Header,
    /// When decrypting: the slot.
    pub slot: Option<FoundSlot>,
    /// When decrypting: bytes of content. When encrypting: bytes sealed, padding and all slots
    /// included.
    pub bytes: u64,
    /// Chunks worked on.
    pub chunks: u64,
    /// Time for everything but the stretch.
    pub elapsed: Duration,
    /// Bytes of all buffers that were in use at once. The stretch, freed before, is not counted.
    pub peak_memory: u64,
    /// Threads that worked on chunks.
    pub workers: usize,
}

impl FileReport {
    /// Megabytes (10^6 bytes) per second.
    #[must_use]
    pub fn throughput_mbps(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let bytes = self.bytes as f64;
        bytes / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

fn sealing_io(what: &'static str) -> impl Fn(io::Error) -> SealError {
    move |source| SealError::Io { what, source }
}

fn opening_io(what: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { what, source }
}

/// Buffers of `workers`: a chunk, its tag, and what is read ahead.
fn buffers(workers: usize, header: &Header) -> u64 {
    workers as u64 * (u64::from(header.chunk_len) + 16 + header.trailers_len() as u64 + 1)
}

impl Context {
    /// Encrypts the file `input` into the file `output`, which only its owner can read unless it
    /// replaces one that others could.
    ///
    /// The output appears under its name when it is complete, and not at all when something fails;
    /// a device or a named pipe is written into ([`OutputFile`]).
    /// Every password costs one stretch, under a salt of this file. Without decoys the output is
    /// 250 bytes longer than the input, plus 16 for each further chunk.
    ///
    /// # Errors
    /// [`SealError`]; an input that changes meanwhile is [`SealError::Changed`]; an output that
    /// exists is [`SealError::Io`] with [`io::ErrorKind::AlreadyExists`].
    pub fn encrypt_file<'a>(
        &self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
        options: &SealOptions<'a>,
        file_options: &FileOptions<'a>,
    ) -> Result<FileReport, SealError> {
        let file = SteadyFile::open(input.as_ref()).map_err(sealing_io("open the input"))?;
        let len = file.known_len();
        self.encrypt_into(file, len, output, options, file_options)
    }

    /// As [`Self::encrypt_file`], from a reader. Files belong into a [`SteadyFile`].
    ///
    /// # Errors
    /// As [`Self::encrypt_file`].
    pub fn encrypt_into<'a>(
        &self,
        reader: impl Read + Send + 'a,
        len: Option<u64>,
        output: impl AsRef<Path>,
        options: &SealOptions<'a>,
        file_options: &FileOptions<'a>,
    ) -> Result<FileReport, SealError> {
        let output = OutputFile::create(output.as_ref(), file_options.overwrite)
            .map_err(sealing_io("create the output"))?;
        let report = self.encrypt_stream(reader, len, output.file(), options, file_options)?;
        output.finish(file_options.durable).map_err(sealing_io("complete the output"))?;
        Ok(report)
    }

    /// Encrypts what `reader` gives until its end. `len` is how much that will be, if known: decoys
    /// need it, and progress shows it.
    ///
    /// # Errors
    /// [`SealError`]. What was written until then cannot be opened.
    pub fn encrypt_stream<'a>(
        &self,
        reader: impl Read + Send + 'a,
        len: Option<u64>,
        writer: impl Write + Send,
        options: &SealOptions<'a>,
        file_options: &FileOptions<'a>,
    ) -> Result<FileReport, SealError> {
        let content = SealingContent { reader: Box::new(reader), len };
        let main = Main { kind: Kind::Bytes, content };
        let chunk_len = file_options.chunk_len;
        let mut sealing = self.prepare(main, options, false, chunk_len, true)?;
        let slots = sealing.entries.len() as u64;
        let bytes = len.map(|len| slots.saturating_mul(len.max(sealing.header.region_len)));
        let workers = file_options.workers_for(chunk_len, bytes);
        sealing.workers = workers;
        sealing.progress = file_options.progress;
        let started = Instant::now();
        let made = envelope::seal(sealing, writer, !file_options.detached)?;
        self.note_sealed(made.bytes);
        Ok(FileReport {
            slot: None,
            bytes: made.bytes,
            chunks: made.chunks,
            elapsed: started.elapsed(),
            peak_memory: buffers(workers, &made.header),
            workers,
            metadata: made.header,
        })
    }

    /// Decrypts the file `input` into the file `output`, which only its owner can read unless it
    /// replaces one that others could.
    ///
    /// The output appears under its name when all of it was authenticated, and not at all when
    /// something fails; a device or a named pipe is written into ([`OutputFile`]), and gets
    /// authenticated bytes before the end is known.
    ///
    /// # Errors
    /// [`OpenError`]; an output that exists is [`OpenError::Io`] with
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn decrypt_file(
        &self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
        options: &OpenOptions<'_>,
        file_options: &FileOptions<'_>,
    ) -> Result<FileReport, OpenError> {
        let file = File::open(input).map_err(opening_io("open the input"))?;
        let len = file.metadata().map_err(opening_io("open the input"))?.len();
        self.decrypt_into(file, Some(len), output, options, file_options)
    }

    /// As [`Self::decrypt_file`], from a reader.
    ///
    /// # Errors
    /// As [`Self::decrypt_file`].
    pub fn decrypt_into(
        &self,
        reader: impl Read + Send,
        len: Option<u64>,
        output: impl AsRef<Path>,
        options: &OpenOptions<'_>,
        file_options: &FileOptions<'_>,
    ) -> Result<FileReport, OpenError> {
        let output = OutputFile::create(output.as_ref(), file_options.overwrite)
            .map_err(opening_io("create the output"))?;
        let report = self.decrypt_stream(reader, len, output.file(), options, file_options)?;
        output.finish(file_options.durable).map_err(opening_io("complete the output"))?;
        Ok(report)
    }

    /// Decrypts what `reader` gives until its end. `len` is how much that will be, if known, for
    /// progress.
    ///
    /// Every byte that reaches `writer` was authenticated, but only `Ok` says that nothing was cut
    /// off: a caller that acts on the output before must be ready to take it back.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn decrypt_stream(
        &self,
        mut reader: impl Read + Send,
        len: Option<u64>,
        writer: impl Write + Send,
        options: &OpenOptions<'_>,
        file_options: &FileOptions<'_>,
    ) -> Result<FileReport, OpenError> {
        let (header, skipped) = read_header(&mut reader, options)?;
        let (opening, slot) = self.find(header, options)?;
        let started = Instant::now();
        let workers = file_options.workers_for(opening.header.chunk_len, len);
        let received = envelope::open(
            &opening,
            reader,
            writer,
            workers,
            len.map(|len| len.saturating_sub(skipped)),
            file_options.progress,
        )?;
        Ok(FileReport {
            slot: Some(slot),
            bytes: received.bytes,
            chunks: received.chunks,
            elapsed: started.elapsed(),
            peak_memory: buffers(workers, &opening.header),
            workers,
            metadata: opening.header,
        })
    }

    /// Writes the bytes `range` of the content to `writer`, without reading the rest.
    ///
    /// The bytes and the length of the content are authenticated. The trailers are not looked at:
    /// a change elsewhere in the envelope goes unnoticed here, and only here.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Range`] when the content has no such bytes.
    pub fn decrypt_range(
        &self,
        mut reader: impl Read + Seek,
        range: Range<u64>,
        writer: impl Write,
        options: &OpenOptions<'_>,
    ) -> Result<FoundSlot, OpenError> {
        reader.seek(SeekFrom::Start(0)).map_err(opening_io("read the envelope"))?;
        let (header, body) = read_header(&mut reader, options)?;
        let (opening, slot) = self.find(header, options)?;
        envelope::open_range(&opening, reader, body, range, writer)?;
        Ok(slot)
    }
}

/// The header, and how many bytes of `reader` it took.
fn read_header(
    reader: &mut impl Read,
    options: &OpenOptions<'_>,
) -> Result<(Header, u64), OpenError> {
    if let Some(metadata) = options.metadata {
        return Ok((metadata.clone(), 0));
    }
    let reading = opening_io("read the envelope");
    let mut fixed = [0; FIXED_LEN];
    let got = read_full(reader, &mut fixed).map_err(&reading)?;
    let (mut header, slots) = Header::parse_fixed(fixed.get(..got).unwrap_or_default())?;
    let mut table = vec![0; slots * SLOT_LEN];
    let read = read_full(reader, &mut table).map_err(&reading)?;
    if read != table.len() {
        let needed = FIXED_LEN + table.len();
        return Err(EnvelopeError::HeaderTooShort { needed, got: FIXED_LEN + read }.into());
    }
    header.set_slots(&table);
    let len = header.encoded_len() as u64;
    Ok((header, len))
}
