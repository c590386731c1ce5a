//! Outputs that appear complete or not at all, and outputs that only pass bytes on.

use std::{
    fs::{self, File, FileType, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use stc_durable::folder;
use tempfile::NamedTempFile;

/// Names under which this process has unfinished outputs.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Where a result goes.
///
/// A file gets its name in [`Self::finish`] and not before. Until then only its owner can read it,
/// and where the system allows it has no name at all, so that nothing stays behind when the process
/// is killed. The result can be read by its owner alone, or by whom the replaced file allowed.
///
/// A character device or a named pipe is opened and written into. Links are followed. Anything else
/// (directories, block devices, sockets, links that lead nowhere) is refused.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    overwrite: bool,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A device or a pipe.
    Direct(File),
    /// A file without a name.
    #[cfg(target_os = "linux")]
    Nameless(File),
    /// A file with a name that tells whose it is.
    Named(Noted, NamedTempFile),
}

/// What is at the target.
enum Found {
    Nothing,
    File(PathBuf, Metadata),
    Direct,
}

impl OutputFile {
    /// Whether [`Self::create`] would write to `target`. Opens nothing, and costs nothing.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] for a file unless `overwrite`; another for what is neither file
    /// nor device nor pipe.
    pub fn check(target: &Path, overwrite: bool) -> io::Result<()> {
        look(target, overwrite).map(drop)
    }

    /// Opens the output `target`. A named pipe waits for its reader.
    ///
    /// # Errors
    /// As [`Self::check`], and when the system refuses.
    pub fn create(target: &Path, overwrite: bool) -> io::Result<Self> {
        let (target, place) = match look(target, overwrite)? {
            Found::Direct => {
                let file = File::options().write(true).open(target)?;
                (target.to_owned(), Place::Direct(file))
            }
            Found::Nothing => (target.to_owned(), Place::beside(target)?),
            Found::File(target, _) => {
                let place = Place::beside(&target)?;
                (target, place)
            }
        };
        Ok(Self { target, overwrite, place })
    }

    /// Where to write.
    #[must_use]
    pub fn file(&self) -> &File {
        match &self.place {
            Place::Direct(file) => file,
            #[cfg(target_os = "linux")]
            Place::Nameless(file) => file,
            Place::Named(_, file) => file.as_file(),
        }
    }

    /// Gives the file its name. `durable`: first waits until it is on the disk, so that a power
    /// failure leaves all of it or nothing.
    ///
    /// # Errors
    /// What the system says; the name is then as it was.
    pub fn finish(self, durable: bool) -> io::Result<()> {
        if matches!(self.place, Place::Direct(_)) {
            return Ok(());
        }
        if durable {
            self.file().sync_all()?;
        }
        let Self { target, overwrite, place } = self;
        // Somebody may have put something there meanwhile.
        match look(&target, overwrite)? {
            Found::Nothing => match place.name(&target) {
                Err(error) if overwrite && error.error.kind() == ErrorKind::AlreadyExists => {
                    match look(&target, overwrite)? {
                        Found::File(path, replaced) => error.place.replace(&path, &replaced)?,
                        _ => return Err(error.error),
                    }
                }
                named => named.map_err(|error| error.error)?,
            },
            Found::File(path, replaced) => place.replace(&path, &replaced)?,
            Found::Direct => return Err(ErrorKind::AlreadyExists.into()),
        }
        if durable {
            stc_durable::sync_folder(folder(&target))?;
        }
        Ok(())
    }

    /// Removes the unfinished outputs of this process that have names. For a program that a signal
    /// ends; what is being written fails afterwards.
    pub fn remove_unfinished() {
        for path in noted().drain(..) {
            // It may have got its name this very moment.
            let _ = fs::remove_file(path);
        }
    }
}

/// A place that could not be given its name.
struct Unnamed {
    error: io::Error,
    place: Place,
}

impl Place {
    /// Beside the target: names are given within one file system only.
    fn beside(target: &Path) -> io::Result<Self> {
        let folder = folder(target);
        #[cfg(target_os = "linux")]
        if let Some(file) = nameless(folder) {
            return Ok(Self::Nameless(file));
        }
        Self::named(folder)
    }

    /// For file systems where every file has a name.
    fn named(folder: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new().prefix(".stc-").suffix(".part").tempfile_in(folder)?;
        Ok(Self::Named(Noted::new(file.path()), file))
    }

    /// Takes a name that is free.
    fn name(self, target: &Path) -> Result<(), Unnamed> {
        match self {
            Self::Direct(_) => Ok(()),
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => {
                link(&file, target).map_err(|error| Unnamed { error, place: Self::Nameless(file) })
            }
            Self::Named(noted, file) => match file.persist_noclobber(target) {
                Ok(_) => Ok(()),
                Err(failed) => {
                    Err(Unnamed { error: failed.error, place: Self::Named(noted, failed.file) })
                }
            },
        }
    }

    /// Takes the name of a file, and lets those read it who could read that.
    fn replace(self, target: &Path, replaced: &Metadata) -> io::Result<()> {
        match self {
            Self::Direct(_) => Ok(()),
            #[cfg(target_os = "linux")]
            Self::Nameless(file) => {
                // Only a rename replaces, and only names can be renamed.
                let mut builder = tempfile::Builder::new();
                builder.prefix(".stc-").suffix(".part");
                let named = builder.make_in(folder(target), |path| link(&file, path))?;
                let _noted = Noted::new(named.path());
                allow_the_same(&file, replaced)?;
                named.persist(target)?;
                Ok(())
            }
            Self::Named(_noted, file) => {
                allow_the_same(file.as_file(), replaced)?;
                file.persist(target)?;
                Ok(())
            }
        }
    }
}

/// What is at `target`, if it may be written.
fn look(target: &Path, overwrite: bool) -> io::Result<Found> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let metadata = fs::metadata(target)
        .map_err(|error| io::Error::new(error.kind(), format!("a link leads nowhere: {error}")))?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if is_direct(metadata.file_type()) {
        return Ok(Found::Direct);
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file, and neither a device nor a pipe to write to"));
    }
    if !overwrite {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // What a link names is replaced, not the link.
    Ok(Found::File(fs::canonicalize(target)?, metadata))
}

/// Whether bytes written there go somewhere else.
fn is_direct(kind: FileType) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        kind.is_char_device() || kind.is_fifo()
    }
    #[cfg(not(unix))]
    {
        let _ = kind;
        false
    }
}

