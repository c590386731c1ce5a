//! A new index for a chamber on disk.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use super::{Chamber, PAGE, entry::NamedEntry, keys, keys::Keys};
use crate::{
    BlobName, ChamberKey, ContentId, StoreError,
    disk::{Candidate, Fs, RealFs, Rebuild, blocking},
    seal::{FOOTER_LEN, Opened, open_small},
};

/// Sealed bytes that are read and opened together.
const PIECE: u64 = 1 << 20;
/// No entry is longer, sealed and padded.
const ENTRY_MAX: usize = 8 << 10;

/// What [`Chamber::rebuild`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// Values in files of their own, those included that turn out to be damaged when they are read.
    pub files: u64,
    /// Short values that the old index still gave.
    pub small: u64,
    /// Names that the old index still gave; their values may be lost.
    pub names: u64,
    /// Values that were pinned because nothing else keeps them.
    pub pinned: u64,
    /// What the old index is called now, if there was one.
    pub old_index: Option<String>,
}

impl Chamber {
    /// Makes a new index for the chamber in the directory `path`, whose old one is missing or
    /// damaged, and puts it in the old one's place, which stays beside it under another name.
    /// Files of values are read and not changed.
    ///
    /// The new index has every value that lies in a file of its own. Short values (up to 40 KiB, or
    /// `DiskOptions::small_max`), names and pins lie in the index only: what cannot be read of the
    /// old one is lost. So that nothing is collected that a lost name kept, all values without a
    /// name are pinned. Of files only the ends are verified; [`Self::verify`] reads them all.
    ///
    /// # Errors
    /// [`StoreError::IndexSound`] when there is nothing to mend; [`StoreError::WrongSeed`] when it
    /// is known, or no file verifies; [`StoreError::NotFound`] when there is no store;
    /// [`StoreError::NotAStore`], [`StoreError::InUse`]; errors of reading and writing. The store is
    /// as it was then.
    pub async fn rebuild(
        key: &ChamberKey,
        path: impl AsRef<Path>,
    ) -> Result<RebuildReport, StoreError> {
        let (keys, path) = (key.keys(), path.as_ref().to_owned());
        let fs = Arc::new(RealFs);
        blocking("the store", move || rebuild(fs, &path, &keys)).await
    }
}

fn rebuild(fs: Arc<dyn Fs>, path: &Path, keys: &Keys) -> Result<RebuildReport, StoreError> {
    let mut report = RebuildReport::default();
    let mut new = Rebuild::begin(fs, path)?;
    // Without a record of its own, the files say whose store it is.
    let (mut files, mut ours) = (0, false);
    new.salvage(keys::META, |new, name, record| {
        ours |= keys.is_record(&name, &record, &new.place())?;
        Ok(())
    })?;
    new.add_files(|new, name, candidates| {
        let opened: Vec<_> = candidates.iter().map(|file| open(keys, name, file)).collect();
        let chosen = choose(candidates, &opened);
        ours |= opened.iter().any(Option::is_some);
        files += 1;
        if name.as_bytes().starts_with(&[keys::CONTENT]) {
            report.files += 1;
        } else if let Some(data) = candidates.get(chosen).and_then(small)
            && add_entry(new, keys, *name, data)?
        {
            // Where `DiskOptions::small_max` is that small.
            report.names += 1;
        }
        Ok(chosen)
    })?;
    if !ours && files > 0 {
        return Err(StoreError::WrongSeed { place: new.place() });
    }
    let (at, record) = keys.record()?;
    new.add_small(at, record)?;
    new.salvage(keys::CONTENT, |new, name, data| {
        let Ok((id, value)) = open_small(&keys.content, data.to_vec()) else { return Ok(()) };
        let is_whole = ContentId::of(&value) == id && keys.content_name(&id)? == name;
        if is_whole && !new.has(&name)? {
            report.small += 1;
            new.add_small(name, data)?;
        }
        Ok(())
    })?;
    new.salvage(keys::ENTRY, |new, at, data| {
        if add_entry(new, keys, at, data.to_vec())? {
            report.names += 1;
            new.add_small(at, data)?;
        }
        Ok(())
    })?;
    new.salvage(keys::ROOT, |new, root, _| match keys::parse_root(&root) {
        Some((content, None)) if new.has(&content)? => new.add_small(root, Bytes::new()),
        _ => Ok(()),
    })?;
    report.pinned = pin_others(&mut new)?;
    report.old_index = new.finish()?;
    Ok(report)
}

