//! What readers, the writer and retention know in common: which segments there are.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    LogError, LogOptions, Position,
    keys::{LogKeys, RECORD_LEN},
    position::Epochs,
    segment_file::{Scanned, SegmentFile},
};
use crate::{
    ChamberKey, Damage, DamagedPart, StoreError,
    disk::{Fs, Lock},
};

/// Longest name of a segment: `{base}.seg`.
const SUFFIX: &str = ".seg";

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) keys: LogKeys,
    pub(super) options: LogOptions,
    view: Mutex<View>,
    /// Held while segments are removed, one after the other.
    retaining: Mutex<()>,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct View {
    /// Offset of the first record, and bytes of the file.
    segments: BTreeMap<u64, u64>,
    /// One above the offset of the last durable record.
    end: u64,
    epochs: Epochs,
}

/// The segment that is written to, as opening left it.
pub(super) struct Tail {
    pub(super) segment: SegmentFile,
    pub(super) len: u64,
}

impl Shared {
    /// Opens the log in `dir`, or makes it. `None` instead of a tail if there is no segment yet.
    pub(super) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        key: &ChamberKey,
        options: LogOptions,
    ) -> Result<(Self, Option<Tail>), StoreError> {
        let place = dir.display().to_string();
        let failed = |error: std::io::Error| StoreError::io(format!("the log in {place}"), &error);
        fs.create_dirs(&[dir.to_owned()]).map_err(failed)?;
        let lock = Lock::take(&fs, dir)?;
        let mut bases = Vec::new();
        for path in fs.list(dir).map_err(failed)? {
            if path.extension().is_some_and(|extension| extension == "new") {
                fs.remove(&path).map_err(failed)?;
            }
            bases.extend(base_of(&path));
        }
        bases.sort_unstable();
        let keys = Self::keys(&fs, dir, key, bases.is_empty())?;
        let mut shared = Self {
            fs,
            dir: dir.to_owned(),
            keys,
            options,
            view: Mutex::default(),
            retaining: Mutex::new(()),
            _lock: lock,
        };
        let tail = shared.open_segments(bases)?;
        Ok((shared, tail))
    }

    /// The keys of the log, which is made if there is no record of it.
    fn keys(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        key: &ChamberKey,
        is_new: bool,
    ) -> Result<LogKeys, StoreError> {
        let place = dir.display().to_string();
        let item = || format!("the record of the log in {place}");
        let failed = |error: std::io::Error| StoreError::io(item(), &error);
        let path = dir.join("log");
        if fs.exists(&path).map_err(failed)? {
            let file = fs.open(&path, false).map_err(failed)?;
            let len = file.len().map_err(failed)?.min(RECORD_LEN as u64 + 1);
            let mut record = vec![0; usize::try_from(len).unwrap_or_default()];
            file.read_at(0, &mut record).map_err(failed)?;
            return LogKeys::open(key, &record, &place);
        }
        if !is_new {
            return Err(StoreError::damaged(item(), Damage::Missing(DamagedPart::Whole)));
        }
        for parent in stc_durable::folders(dir) {
            match fs.sync_dir(parent) {
                // Somebody else's, such as `/home`: it was there long before.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
                synced => synced.map_err(failed)?,
            }
        }
        let (keys, record) = LogKeys::create(key)?;
        let new = dir.join("log.new");
        let file = fs.create_new(&new).map_err(failed)?;
        file.write_at(0, &record).and_then(|()| file.sync()).map_err(failed)?;
        fs.rename(&new, &path).map_err(failed)?;
        fs.sync_dir(dir).map_err(failed)?;
        Ok(keys)
    }

    /// Reads the last segment, and nothing but the lengths of the others.
    fn open_segments(&mut self, mut bases: Vec<u64>) -> Result<Option<Tail>, StoreError> {
        let mut tail = None;
        while let Some(base) = bases.last().copied() {
            let path = self.path(base);
            match SegmentFile::open(&self.fs, &path, &self.keys, base, true)? {
                Some(segment) => {
                    let found = segment.scan(|_, _| {})?;
                    segment.mend(&found)?;
                    // Its name was perhaps not durable when the process died.
                    self.sync_dir()?;
                    tail = Some((segment, found));
                    break;
                }
                None => {
                    bases.pop();
                    self.fs.remove(&path).map_err(|error| self.io(&error))?;
                    self.sync_dir()?;
                }
            }
        }
        let mut view = View::default();
        for base in bases {
            let len = self.fs.open(&self.path(base), false).and_then(|file| file.len());
            view.segments.insert(base, len.map_err(|error| self.io(&error))?);
        }
        let tail = tail.map(|(segment, Scanned { len, end, epochs })| {
            (view.end, view.epochs) = (end, epochs);
            Tail { segment, len }
        });
        self.view = Mutex::new(view);
        Ok(tail)
    }

    pub(super) fn io(&self, error: &std::io::Error) -> StoreError {
        StoreError::io(format!("the log in {}", self.dir.display()), error)
    }

    pub(super) fn sync_dir(&self) -> Result<(), StoreError> {
        self.fs.sync_dir(&self.dir).map_err(|error| self.io(&error))
    }

    pub(super) fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}{SUFFIX}"))
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One above the offset of the last durable record.
    pub(super) fn end(&self) -> u64 {
        self.view().end
    }

    /// The position behind the last durable record.
    pub(super) fn end_position(&self) -> Position {
        let view = self.view();
        view.epochs.at(view.end)
    }

    /// The position of the oldest record that is kept.
    pub(super) fn start_position(&self) -> Position {
        let view = self.view();
        let oldest = view.segments.keys().next().copied().unwrap_or(view.end);
        view.epochs.at(oldest)
    }

    pub(super) fn position(&self, offset: u64) -> Position {
        self.view().epochs.at(offset)
    }

    pub(super) fn epochs(&self) -> Epochs {
        self.view().epochs.clone()
    }

    /// Whether what came before `asked` is what this log holds, and still does.
    pub(super) fn check(&self, asked: Position) -> Result<(), LogError> {
        let view = self.view();
        view.epochs.check(asked, view.end)?;
        view.check_kept(asked.offset)
    }

    /// As [`check`](Self::check), for what retention may have removed.
    pub(super) fn check_history(&self, asked: Position) -> Result<(), LogError> {
        let view = self.view();
        view.epochs.check(asked, view.end)
    }

    /// Base and path of the segment with the record at `offset`, or `None` at the end of the log.
    pub(super) fn segment_of(&self, offset: u64) -> Result<Option<u64>, LogError> {
        let view = self.view();
        view.check_kept(offset)?;
        if offset >= view.end {
            return Ok(None);
        }
        Ok(view.segments.range(..=offset).next_back().map(|(base, _)| *base))
    }

    /// The offset at which the segment after `base` begins, or the end of the log.
    pub(super) fn segment_end(&self, base: u64) -> u64 {
        let view = self.view();
        let next = view.segments.range(base.saturating_add(1)..).next();
        next.map_or(view.end, |(base, _)| *base)
    }

    /// Segments, and bytes in them.
    pub(super) fn usage(&self) -> (u64, u64) {
        let view = self.view();
        (view.segments.len() as u64, view.segments.values().sum())
    }

    pub(super) fn note_segment(&self, base: u64, len: u64) {
        self.view().segments.insert(base, len);
    }

    /// Records up to `end` are durable; `first` of them, if any, were written in `epoch`.
    pub(super) fn note_durable(&self, base: u64, len: u64, epoch: u64, first: u64, end: u64) {
        let mut view = self.view();
        view.segments.insert(base, len);
        if end > first {
            view.epochs.note(epoch, first);
        }
        view.end = end;
    }

    /// Removes what retention says, oldest first. Returns how many segments went.
    pub(super) fn retain(&self, now: u64) -> Result<u64, StoreError> {
        self.remove_while(|| self.oldest_to_remove(now))
    }

    /// Removes the segments that hold nothing from `before` on; the last one stays. Returns how
    /// many went.
    pub(super) fn trim(&self, before: u64) -> Result<u64, StoreError> {
        self.remove_while(|| {
            let view = self.view();
            let mut bases = view.segments.keys().copied();
            let (oldest, next) = (bases.next(), bases.next());
            Ok(oldest.filter(|_| next.is_some_and(|next| next <= before)))
        })
    }

    /// Removes segments, each removal durable before the next one, so that a crash leaves no gap.
    fn remove_while(
        &self,
        next: impl Fn() -> Result<Option<u64>, StoreError>,
    ) -> Result<u64, StoreError> {
        let _one_at_a_time = self.retaining.lock().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        while let Some(base) = next()? {
            let len = self.view().segments.remove(&base).unwrap_or_default();
            if let Err(error) = self.fs.remove(&self.path(base))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                // Still there, and tried again the next time.
                self.view().segments.insert(base, len);
                return Err(self.io(&error));
            }
            self.sync_dir()?;
            removed += 1;
        }
        Ok(removed)
    }

    fn oldest_to_remove(&self, now: u64) -> Result<Option<u64>, StoreError> {
        let (oldest, next, bytes) = {
            let view = self.view();
            let mut bases = view.segments.keys().copied();
            let (Some(oldest), Some(next)) = (bases.next(), bases.next()) else { return Ok(None) };
            (oldest, next, view.segments.values().sum::<u64>())
        };
        if self.options.keep_bytes.is_some_and(|keep| bytes > keep) {
            return Ok(Some(oldest));
        }
        let Some(age) = self.options.keep_age else { return Ok(None) };
        // Its last record is older than the next segment.
        let next = SegmentFile::open(&self.fs, &self.path(next), &self.keys, next, false)?;
        let created = next.map_or(now, |segment| segment.header.created);
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Ok((created.saturating_add(age) < now).then_some(oldest))
    }
}

impl View {
    fn check_kept(&self, offset: u64) -> Result<(), LogError> {
        let oldest = self.segments.keys().next().copied().unwrap_or(self.end);
        if offset < oldest {
            return Err(LogError::Trimmed { asked: offset, oldest });
        }
        Ok(())
    }
}

fn base_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}
