//! The fetching side of a folder: its manifest first, then its files, several at once.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use blake3::Hash;
use stt::transfer::Phase;
use tokio::task::JoinSet;

use super::{
    fetch::{FetchOptions, FetchProgress, Fetched, ProviderReport, Wanted, blocking, fetch_one},
    manifest::{MAX_MANIFEST, Manifest, ManifestError},
    partial::{Place, hash_of, lock},
    sessions::Sessions,
};
use crate::{ContentError, ContentTicket, Provider};

/// Files that are fetched at once.
const FILES: usize = 8;
/// Times that another fetch may finish the folder just before it is locked.
const ATTEMPTS: usize = 8;

/// Fetches the folder of `ticket` into `dir` as `name`.
pub(super) async fn fetch_folder(
    sessions: &Arc<Sessions>,
    ticket: &ContentTicket,
    dir: &Path,
    name: String,
    options: &FetchOptions,
) -> Result<Fetched, ContentError> {
    let started = Instant::now();
    if ticket.size() > MAX_MANIFEST {
        return Err(ManifestError::TooMany.into());
    }
    let (at, called, root) = (dir.to_owned(), name.clone(), Hash::from(ticket.root()));
    let work = blocking(move || Work::open(&at, &called, root)).await?;
    let providers: Arc<[Provider]> = ticket.providers().into();
    let mut quiet = options.clone();
    quiet.progress = None;
    let wanted = Wanted {
        root,
        size: ticket.size(),
        place: Place { dir: work.dir.clone(), name: "manifest".into() },
    };
    let manifest = file(sessions, wanted, &providers, &quiet).await?.path;
    let (manifest, places) = blocking(move || {
        let bytes =
            fs::read(&manifest).map_err(|error| ContentError::file("read", &manifest, error))?;
        let manifest = Manifest::decode(&bytes)?;
        let places = manifest.places()?;
        Ok((manifest, places))
    })
    .await?;
    let total = manifest.bytes().unwrap_or(u64::MAX);
    let tally = Arc::new(Tally {
        options: options.clone(),
        name: name.clone(),
        total,
        started,
        state: Mutex::default(),
    });
    fetch_files(sessions, &work, &manifest, places, &providers, &tally).await?;
    let path = blocking(move || work.finish()).await?;
    let state = tally.state();
    let providers = paced(&state.providers, started);
    let fetched = Fetched {
        path,
        name,
        size: total,
        files: u64::try_from(manifest.entries().len()).unwrap_or(u64::MAX),
        resumed: state.resumed,
        duplicates: state.duplicates,
        providers,
        elapsed: started.elapsed(),
    };
    drop(state);
    tally.tell(Phase::Done);
    Ok(fetched)
}

async fn fetch_files(
    sessions: &Arc<Sessions>,
    work: &Work,
    manifest: &Manifest,
    places: Vec<PathBuf>,
    providers: &Arc<[Provider]>,
    tally: &Arc<Tally>,
) -> Result<(), ContentError> {
    // Files that are alike are fetched once.
    let mut alike: HashMap<Hash, usize> = HashMap::new();
    let mut jobs: Vec<(Hash, u64, Vec<PathBuf>)> = Vec::new();
    for (entry, place) in manifest.entries().iter().zip(places) {
        let path = work.content.join(place);
        match alike.get(&entry.root).and_then(|at| jobs.get_mut(*at)) {
            Some((_, _, paths)) => paths.push(path),
            None => {
                alike.insert(entry.root, jobs.len());
                jobs.push((entry.root, entry.size, vec![path]));
            }
        }
    }
    let (mut waiting, mut files) = (jobs.into_iter().enumerate(), JoinSet::new());
    loop {
        while files.len() < FILES
            && let Some((index, (root, size, paths))) = waiting.next()
        {
            let (sessions, providers) = (Arc::clone(sessions), Arc::clone(providers));
            let mut options = tally.options.clone();
            let telling = Arc::clone(tally);
            options.progress = Some(Arc::new(move |progress| telling.step(index, progress)));
            files.spawn(async move {
                (index, all_alike(&sessions, root, size, paths, &providers, &options).await)
            });
        }
        match files.join_next().await {
            None => return Ok(()),
            Some(Ok((index, fetched))) => tally.end(index, &fetched?),
            Some(Err(_)) => return Err(ContentError::Ended),
        }
    }
}

