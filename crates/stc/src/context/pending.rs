//! Outputs that appear complete or not at all.

use std::{
    fs::{File, Permissions},
    io,
    path::Path,
};

use tempfile::NamedTempFile;

use super::FileOptions;

/// An output that gets its name only when it is complete.
pub(super) struct Pending<'a> {
    file: NamedTempFile,
    target: &'a Path,
    options: &'a FileOptions<'a>,
}

impl<'a> Pending<'a> {
    /// `private`: readable by the owner alone. Otherwise the process's mask decides.
    pub(super) fn new(
        target: &'a Path,
        private: bool,
        options: &'a FileOptions<'a>,
    ) -> io::Result<Self> {
        if !options.overwrite && target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".stc-").suffix(".part");
        #[cfg(unix)]
        builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(
            if private { 0o600 } else { 0o666 },
        ));
        Ok(Self { file: builder.tempfile_in(folder(target))?, target, options })
    }

    /// Where to write.
    pub(super) fn file(&self) -> &File {
        self.file.as_file()
    }

    pub(super) fn finish(self) -> io::Result<()> {
        if self.options.durable {
            self.file.as_file().sync_all()?;
        }
        if self.options.overwrite {
            self.file.persist(self.target)?;
        } else {
            self.file.persist_noclobber(self.target)?;
        }
        #[cfg(unix)]
        if self.options.durable {
            File::open(folder(self.target))?.sync_all()?;
        }
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
