//! The file of one consumer: three places for its cursor, of which the newest counts
//! (`docs/log.md`, "Cursors"). Everything here blocks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use stc::{
    Key,
    aead::{Suite, TAG_LEN},
    random,
};

use super::{machine::Cursor, options::OUTSTANDING_LIMIT};
use crate::{
    Damage, DamagedPart, StoreError,
    disk::{Fs, RawFile},
    log::{
        Position,
        keys::{LogKeys, open, seal},
        segment::{take_u32, take_u64},
    },
};

/// Bytes of a place.
pub(in crate::log) const PLACE: usize = 64 << 10;
/// Places that are synced, in turns.
const SYNCED: usize = 2;
/// The place that is written without a sync.
const NOTE: usize = 2;
/// What is written is a multiple of this, so that its length tells little.
const BLOCK: usize = 4096;
const HEADER: usize = 40;
const MAGIC: &[u8; 4] = b"SLCU";
/// Longest name of a consumer.
pub(super) const NAME_MAX: usize = 255;
/// How the name of such a file ends.
pub(super) const SUFFIX: &str = "cur";

/// What a cursor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Saved {
    pub(in crate::log) name: String,
    /// The position behind the last record that was delivered.
    pub(in crate::log) next: Position,
    pub(in crate::log) unsettled: Vec<(u64, u32)>,
}

impl Saved {
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { next: self.next.offset, unsettled: self.unsettled.clone() }
    }
}

/// The open file of a consumer.
#[derive(Debug)]
pub(super) struct CursorFile {
    file: Arc<dyn RawFile>,
    key: Key,
    item: String,
    sequence: u64,
    /// The place that was synced last.
    current: usize,
    /// Nobody knows what the disk holds after a sync that failed.
    broken: bool,
}

/// The file of the consumer `name`.
pub(super) fn path_of(keys: &LogKeys, dir: &Path, name: &str) -> PathBuf {
    dir.join(keys.cursor_file(name)).with_extension(SUFFIX)
}

impl CursorFile {
    /// Makes the file, or puts a new one in its place.
    pub(super) fn create(
        fs: &Arc<dyn Fs>,
        keys: &LogKeys,
        dir: &Path,
        saved: &Saved,
    ) -> Result<Self, StoreError> {
        let path = path_of(keys, dir, &saved.name);
        let item = item(&path);
        let failed = |error: std::io::Error| StoreError::io(item.clone(), &error);
        let new = path.with_extension("new");
        if fs.exists(&new).map_err(failed)? {
            fs.remove(&new).map_err(failed)?;
        }
        let file = fs.create_new(&new).map_err(failed)?;
        let key = key_of(keys, &path)?;
        // All of it has its place before it is needed, so later writes change no metadata.
        file.write_at(0, &vec![0; PLACE * (SYNCED + 1)]).map_err(failed)?;
        let mut made = Self { file, key, item, sequence: 0, current: 1, broken: false };
        made.write(saved, true)?;
        let failed = |error: std::io::Error| StoreError::io(made.item.clone(), &error);
        fs.rename(&new, &path).map_err(failed)?;
        fs.sync_dir(dir).map_err(failed)?;
        Ok(made)
    }

    /// Opens the file of the consumer `name`, if there is one.
    pub(super) fn open(
        fs: &Arc<dyn Fs>,
        keys: &LogKeys,
        dir: &Path,
        name: &str,
    ) -> Result<Option<(Self, Saved)>, StoreError> {
        let path = path_of(keys, dir, name);
        let item = item(&path);
        let failed = |error: std::io::Error| StoreError::io(item.clone(), &error);
        if !fs.exists(&path).map_err(failed)? {
            return Ok(None);
        }
        let (key, file) = (key_of(keys, &path)?, fs.open(&path, true).map_err(failed)?);
        // The process that wrote it may have died before it made file and name durable.
        file.sync().map_err(failed)?;
        fs.sync_dir(dir).map_err(failed)?;
        let Found { sequence, saved, synced } = newest(&*file, &key, &item)?;
        if saved.name != name {
            return Err(StoreError::damaged(item, Damage::Misplaced));
        }
        // The next synced write must spare what the last one wrote, also if the note is newer: the
        // note is written over without a sync.
        let current = synced.unwrap_or(0);
        let opened = Self { file, key, item, sequence, current, broken: false };
        Ok(Some((opened, saved)))
    }

