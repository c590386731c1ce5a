//! A part of a file, read and written at places of its own.

use std::{fs::File, io, ops::Deref};

use bao_tree::io::sync::{ReadAt, WriteAt};

/// A file from some place on.
#[derive(Debug)]
pub(super) struct Region<F> {
    pub(super) file: F,
    pub(super) at: u64,
}

impl<F: Deref<Target = File>> ReadAt for Region<F> {
    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        ReadAt::read_at(&*self.file, self.at.saturating_add(pos), buf)
    }
}

impl<F: Deref<Target = File>> WriteAt for Region<F> {
    fn write_at(&mut self, pos: u64, buf: &[u8]) -> io::Result<usize> {
        let at = self.at.saturating_add(pos);
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(&*self.file, buf, at);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(&*self.file, buf, at);
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