/// Fetches one file and copies it to where else it is in the folder.
async fn all_alike(
    sessions: &Arc<Sessions>,
    root: Hash,
    size: u64,
    paths: Vec<PathBuf>,
    providers: &[Provider],
    options: &FetchOptions,
) -> Result<Fetched, ContentError> {
    let mut paths = paths.into_iter();
    let place = paths.next().and_then(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(Place { dir: path.parent()?.to_owned(), name })
    });
    let wanted = Wanted { root, size, place: place.ok_or(ContentError::Name)? };
    let mut fetched = file(sessions, wanted, providers, options).await?;
    for path in paths {
        let from = fetched.path.clone();
        blocking(move || if is_there(&path, root, size)? { Ok(()) } else { copy(&from, &path) })
            .await?;
        fetched.size = fetched.size.saturating_add(size);
    }
    Ok(fetched)
}

/// Fetches a file, unless an earlier attempt had all of it.
async fn file(
    sessions: &Arc<Sessions>,
    wanted: Wanted,
    providers: &[Provider],
    options: &FetchOptions,
) -> Result<Fetched, ContentError> {
    let started = Instant::now();
    let (root, size) = (wanted.root, wanted.size);
    let path = wanted.place.dir.join(&wanted.place.name);
    let looked_at = path.clone();
    if !blocking(move || is_there(&looked_at, root, size)).await? {
        return fetch_one(sessions, wanted, providers, options).await;
    }
    Ok(Fetched {
        path,
        name: wanted.place.name,
        size,
        files: 1,
        resumed: size,
        duplicates: 0,
        providers: Vec::new(),
        elapsed: started.elapsed(),
    })
}

/// Whether an earlier attempt had all of a file. Makes its directory, and room for it if what is
/// there is something else: nobody but this fetch has anything to do here.
fn is_there(path: &Path, root: Hash, size: u64) -> Result<bool, ContentError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|error| ContentError::file("make", dir, error))?;
    }
    let failed = |error| ContentError::file("read", path, error);
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let is_good = about.is_file()
        && about.len() == size
        && File::open(path).and_then(|file| hash_of(&file)).map_err(failed)? == root;
    if !is_good {
        fs::remove_file(path).map_err(failed)?;
    }
    Ok(is_good)
}

/// Copies a file; it has its name when all of it is on the disk.
fn copy(from: &Path, to: &Path) -> Result<(), ContentError> {
    let failed = |error| ContentError::file("write", to, error);
    let mut source = File::open(from).map_err(failed)?;
    let dir = to.parent().unwrap_or(Path::new("."));
    let mut copy = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    io::copy(&mut source, copy.as_file_mut()).map_err(failed)?;
    copy.as_file().sync_all().map_err(failed)?;
    copy.persist(to).map_err(|refused| failed(refused.error))?;
    Ok(())
}

/// Where a folder grows until it has its name.
#[derive(Debug)]
struct Work {
    dir: PathBuf,
    /// What gets the name in the end.
    content: PathBuf,
    target: PathBuf,
    /// Against other fetches of the same folder.
    _lock: File,
}

