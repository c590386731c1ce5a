//! The few operations on files that the disk backend needs, so that tests can make them fail.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open file.
pub(crate) trait RawFile: fmt::Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Lets the disk begin with what was just written, so that the sync finds less to do. Promises
    /// nothing, and never waits for the disk.
    fn begin_sync(&self, offset: u64, len: u64);
    /// Makes contents and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub(crate) trait Fs: fmt::Debug + Send + Sync {
    /// Makes directories, each with all that lead to it, for the owner alone. It is no error if one
    /// is there already.
    fn create_dirs(&self, paths: &[PathBuf]) -> io::Result<()>;
    /// Makes a new file, for the owner alone, and opens it for reading and writing.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn RawFile>>;
    /// Opens an existing file for reading, and for writing when `write`.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn RawFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Whether a name is a link to somewhere else.
    fn is_link(&self, path: &Path) -> io::Result<bool>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory; none if there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Takes the exclusive lock on a file, making it if need be; `None` when somebody has it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Takes a share of the lock on a file, which is only opened for reading; `None` when somebody
    /// has it for himself.
    fn try_share(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Makes a file of `len` bytes that does not matter, so that its space can be given up later.
    fn set_aside(&self, path: &Path, len: usize) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug)]
pub(crate) struct RealFs;

impl Fs for RealFs {
    fn create_dirs(&self, paths: &[PathBuf]) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        paths.iter().try_for_each(|path| builder.create(path))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn RawFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        private(&mut options);
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn RawFile>> {
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn is_link(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(metadata.is_symlink()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        stc_durable::sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        private(&mut options);
        let file = options.open(path)?;
        let tried = file.try_lock();
        locked(file, tried)
    }

    fn try_share(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = File::open(path)?;
        let tried = file.try_lock_shared();
        locked(file, tried)
    }

    fn set_aside(&self, path: &Path, len: usize) -> io::Result<()> {
        let file = self.create_new(path)?;
        // Written, because a hole takes no space.
        let filled = file.write_at(0, &vec![0xa5; len]);
        if filled.is_err() {
            self.remove(path)?;
        }
        filled
    }
}

fn locked(
    file: File,
    tried: Result<(), fs::TryLockError>,
) -> io::Result<Option<Box<dyn Send + Sync>>> {
    match tried {
        Ok(()) => Ok(Some(Box::new(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

#[derive(Debug)]
struct RealFile(File);

impl RawFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.0, out, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out = out.get_mut(read..).unwrap_or_default();
            offset += read as u64;
        }
        Ok(())
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.0, data, offset)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            data = data.get(written..).unwrap_or_default();
            offset += written as u64;
        }
        Ok(())
    }

    fn begin_sync(&self, offset: u64, len: u64) {
        // On Linux this call begins to write dirty pages back and leaves them in memory, because
        // they are dirty.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(
            &self.0,
            offset,
            std::num::NonZeroU64::new(len),
            rustix::fs::Advice::DontNeed,
        );
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, len);
    }

    fn sync(&self) -> io::Result<()> {
        // Contents and length; times do not matter, and would cost a commit of the file system.
        self.0.sync_data()
    }
}
