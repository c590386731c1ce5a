//! A file system in memory that can fail at any operation, and forget at a crash what was never
//! synced.
//!
//! It is stricter than most real ones: a crash keeps any subset of the writes to a file that were
//! not synced, each perhaps only in part, and any subset of the changes of names in a directory
//! that was not synced, new directories with all that is in them included.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::fs::{Fs, RawFile};

const SECTOR: usize = 512;

/// What happens at operation number `at`, counted from 0. Only operations that change something
/// count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing fails.
    Never,
    /// The machine stops: this operation and all after it fail.
    Stop { at: u64 },
    /// This one fails.
    Once { at: u64, kind: io::ErrorKind },
    /// This one and all after it fail; reading goes on.
    From { at: u64, kind: io::ErrorKind },
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    MakeDirs,
    Create,
    Rename,
    Remove,
    SyncDir,
    Lock,
    Write,
    SetLen,
    Sync,
}

/// The operation that failed first.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) deed: Deed,
    pub(crate) path: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct Sim {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    unsynced: Vec<NameOp>,
    dirs: BTreeSet<PathBuf>,
    unsynced_dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    done: u64,
    fault: Fault,
    failed: Option<Failed>,
    stopped: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Clone, Debug)]
enum NameOp {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl NameOp {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Create(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let at = usize::try_from(*offset).unwrap();
                if data.len() < at + bytes.len() {
                    data.resize(at + bytes.len(), 0);
                }
                data[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Len(len) => data.resize(usize::try_from(*len).unwrap(), 0),
        }
    }
}

impl Sim {
    pub(crate) fn new(fault: Fault) -> Self {
        let state = State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            unsynced: Vec::new(),
            dirs: BTreeSet::new(),
            unsynced_dirs: BTreeSet::new(),
            locks: BTreeSet::new(),
            done: 0,
            fault,
            failed: None,
            stopped: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations that changed something, or tried to.
    pub(crate) fn done(&self) -> u64 {
        self.state().done
    }

    /// The operation at which the fault happened, if it has.
    pub(crate) fn failed(&self) -> Option<Failed> {
        self.state().failed.clone()
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// Somebody removed all directories below `path` in which nothing is, and `path` if that was all.
    pub(crate) fn prune(&self, path: &Path) {
        let mut state = self.state();
        let State { names, dirs, unsynced_dirs, .. } = &mut *state;
        let used = |dir: &PathBuf| names.keys().any(|name| name.starts_with(dir));
        dirs.retain(|dir| !dir.starts_with(path) || used(dir));
        unsynced_dirs.retain(|dir| dirs.contains(dir));
    }

    /// What the disk holds after the machine lost power; `rng` picks what survived of the rest.
    pub(crate) fn after_power_loss(&self, rng: &mut fastrand::Rng) -> Self {
        let mut state = self.state();
        state.stopped = true;
        let mut names = state.durable.clone();
        for op in &state.unsynced {
            if rng.bool() {
                op.apply(&mut names);
            }
        }
        let inodes = state.inodes.iter().map(|inode| inode.after_power_loss(rng)).collect();
        let mut dirs = state.dirs.clone();
        for lost in state.unsynced_dirs.iter().filter(|_| rng.bool()) {
            dirs.retain(|dir| !dir.starts_with(lost));
            names.retain(|path, _| !path.starts_with(lost));
        }
        Self::restarted(inodes, names, dirs)
    }

    /// What the disk holds after the process was killed: all that was written.
    pub(crate) fn after_kill(&self) -> Self {
        let mut state = self.state();
        state.stopped = true;
        Self::restarted(state.inodes.clone(), state.names.clone(), state.dirs.clone())
    }

    fn restarted(
        mut inodes: Vec<Inode>,
        names: BTreeMap<PathBuf, usize>,
        dirs: BTreeSet<PathBuf>,
    ) -> Self {
        for inode in &mut inodes {
            inode.durable = inode.now.clone();
            inode.unsynced.clear();
        }
        let sim = Self::new(Fault::Never);
        {
            let mut state = sim.state();
            state.inodes = inodes;
            state.durable.clone_from(&names);
            state.names = names;
            state.dirs = dirs;
        }
        sim
    }
}

impl Inode {
    fn after_power_loss(&self, rng: &mut fastrand::Rng) -> Self {
        let mut data = self.durable.clone();
        for change in &self.unsynced {
            if rng.bool() {
                continue;
            }
            match change {
                Change::Write(offset, bytes) if rng.u8(..4) == 0 => {
                    let keep = rng.usize(..=bytes.len() / SECTOR) * SECTOR;
                    Change::Write(*offset, bytes[..keep].to_vec()).apply(&mut data);
                }
                change => change.apply(&mut data),
            }
        }
        Self { now: data.clone(), durable: data, unsynced: Vec::new() }
    }
}

impl State {
    /// Counts an operation that changes something, and fails it if it is its turn.
    fn count(&mut self, deed: Deed, path: &Path) -> io::Result<()> {
        let number = self.done;
        self.done += 1;
        let kind = match self.fault {
            Fault::Stop { at } if number >= at => {
                self.stopped = true;
                io::ErrorKind::Other
            }
            Fault::Once { at, kind } if number == at => kind,
            Fault::From { at, kind } if number >= at => kind,
            _ => return self.running(),
        };
        self.failed.get_or_insert_with(|| Failed { deed, path: path.to_owned() });
        Err(kind.into())
    }

    fn running(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the machine stopped")) } else { Ok(()) }
    }

    fn name(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.unsynced.push(op);
    }
}

impl Fs for Sim {
    fn create_dirs(&self, paths: &[PathBuf]) -> io::Result<()> {
        let mut state = self.state();
        let counted = state.count(Deed::MakeDirs, paths.first().unwrap());
        // A failure comes in the middle.
        let made = if counted.is_ok() { paths } else { &paths[..paths.len() / 2] };
        for dir in made.iter().flat_map(|path| path.ancestors()) {
            if state.dirs.insert(dir.to_owned()) && dir.parent().is_some() {
                state.unsynced_dirs.insert(dir.to_owned());
            }
        }
        counted
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn RawFile>> {
        let mut state = self.state();
        state.count(Deed::Create, path)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.name(NameOp::Create(path.to_owned(), inode));
        Ok(Arc::new(SimFile { sim: self.clone(), inode }))
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn RawFile>> {
        let state = self.state();
        state.running()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { sim: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.count(Deed::Rename, from)?;
        let parent = to.parent().unwrap();
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if !state.dirs.contains(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(NameOp::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.count(Deed::Remove, path)?;
        state.name(NameOp::Remove(path.to_owned()));
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.running()?;
        Ok(state.names.contains_key(path))
    }

    fn is_link(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.count(Deed::SyncDir, path)?;
        let (synced, rest) =
            std::mem::take(&mut state.unsynced).into_iter().partition(|op| op.touches(path));
        let synced: Vec<NameOp> = synced;
        state.unsynced_dirs.retain(|dir| dir.parent() != Some(path));
        synced.iter().for_each(|op| op.apply(&mut state.durable));
        state.unsynced = rest;
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.running()?;
        let below = |other: &&PathBuf| other.starts_with(path);
        let files = state.names.range(path.to_owned()..).map(|(name, _)| name).take_while(below);
        let dirs = state.dirs.range(path.to_owned()..).take_while(below);
        Ok(files.chain(dirs).filter(|other| other.parent() == Some(path)).cloned().collect())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.state();
        state.count(Deed::Lock, path)?;
        let taken = state.locks.insert(path.to_owned());
        drop(state);
        Ok(taken.then(|| Box::new(SimLock { sim: self.clone(), path: path.to_owned() }) as _))
    }

    fn try_share(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let state = self.state();
        state.running()?;
        Ok((!state.locks.contains(path)).then(|| Box::new(SimShare) as _))
    }

    /// Its disks are not full but fail, so that this would change nothing.
    fn set_aside(&self, _path: &Path, _len: usize) -> io::Result<()> {
        Ok(())
    }
}

/// A share that keeps nobody out.
struct SimShare;

struct SimLock {
    sim: Sim,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.sim.state().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    sim: Sim,
    inode: usize,
}

impl SimFile {
    fn count(&self, state: &mut State, deed: Deed) -> io::Result<()> {
        let named = state.names.iter().find(|(_, inode)| **inode == self.inode);
        let path = named.map_or_else(PathBuf::new, |(path, _)| path.clone());
        state.count(deed, &path)
    }

    fn change(&self, deed: Deed, change: Change) -> io::Result<()> {
        let mut state = self.sim.state();
        self.count(&mut state, deed)?;
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.now);
        inode.unsynced.push(change);
        Ok(())
    }
}

impl RawFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.sim.state();
        state.running()?;
        Ok(state.inodes[self.inode].now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Deed::SetLen, Change::Len(len))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.sim.state();
        state.running()?;
        let at = usize::try_from(offset).unwrap();
        let data = state.inodes[self.inode].now.get(at..at + out.len());
        out.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Deed::Write, Change::Write(offset, data.to_vec()))
    }

    fn begin_sync(&self, _offset: u64, _len: u64) {}

    fn sync(&self) -> io::Result<()> {
        let mut state = self.sim.state();
        self.count(&mut state, Deed::Sync)?;
        let inode = &mut state.inodes[self.inode];
        inode.durable.clone_from(&inode.now);
        inode.unsynced.clear();
        Ok(())
    }
}