impl Work {
    fn open(dir: &Path, name: &str, root: Hash) -> Result<Self, ContentError> {
        let target = dir.join(name);
        let hex = root.to_hex();
        let dir = dir.join(format!(".stt-{}.folder", hex.get(..32).unwrap_or_default()));
        let content = dir.join("content");
        let failed = |error| ContentError::file("make", &dir, error);
        for _ in 0..ATTEMPTS {
            make_private(&dir).map_err(failed)?;
            // Removed with the directory by one that has just finished.
            let lock = match lock(&dir.join("lock"), name) {
                Err(ContentError::File { cause, .. })
                    if cause.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                lock => lock?,
            };
            let Some(lock) = lock else { continue };
            if fs::symlink_metadata(&target).is_ok() {
                let _ = fs::remove_file(dir.join("lock"));
                // Fails when there is something to go on with.
                let _ = fs::remove_dir(&dir);
                return Err(ContentError::Exists { path: target });
            }
            make_private(&content).map_err(failed)?;
            return Ok(Self { dir, content, target, _lock: lock });
        }
        Err(ContentError::Busy { name: name.to_owned() })
    }

    /// Gives the complete folder its name.
    fn finish(self) -> Result<PathBuf, ContentError> {
        let named = |error| ContentError::file("name", &self.target, error);
        sync_dirs(&self.content).map_err(named)?;
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(ContentError::Exists { path: self.target.clone() });
        }
        fs::rename(&self.content, &self.target).map_err(named)?;
        for name in ["manifest", "lock"] {
            let _ = fs::remove_file(self.dir.join(name));
        }
        let _ = fs::remove_dir(&self.dir);
        if let Some(dir) = self.target.parent().and_then(|dir| File::open(dir).ok()) {
            let _ = dir.sync_all();
        }
        Ok(self.target)
    }
}

/// Makes a directory for its owner only, or finds it: a link to one is refused.
fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(dir)?.is_dir() {
                Ok(())
            } else {
                Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"))
            }
        }
        made => made,
    }
}

/// So that all names survive a power cut, where directories can be synced.
fn sync_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_dirs(&entry.path())?;
        }
    }
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
    Ok(())
}

/// What all files of a folder come to.
struct Tally {
    options: FetchOptions,
    name: String,
    total: u64,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes of files that are complete.
    done: u64,
    resumed: u64,
    duplicates: u64,
    providers: Vec<ProviderReport>,
    /// Files that are being fetched.
    active: HashMap<usize, (u64, Vec<ProviderReport>)>,
}

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, index: usize, progress: FetchProgress) {
        // The end of a file is told with what came of it.
        if progress.phase == Phase::Moving {
            self.state().active.insert(index, (progress.done, progress.providers));
            self.tell(Phase::Moving);
        }
    }

    fn end(&self, index: usize, fetched: &Fetched) {
        let mut state = self.state();
        state.active.remove(&index);
        state.done = state.done.saturating_add(fetched.size);
        state.resumed = state.resumed.saturating_add(fetched.resumed);
        state.duplicates = state.duplicates.saturating_add(fetched.duplicates);
        merge(&mut state.providers, &fetched.providers);
        drop(state);
        self.tell(Phase::Moving);
    }

    fn tell(&self, phase: Phase) {
        let Some(progress) = &self.options.progress else { return };
        let state = self.state();
        let (mut done, mut providers) = (state.done, state.providers.clone());
        for (bytes, reports) in state.active.values() {
            done = done.saturating_add(*bytes);
            merge(&mut providers, reports);
        }
        drop(state);
        progress(FetchProgress {
            phase,
            name: self.name.clone(),
            done,
            total: self.total,
            providers: paced(&providers, self.started),
        });
    }
}

fn merge(into: &mut Vec<ProviderReport>, reports: &[ProviderReport]) {
    for report in reports {
        match into.iter_mut().find(|known| known.node_id == report.node_id) {
            None => into.push(report.clone()),
            Some(known) => {
                known.bytes = known.bytes.saturating_add(report.bytes);
                known.lied |= report.lied;
                if report.dropped.is_some() {
                    known.dropped.clone_from(&report.dropped);
                }
            }
        }
    }
}

/// The same reports with their speed since `started`.
fn paced(reports: &[ProviderReport], started: Instant) -> Vec<ProviderReport> {
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    let mut reports = reports.to_vec();
    for report in &mut reports {
        // Exact enough for people.
        report.bytes_per_second = report.bytes as f64 / seconds;
    }
    reports
}