/// Gives `file` the owner and the permissions of what it replaces.
fn allow_the_same(file: &File, replaced: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        let own = file.metadata()?;
        if own.uid() != replaced.uid() {
            // Only the superuser can; for anybody else it becomes their own.
            let _ = fchown(file, Some(replaced.uid()), None);
        }
        if own.gid() != replaced.gid() {
            let _ = fchown(file, None, Some(replaced.gid()));
        }
        let mut mode = replaced.mode() & 0o777;
        if file.metadata()?.gid() != replaced.gid() {
            // These permissions were meant for another group.
            mode &= 0o707;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = (file, replaced);
    Ok(())
}

/// A file without a name in `folder`, where the file system has such and a name can be given.
#[cfg(target_os = "linux")]
fn nameless(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    use std::os::unix::fs::MetadataExt;

    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(open(folder, flags, Mode::RUSR | Mode::WUSR).ok()?);
    // A process without /proc could not give it its name.
    let (own, seen) = (file.metadata().ok()?, fs::metadata(by_descriptor(&file)).ok()?);
    ((own.dev(), own.ino()) == (seen.dev(), seen.ino())).then_some(file)
}

#[cfg(target_os = "linux")]
fn by_descriptor(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(target_os = "linux")]
fn link(file: &File, target: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    Ok(linkat(CWD, by_descriptor(file), CWD, target, AtFlags::SYMLINK_FOLLOW)?)
}

fn noted() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name in [`UNFINISHED`].
#[derive(Debug)]
struct Noted(PathBuf);

impl Noted {
    fn new(path: &Path) -> Self {
        noted().push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        noted().retain(|path| *path != self.0);
    }
}

#[cfg(test)]
mod tests;
