//! A file as the source of a value.

use std::{
    fs::File,
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use stc::{FileStamp, SteadyFile};
use tokio::io::{AsyncRead, ReadBuf};

/// A file to be stored with [`super::Chamber::put_reader`]. Its end is an error when the file
/// changed since it was opened: what was read is neither the old file nor the new one.
#[derive(Debug)]
pub struct FileSource {
    file: tokio::fs::File,
    /// The same file, whose stamp can be read without waiting.
    same: File,
    stamp: Option<FileStamp>,
    len: Option<u64>,
}

impl FileSource {
    /// Opens the file at `path`. A named pipe waits for its writer.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::IsADirectory`].
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let file = SteadyFile::open(&path)?;
            let len = file.known_len();
            let (file, stamp) = file.into_parts();
            let same = file.try_clone()?;
            Ok(Self { file: file.into(), same, stamp, len })
        });
        opened.await.map_err(io::Error::other)?
    }

    /// Bytes of the file; `None` for pipes and devices.
    #[must_use]
    pub const fn known_len(&self) -> Option<u64> {
        self.len
    }
}

impl AsyncRead for FileSource {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.file).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), Some(stamp)) = (&polled, &self.stamp)
            && buffer.filled().len() == before
            && buffer.remaining() > 0
        {
            stamp.verify(&self.same)?;
        }
        polled
    }
}
