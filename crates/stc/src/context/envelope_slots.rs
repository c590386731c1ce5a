//! From options to the slots of an envelope, and from a header to the slot that opens.

use std::{
    fs,
    io::{self, ErrorKind},
    time::Instant,
};

use super::{
    Context, FoundSlot, OpenOptions, SealOptions,
    options::{Decoy, Material},
};
use crate::{
    ContextData, Key, SteadyFile,
    envelope::{
        CHUNK_LEN, Entry, Geometry, Header, Kind, MAX_REAL, MAX_SLOTS, MIN_SLOTS, OpenError,
        Opening, SealError, Sealing, SealingContent, Slot, padme,
    },
    random,
};

/// Regions with decoys are at least this long, so that short texts look alike.
const LEAST_REGION: u64 = 256;

/// What the caller wants to keep, as opposed to decoys.
pub(super) struct Main<'a> {
    pub(super) kind: Kind,
    pub(super) content: SealingContent<'a>,
}

/// A number below `bound`. The bias is below 2^-60 for the bounds used here.
fn below(bound: u64) -> Result<u64, SealError> {
    Ok(u64::from_be_bytes(random::bytes()?) % bound)
}

/// Slots of an envelope with decoys: drawn before anything is known about what is real.
fn draw_total() -> Result<usize, SealError> {
    let choices = u64::from(MAX_SLOTS - MIN_SLOTS) + 1;
    Ok(usize::from(MIN_SLOTS) + usize::try_from(below(choices)?).unwrap_or(0))
}

fn shuffle<T>(items: &mut [T]) -> Result<(), SealError> {
    for last in (1..items.len()).rev() {
        let other = usize::try_from(below(last as u64 + 1)?).unwrap_or(0);
        items.swap(last, other);
    }
    Ok(())
}

fn decoy_content<'a>(decoy: &Decoy<'a>) -> Result<(Kind, SealingContent<'a>), SealError> {
    match decoy.material {
        Material::Memory(plaintext) => Ok((
            plaintext.kind(),
            SealingContent {
                reader: Box::new(plaintext.bytes()),
                len: Some(plaintext.bytes().len() as u64),
            },
        )),
        Material::File(path) => {
            let open = || {
                // Looked at before it is opened: opening a pipe would wait for its other end.
                if !fs::metadata(path)?.is_file() {
                    return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
                }
                SteadyFile::open(path)
            };
            let file = open().map_err(|source| SealError::Io { what: "read a decoy", source })?;
            let len = file.known_len();
            Ok((Kind::Bytes, SealingContent { reader: Box::new(file), len }))
        }
    }
}

impl Context {
    /// Everything that [`crate::envelope::seal`] needs. `own_salt`: the envelope's passwords get a
    /// salt of their own, which costs a stretch each.
    pub(super) fn prepare<'a>(
        &self,
        main: Main<'a>,
        options: &SealOptions<'a>,
        hide_by_default: bool,
        chunk_len: u32,
        own_salt: bool,
    ) -> Result<Sealing<'a>, SealError> {
        if !CHUNK_LEN.contains(&chunk_len) {
            return Err(SealError::ChunkLen { got: chunk_len });
        }
        let hide = !options.decoys.is_empty() || options.hide.unwrap_or(hide_by_default);
        if options.decoys.len() >= MAX_REAL {
            return Err(SealError::TooManyDecoys { got: options.decoys.len() });
        }
        let passwords: Vec<Option<&[u8]>> = std::iter::once(options.password)
            .chain(options.decoys.iter().map(|decoy| Some(decoy.password)))
            .collect();
        for (at, password) in passwords.iter().enumerate() {
            if *password == Some(&[]) {
                return Err(SealError::EmptyPassword);
            }
            if passwords.iter().skip(at + 1).any(|other| other == password) {
                return Err(SealError::SamePassword);
            }
        }
        if !self.seeded && options.password.is_none() {
            return Err(SealError::NoSecret);
        }

        let mut contents = vec![(main.kind, main.content)];
        for decoy in &options.decoys {
            contents.push(decoy_content(decoy)?);
        }
        let region_len = if hide {
            let too_long = SealError::TooLong { chunk_len };
            let mut longest = LEAST_REGION;
            for (_, content) in &contents {
                longest = longest.max(content.len.ok_or(SealError::UnknownLength)?);
            }
            padme(longest)
                .and_then(|len| Geometry::of_plaintext(chunk_len, len))
                .ok_or(too_long)?
                .ciphertext()
        } else {
            0
        };
        let total = if hide { draw_total()? } else { 1 };

        let (epoch, context_salt) = {
            let moving = self.moving();
            (moving.epoch, moving.password_salt)
        };
        let mut header = Header {
            suite: self.suite,
            cost: self.cost,
            epoch,
            chunk_len,
            region_len,
            password_salt: if own_salt { random::bytes()? } else { context_salt },
            message_salt: random::bytes()?,
            // The number of slots is part of what their keys are bound to.
            slots: vec![[0; crate::envelope::SLOT_LEN]; total],
        };
        let fixed = header.fixed();
        header.slots.clear();

        let context_digest = ContextData::digest(options.context_data);
        let mut entries = Vec::with_capacity(total);
        for (password, (kind, content)) in passwords.into_iter().zip(contents) {
            let password = match password {
                Some(password) => {
                    let salt = &header.password_salt;
                    let (key, new) = self.passwords.stretched(password, salt, self.cost)?;
                    if new {
                        self.note_password(password);
                    }
                    Some(key)
                }
                None => None,
            };
            let slot =
                Slot::new(&self.root, password.as_ref(), &context_digest, &fixed, self.suite);
            entries.push(Entry { slot, kind, content: Some(content) });
        }
        while entries.len() < total {
            let slot = Slot::unopenable(Key::generate()?, self.suite);
            entries.push(Entry { slot, kind: Kind::Bytes, content: None });
        }
        shuffle(&mut entries)?;
        Ok(Sealing { header, entries, workers: 1, progress: None })
    }

    /// Counts what was sealed.
    pub(super) fn note_sealed(&self, bytes: u64) {
        let mut moving = self.moving();
        moving.envelopes = moving.envelopes.saturating_add(1);
        moving.bytes = moving.bytes.saturating_add(bytes);
    }

    /// Finds the slot: one stretch unless the password is known, one key, and a comparison with
    /// every slot.
    pub(super) fn find(
        &self,
        header: Header,
        options: &OpenOptions<'_>,
    ) -> Result<(Opening, FoundSlot), OpenError> {
        let started = Instant::now();
        let kib = header.cost.kib();
        let password = match options.password {
            Some(_) if kib > self.max_kib => {
                return Err(OpenError::TooDear { kib, allowed: self.max_kib });
            }
            Some(password) => {
                Some(self.passwords.stretched(password, &header.password_salt, header.cost)?.0)
            }
            None => None,
        };
        let digest = ContextData::digest(options.context_data);
        let slot = Slot::new(&self.root, password.as_ref(), &digest, &header.fixed(), header.suite);
        let opening = Opening::new(header, slot)?;
        let found = FoundSlot {
            index: opening.index,
            slots: opening.header.slot_count(),
            elapsed: started.elapsed(),
        };
        Ok((opening, found))
    }
}
