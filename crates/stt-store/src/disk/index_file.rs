//! The file under the index, as redb sees it.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::StorageBackend;

use super::fs::RawFile;

/// What has gone wrong with an index file.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Whether the disk ever failed to make writes durable: after that, what the page cache shows
    /// may not be what the disk holds, so nothing may build on it.
    sync: AtomicBool,
    /// The first failure of a change. The database says nothing of those at its closing.
    first: OnceLock<io::ErrorKind>,
}

impl Failures {
    pub(super) fn sync_failed(&self) -> bool {
        self.sync.load(Ordering::SeqCst)
    }

    pub(super) fn first(&self) -> Option<io::Error> {
        self.first.get().map(|kind| (*kind).into())
    }

    fn note(&self, error: &io::Error) {
        self.first.get_or_init(|| error.kind());
    }
}

/// Passes everything on, and remembers failures.
#[derive(Debug)]
pub(super) struct IndexFile {
    pub(super) file: Arc<dyn RawFile>,
    pub(super) failures: Arc<Failures>,
}

impl StorageBackend for IndexFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).inspect_err(|error| self.failures.note(error))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync().inspect_err(|error| {
            self.failures.sync.store(true, Ordering::SeqCst);
            self.failures.note(error);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data).inspect_err(|error| self.failures.note(error))
    }
}

/// Bytes of a page of the overlay.
const PAGE: u64 = 4096;

/// A view of the index file that keeps every write in memory, so that the index can be read while
/// the disk takes no writes: opening it after a failure writes a few pages.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Arc<dyn RawFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes of the file below that still count.
    below: u64,
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(file: Arc<dyn RawFile>) -> io::Result<Self> {
        let len = file.len()?;
        let state = Mutex::new(State { below: len, len, pages: BTreeMap::new() });
        Ok(Self { file, state })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page at `start`, from memory or from the file.
    fn page(&self, state: &State, start: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = state.pages.get(&start) {
            return Ok(page.clone());
        }
        let mut page = vec![0; usize::try_from(PAGE).unwrap_or_default()];
        let have = state.below.saturating_sub(start).min(PAGE);
        let have = usize::try_from(have).unwrap_or_default();
        if have > 0 {
            self.file.read_at(start, page.get_mut(..have).unwrap_or_default())?;
        }
        Ok(page)
    }
}

/// The pieces of `len` bytes at `offset`: start of the page, offset in it, place in the buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset + done as u64;
        let inside = usize::try_from(at % PAGE).ok()?;
        let take = (usize::try_from(PAGE).ok()? - inside).min(len - done);
        let piece = (at - at % PAGE, inside, done..done + take);
        done += take;
        Some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.saturating_add(out.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (start, inside, place) in pieces(offset, out.len()) {
            let page = self.page(&state, start)?;
            let from = page.get(inside..inside + place.len()).unwrap_or_default();
            out.get_mut(place).unwrap_or_default().copy_from_slice(from);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.below = state.below.min(len);
        state.pages.retain(|start, _| *start < len);
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if offset.saturating_add(data.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (start, inside, place) in pieces(offset, data.len()) {
            let mut page = self.page(&state, start)?;
            let to = page.get_mut(inside..inside + place.len()).unwrap_or_default();
            to.copy_from_slice(data.get(place).unwrap_or_default());
            state.pages.insert(start, page);
        }
        Ok(())
    }
}
