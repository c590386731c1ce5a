//! Messages in memory.

use super::{
    Content, Context, FileOptions, FoundSlot, OpenOptions, Plaintext, SealOptions,
    envelope_slots::Main,
};
use crate::envelope::{self, Header, OpenError, SealError, SealingContent};

impl Context {
    /// Encrypts a message; the header comes apart from the rest.
    ///
    /// Header and ciphertext together are what [`Self::seal`] gives as one. Without decoys they are
    /// 250 bytes longer than the message (plus 16 for each full MiB); with decoys, which is the
    /// default, 4 to 8 times as long.
    ///
    /// # Errors
    /// [`SealError`]: contradictory options, no secret, no randomness.
    pub fn encrypt<'a>(
        &self,
        content: impl Into<Plaintext<'a>>,
        options: &SealOptions<'a>,
    ) -> Result<(Vec<u8>, Header), SealError> {
        self.make(content.into(), options, false)
    }

    /// Encrypts a message into one blob.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn seal<'a>(
        &self,
        content: impl Into<Plaintext<'a>>,
        options: &SealOptions<'a>,
    ) -> Result<Vec<u8>, SealError> {
        self.make(content.into(), options, true).map(|(blob, _)| blob)
    }

    pub(super) fn make<'a>(
        &self,
        content: Plaintext<'a>,
        options: &SealOptions<'a>,
        with_header: bool,
    ) -> Result<(Vec<u8>, Header), SealError> {
        let bytes = content.bytes();
        let main = Main {
            kind: content.kind(),
            content: SealingContent { reader: Box::new(bytes), len: Some(bytes.len() as u64) },
        };
        let chunk_len = FileOptions::DEFAULT_CHUNK_LEN;
        let mut sealing = self.prepare(main, options, true, chunk_len, false)?;
        let slots = sealing.entries.len() as u64;
        let each = sealing.header.region_len.max(bytes.len() as u64);
        sealing.workers = FileOptions::new().workers_for(chunk_len, Some(slots * each));
        let room = usize::try_from(slots * (each + 256) + each / 60_000 + 512).unwrap_or(0);
        let mut out = Vec::with_capacity(room);
        let made = envelope::seal(sealing, &mut out, with_header)?;
        self.note_sealed(made.bytes);
        Ok((out, made.header))
    }

    /// Opens a message whose header came apart.
    ///
    /// # Errors
    /// [`OpenError::NothingOpens`] for a wrong seed, password or context data; other [`OpenError`]s
    /// for what was changed or cut off.
    pub fn decrypt(
        &self,
        ciphertext: &[u8],
        metadata: &Header,
        options: &OpenOptions<'_>,
    ) -> Result<Content, OpenError> {
        let (opening, _) = self.find(metadata.clone(), options)?;
        let len = ciphertext.len() as u64;
        let mut out = Vec::new();
        if metadata.region_len == 0 {
            out.reserve_exact(ciphertext.len());
        }
        let workers = FileOptions::new().workers_for(metadata.chunk_len, Some(len));
        envelope::open(&opening, ciphertext, &mut out, workers, Some(len), None)?;
        Content::new(opening.contents.kind, out)
    }

    /// Opens what [`Self::seal`] made.
    ///
    /// # Errors
    /// As [`Self::decrypt`], and [`OpenError::Envelope`] when `blob` is no envelope.
    pub fn open(&self, blob: &[u8], options: &OpenOptions<'_>) -> Result<Content, OpenError> {
        let header = Header::parse(blob)?;
        let body = blob.get(header.encoded_len()..).unwrap_or_default();
        self.decrypt(body, &header, options)
    }

    /// Finds the slot that a password opens, from the first bytes of an envelope (the header is at
    /// most 842 bytes long), without looking at the content.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn find_slot(
        &self,
        first_bytes: &[u8],
        options: &OpenOptions<'_>,
    ) -> Result<FoundSlot, OpenError> {
        let header = match options.metadata {
            Some(metadata) => metadata.clone(),
            None => Header::parse(first_bytes)?,
        };
        self.find(header, options).map(|(_, found)| found)
    }
}
