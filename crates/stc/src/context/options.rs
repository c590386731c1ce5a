//! What a call may be told.

use std::path::Path;

use super::Plaintext;
use crate::{ContextData, Header, envelope::Progress};

/// A harmless content under a password of its own.
#[derive(Clone)]
pub(crate) struct Decoy<'a> {
    pub(crate) password: &'a [u8],
    pub(crate) material: Material<'a>,
}

#[derive(Clone)]
pub(crate) enum Material<'a> {
    Memory(Plaintext<'a>),
    File(&'a Path),
}

/// How an envelope is made.
#[derive(Clone, Default)]
pub struct SealOptions<'a> {
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) context_data: Option<&'a ContextData>,
    pub(crate) decoys: Vec<Decoy<'a>>,
    pub(crate) hide: Option<bool>,
}

impl<'a> SealOptions<'a> {
    /// No password, no context data; slots besides the real one for messages, none for files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A password that is needed besides the seed. Any bytes but none at all.
    #[must_use]
    pub fn password(mut self, password: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.password = Some(password.as_ref());
        self
    }

    /// Data that whoever opens the envelope must name too. It is not stored.
    #[must_use]
    pub const fn context_data(mut self, data: &'a ContextData) -> Self {
        self.context_data = Some(data);
        self
    }

    /// Adds a decoy: `content` opens under `password`, and nothing tells that there is more. At
    /// most 3. The envelope then has 4 to 8 slots, and its size is that many times the largest
    /// content, whatever [`Self::use_decoys`] said.
    #[must_use]
    pub fn decoy(
        mut self,
        password: &'a (impl AsRef<[u8]> + ?Sized),
        content: impl Into<Plaintext<'a>>,
    ) -> Self {
        let material = Material::Memory(content.into());
        self.decoys.push(Decoy { password: password.as_ref(), material });
        self
    }

    /// As [`Self::decoy`], from a file that is read while the envelope is made.
    #[must_use]
    pub fn decoy_file(
        mut self,
        password: &'a (impl AsRef<[u8]> + ?Sized),
        path: &'a (impl AsRef<Path> + ?Sized),
    ) -> Self {
        let material = Material::File(path.as_ref());
        self.decoys.push(Decoy { password: password.as_ref(), material });
        self
    }

    /// Whether there are 4 to 8 slots even without a decoy of one's own. Default: yes for messages,
    /// no for files, where it multiplies the size by 4 to 8.
    #[must_use]
    pub const fn use_decoys(mut self, yes: bool) -> Self {
        self.hide = Some(yes);
        self
    }
}

/// How an envelope is opened.
#[derive(Clone, Copy, Default)]
pub struct OpenOptions<'a> {
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) context_data: Option<&'a ContextData>,
    pub(crate) metadata: Option<&'a Header>,
}

impl<'a> OpenOptions<'a> {
    /// No password, no context data, the header at the front of the input.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The password.
    #[must_use]
    pub fn password(mut self, password: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.password = Some(password.as_ref());
        self
    }

    /// The data that the envelope was bound to.
    #[must_use]
    pub const fn context_data(mut self, data: &'a ContextData) -> Self {
        self.context_data = Some(data);
        self
    }

    /// The header, for files and streams that were made without it
    /// ([`FileOptions::detached`]).
    #[must_use]
    pub const fn metadata(mut self, metadata: &'a Header) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

/// How files and streams are read and written.
#[derive(Clone, Copy)]
pub struct FileOptions<'a> {
    pub(crate) chunk_len: u32,
    pub(crate) detached: bool,
    pub(crate) overwrite: bool,
    pub(crate) durable: bool,
    pub(crate) workers: Option<usize>,
    pub(crate) progress: Option<Progress<'a>>,
}

impl Default for FileOptions<'_> {
    fn default() -> Self {
        Self {
            chunk_len: Self::DEFAULT_CHUNK_LEN,
            detached: false,
            overwrite: false,
            durable: true,
            workers: None,
            progress: None,
        }
    }
}

impl<'a> FileOptions<'a> {
    /// 1 MiB.
    pub const DEFAULT_CHUNK_LEN: u32 = 1024 * 1024;
    /// Buffers of one call take no more than this many bytes together, however many cores there
    /// are.
    pub const BUFFER_LIMIT: usize = 14 * 1024 * 1024;

    /// Chunks of 1 MiB, header inside, nothing overwritten, one worker per core.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Plaintext bytes in a chunk, 65,536 to 4,194,304; when encrypting. Default: 1 MiB. Values out
    /// of range are refused by the call.
    #[must_use]
    pub const fn chunk_len(mut self, bytes: u32) -> Self {
        self.chunk_len = bytes;
        self
    }

    /// Leaves the header out of the output; it is then only in the report. When encrypting.
    #[must_use]
    pub const fn detached(mut self, yes: bool) -> Self {
        self.detached = yes;
        self
    }

    /// Replaces an output file that exists. Default: no.
    #[must_use]
    pub const fn overwrite(mut self, yes: bool) -> Self {
        self.overwrite = yes;
        self
    }

    /// Waits until the output is on the disk before it gets its name, so that a power failure
    /// leaves all of it or nothing. Default: yes.
    #[must_use]
    pub const fn durable(mut self, yes: bool) -> Self {
        self.durable = yes;
        self
    }

    /// Threads that work on chunks, at least 1. Default: one per core. Fewer are used when their
    /// buffers would exceed [`Self::BUFFER_LIMIT`].
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Called after every chunk with the bytes done and, if it is known, how many there are. It
    /// counts plaintext of all slots when encrypting, and stored bytes when decrypting.
    #[must_use]
    pub fn progress(mut self, progress: &'a (dyn Fn(u64, Option<u64>) + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Threads for `bytes`, if that is known, in chunks of this length.
    pub(crate) fn workers_for(&self, chunk_len: u32, bytes: Option<u64>) -> usize {
        let chunks = bytes.map_or(usize::MAX, |bytes| {
            usize::try_from(bytes / u64::from(chunk_len)).unwrap_or(usize::MAX).saturating_add(1)
        });
        let buffer = usize::try_from(chunk_len).unwrap_or(usize::MAX).saturating_add(1024);
        let fit = (Self::BUFFER_LIMIT / buffer).max(1);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores).min(chunks).clamp(1, fit)
    }
}