    /// What the file at `path` says, without opening the consumer.
    pub(super) fn peek(fs: &Arc<dyn Fs>, keys: &LogKeys, path: &Path) -> Result<Saved, StoreError> {
        let item = item(path);
        let file = fs.open(path, false).map_err(|error| StoreError::io(item.clone(), &error))?;
        Ok(newest(&*file, &key_of(keys, path)?, &item)?.saved)
    }

    /// Writes `saved`; durable when this returns, or else as soon as the system likes: that
    /// survives the end of the process.
    pub(super) fn write(&mut self, saved: &Saved, durable: bool) -> Result<(), StoreError> {
        self.check()?;
        let place = if durable { 1 - self.current } else { NOTE };
        let sequence = self.sequence + 1;
        let bytes = encode(&self.key, sequence, saved)?;
        let written = self.file.write_at((place * PLACE) as u64, &bytes);
        written.map_err(|error| StoreError::io(self.item.clone(), &error))?;
        self.sequence = sequence;
        if durable {
            if self.file.sync().is_err() {
                self.broken = true;
                return self.check();
            }
            self.current = place;
        }
        Ok(())
    }

    /// Whether a sync failed, so that nothing more is written.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::SyncFailed { item: self.item.clone() });
        }
        Ok(())
    }
}

fn item(path: &Path) -> String {
    format!("the cursor {}", path.display())
}

fn key_of(keys: &LogKeys, path: &Path) -> Result<Key, StoreError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem =
        stem.ok_or_else(|| StoreError::damaged(item(path), Damage::Malformed(DamagedPart::Name)))?;
    Ok(keys.cursor(stem))
}

/// What the places of a file hold.
struct Found {
    /// Number and content of the newest.
    sequence: u64,
    saved: Saved,
    /// The newest of those that are synced.
    synced: Option<usize>,
}

fn newest(file: &dyn RawFile, key: &Key, item: &str) -> Result<Found, StoreError> {
    let failed = |error: std::io::Error| StoreError::io(item, &error);
    let len = file.len().map_err(failed)?;
    let mut found: Option<(u64, Saved)> = None;
    let mut synced: Option<(u64, usize)> = None;
    for place in 0..=SYNCED {
        if len < (PLACE * (place + 1)) as u64 {
            continue;
        }
        let mut bytes = vec![0; PLACE];
        file.read_at((place * PLACE) as u64, &mut bytes).map_err(failed)?;
        let Some((sequence, saved)) = decode(key, &bytes) else { continue };
        if place != NOTE && synced.is_none_or(|(newest, _)| sequence > newest) {
            synced = Some((sequence, place));
        }
        if found.as_ref().is_none_or(|(newest, _)| sequence > *newest) {
            found = Some((sequence, saved));
        }
    }
    let damaged = || StoreError::damaged(item, Damage::Unverified(DamagedPart::Whole));
    let (sequence, saved) = found.ok_or_else(damaged)?;
    Ok(Found { sequence, saved, synced: synced.map(|(_, place)| place) })
}

/// What a place holds.
pub(in crate::log) fn encode(
    key: &Key,
    sequence: u64,
    saved: &Saved,
) -> Result<Vec<u8>, StoreError> {
    let too_long = || StoreError::TooLarge {
        item: "the cursor of a consumer".to_owned(),
        limit: OUTSTANDING_LIMIT as u64,
    };
    let name = saved.name.as_bytes();
    let count = u32::try_from(saved.unsettled.len()).map_err(|_| too_long())?;
    let plain = 1 + name.len() + 20 + 12 * saved.unsettled.len();
    let len = (HEADER + plain + TAG_LEN).next_multiple_of(BLOCK);
    if len > PLACE || name.len() > NAME_MAX {
        return Err(too_long());
    }
    let (suite, salt) = (Suite::preferred(), random::bytes::<16>()?);
    let mut out = Vec::with_capacity(len);
    out.extend(MAGIC);
    out.extend([suite.id(), 0, 0, 0]);
    out.extend(u32::try_from(len).map_err(|_| too_long())?.to_be_bytes());
    out.extend([0; 4]);
    out.extend(sequence.to_be_bytes());
    out.extend(salt);
    let bound = out.clone();
    out.push(u8::try_from(name.len()).map_err(|_| too_long())?);
    out.extend(name);
    out.extend(saved.next.epoch.to_be_bytes());
    out.extend(saved.next.offset.to_be_bytes());
    out.extend(count.to_be_bytes());
    for (offset, deliveries) in &saved.unsettled {
        out.extend(offset.to_be_bytes());
        out.extend(deliveries.to_be_bytes());
    }
    out.resize(len - TAG_LEN, 0);
    seal(suite, key, "cursor", &bound, &mut out, HEADER)?;
    Ok(out)
}