/// Adds what the entry in the sealed bytes of the blob `at` keeps its content by, if it is one.
fn add_entry(
    new: &mut Rebuild,
    keys: &Keys,
    at: BlobName,
    data: Vec<u8>,
) -> Result<bool, StoreError> {
    let Some(entry) = NamedEntry::open(keys, at, data) else { return Ok(false) };
    let root = keys::entry_root(&keys.content_name(&entry.id)?, &at)?;
    new.add_small(root, Bytes::new())?;
    Ok(true)
}

/// All of a file, if it is as short as an entry.
fn small(candidate: &Candidate) -> Option<Vec<u8>> {
    let len = usize::try_from(candidate.len).ok().filter(|len| *len <= ENTRY_MAX)?;
    let mut data = vec![0; len];
    candidate.file.read_at(0, &mut data).ok()?;
    Some(data)
}

/// Pins what nothing keeps, and says how much that is.
fn pin_others(new: &mut Rebuild) -> Result<u64, StoreError> {
    let (mut after, mut pinned) = (None, 0);
    loop {
        let rows = new.list(&[keys::CONTENT], after.as_ref(), PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(pinned) };
        after = Some(*last);
        for (content, _) in rows {
            let prefix = keys::root_prefix(&content)?;
            if new.list(prefix.as_bytes(), None, 1)?.is_empty() {
                new.add_small(keys::pin_root(&content)?, Bytes::new())?;
                pinned += 1;
            }
        }
        new.commit()?;
    }
}

/// The end of a file, verified, if it is one of these.
fn open(keys: &Keys, name: &BlobName, candidate: &Candidate) -> Option<Opened> {
    let root = match *name.as_bytes().first()? {
        keys::CONTENT => &keys.content,
        keys::ENTRY => &keys.entries,
        _ => return None,
    };
    let at = candidate.len.checked_sub(FOOTER_LEN as u64)?;
    let mut footer = vec![0; FOOTER_LEN];
    candidate.file.read_at(at, &mut footer).ok()?;
    let opened = Opened::new(root, &footer, candidate.len).ok()?;
    let is_at_home = match *name.as_bytes().first()? {
        keys::CONTENT => keys.content_name(&opened.id()).ok()? == *name,
        _ => true,
    };
    is_at_home.then_some(opened)
}

/// Which file a row points to: a whole one, else one whose end verifies, else any, so that reading
/// it tells what is wrong. There are several after a crash in the middle of mending a value.
fn choose(candidates: &[Candidate], opened: &[Option<Opened>]) -> usize {
    if candidates.len() < 2 {
        return 0;
    }
    let is_whole = |at: &usize| {
        let both = candidates.get(*at).zip(opened.get(*at)?.as_ref());
        both.map(|(candidate, opened)| verifies(candidate, opened))
    };
    let whole = (0..candidates.len()).find(|at| is_whole(at) == Some(true));
    whole.or_else(|| opened.iter().position(Option::is_some)).unwrap_or(0)
}

/// Whether all chunks verify, padding too.
fn verifies(candidate: &Candidate, opened: &Opened) -> bool {
    let (mut rest, step) = (opened.all_chunks(), (PIECE / opened.chunk_len()).max(1));
    while !rest.is_empty() {
        let now = rest.start..rest.end.min(rest.start + step);
        let range = opened.blob_range(&now);
        let mut data = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
        let read = candidate.file.read_at(range.start, &mut data).is_ok();
        if !read || opened.open_chunks(now.start, &mut data).is_err() {
            return false;
        }
        rest.start = now.end;
    }
    true
}