/// `None` if nothing whole is there.
pub(in crate::log) fn decode(key: &Key, bytes: &[u8]) -> Option<(u64, Saved)> {
    let (bound, _) = bytes.split_first_chunk::<HEADER>()?;
    let mut rest = bound.strip_prefix(MAGIC)?;
    let suite = Suite::from_id(*rest.split_off_first()?)?;
    let _zeros = rest.split_off(..3)?;
    let len = usize::try_from(take_u32(&mut rest)?).ok()?;
    let _zeros = take_u32(&mut rest)?;
    let sequence = take_u64(&mut rest)?;
    let mut sealed = bytes.get(HEADER..len)?.to_vec();
    let mut plain = &*open(suite, key, "cursor", bound, &mut sealed)?;
    let name = usize::from(*plain.split_off_first()?);
    let name = String::from_utf8(plain.split_off(..name)?.to_vec()).ok()?;
    let next = Position { epoch: take_u64(&mut plain)?, offset: take_u64(&mut plain)? };
    let count = take_u32(&mut plain)?;
    let each = (0..count).map(|_| Some((take_u64(&mut plain)?, take_u32(&mut plain)?)));
    let unsettled = each.collect::<Option<Vec<_>>>()?;
    Some((sequence, Saved { name, next, unsettled }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ChamberKey, disk::RealFs};

    fn key() -> Key {
        Key::from_bytes([4; 32])
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_and_a_torn_one_does_not(
            name in "[a-zß]{1,60}",
            next in any::<(u64, u64)>(),
            unsettled in prop::collection::vec(any::<(u64, u32)>(), 0..800),
            flip in any::<prop::sample::Index>(),
        ) {
            let next = Position { epoch: next.0, offset: next.1 };
            let saved = Saved { name, next, unsettled };
            let mut bytes = encode(&key(), 7, &saved).unwrap();
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            prop_assert_eq!(decode(&key(), &bytes), Some((7, saved)));
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
            prop_assert_eq!(decode(&key(), &bytes), None);
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            bytes.splice(0..0, *b"SLCU\x01\0\0\0");
            prop_assert_eq!(decode(&key(), &bytes), None);
        }
    }

    /// A power cut may tear the note and the place that is written; the other one is to be there.
    #[test]
    fn what_was_synced_last_survives_the_next_write_after_a_restart() {
        for synced in 1..4 {
            let dir = tempfile::tempdir().unwrap();
            let fs: Arc<dyn Fs> = Arc::new(RealFs);
            let (keys, _) = LogKeys::create(&ChamberKey::from_key(&key())).unwrap();
            let at = |offset| Saved {
                name: "x".to_owned(),
                next: Position { epoch: 1, offset },
                unsettled: vec![],
            };
            let mut file = CursorFile::create(&fs, &keys, dir.path(), &at(0)).unwrap();
            for offset in 1..=synced {
                file.write(&at(offset), true).unwrap();
            }
            file.write(&at(100), false).unwrap();
            drop(file);
            let (mut file, saved) = CursorFile::open(&fs, &keys, dir.path(), "x").unwrap().unwrap();
            assert_eq!(saved, at(100));
            file.write(&at(101), false).unwrap();
            file.write(&at(102), true).unwrap();
            for torn in [NOTE, file.current] {
                file.file.write_at((torn * PLACE) as u64, &[0; BLOCK]).unwrap();
            }
            drop(file);
            let (_, saved) = CursorFile::open(&fs, &keys, dir.path(), "x").unwrap().unwrap();
            assert_eq!(saved, at(synced));
        }
    }

    #[test]
    fn the_largest_cursor_has_its_place() {
        let saved = Saved {
            name: "x".repeat(NAME_MAX),
            next: Position { epoch: u64::MAX, offset: u64::MAX },
            unsettled: vec![(u64::MAX, u32::MAX); OUTSTANDING_LIMIT],
        };
        assert!(encode(&key(), 1, &saved).unwrap().len() <= PLACE);
    }
}
