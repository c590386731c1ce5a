//! A file that is sent, read block by block by a task that may block.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use bytes::Bytes;
use stc::{FileChanged, FileStamp};
use tokio::sync::mpsc;

use super::{
    BLOCK, TransferError,
    record::{Answer, HASH_LEN},
    send::Block,
    tree::Tree,
};

/// A file that is sent.
pub(super) struct Source {
    file: File,
    stamp: FileStamp,
    path: PathBuf,
    size: u64,
}

/// A file that was sent.
pub(super) struct Finished {
    pub(super) hash: [u8; HASH_LEN],
    pub(super) resumed_at: u64,
}

impl Source {
    /// Opens the file of an entry.
    ///
    /// # Errors
    /// It changed since it was offered, or the operating system refuses.
    pub(super) fn open(tree: &Tree, at: usize) -> Result<Self, TransferError> {
        let gone = TransferError::Protocol { rule: "a file that was not offered" };
        let (Some(path), Some(entry)) = (tree.path(at), tree.list.get(at)) else {
            return Err(gone);
        };
        let (file, metadata) = super::tree::open(&path, at != 0)?;
        if metadata.len() != entry.size || super::tree::modified(&metadata) != entry.modified {
            return Err(TransferError::Changed { path });
        }
        let stamp = FileStamp::of(&metadata);
        Ok(Self { file, stamp, path, size: entry.size })
    }

    /// Checks what the receiver has, then produces the start record, the rest of the file and its
    /// hash. A receiver of blocks that went away ends it early without an error of its own.
    ///
    /// # Errors
    /// The file changed, or it cannot be read.
    pub(super) fn run(
        mut self,
        Answer { have, hash: theirs }: Answer,
        blocks: &mpsc::Sender<Block>,
        checked: impl Fn(u64),
    ) -> Result<Finished, TransferError> {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        if have > 0 && have <= self.size {
            while offset < have && !blocks.is_closed() {
                let block = self.read(have - offset)?;
                hasher.update(&block);
                offset += len(&block);
                checked(offset);
            }
            if hasher.finalize() != blake3::Hash::from_bytes(theirs) {
                hasher.reset();
                offset = 0;
                self.file
                    .seek(SeekFrom::Start(0))
                    .map_err(|error| TransferError::file("read", &self.path, error))?;
            }
        }
        let resumed_at = offset;
        let mut gone = blocks.blocking_send(Block::Start { offset }).is_err();
        while offset < self.size && !gone {
            let block = self.read(self.size - offset)?;
            hasher.update(&block);
            offset += len(&block);
            gone = blocks.blocking_send(Block::Content(block)).is_err();
        }
        let hash = *hasher.finalize().as_bytes();
        if !gone {
            self.must_end()?;
            let _ = blocks.blocking_send(Block::Hash(hash));
        }
        Ok(Finished { hash, resumed_at })
    }

    /// The next block, at most `left` bytes.
    fn read(&mut self, left: u64) -> Result<Bytes, TransferError> {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        let mut block = vec![0; size];
        match self.file.read(&mut block) {
            Ok(0) => Err(self.of_other_length()),
            Ok(read) => {
                block.truncate(read);
                Ok(block.into())
            }
            Err(error) => Err(TransferError::file("read", &self.path, error)),
        }
    }

    /// The file must be as it was at the start: what was sent is neither the old nor the new one.
    fn must_end(&mut self) -> Result<(), TransferError> {
        match self.file.read(&mut [0]) {
            Ok(0) => match self.stamp.verify(&self.file) {
                Ok(()) => Ok(()),
                Err(error) if FileChanged::is_inside(&error) => {
                    Err(TransferError::Changed { path: self.path.clone() })
                }
                Err(error) => Err(TransferError::file("read", &self.path, error)),
            },
            Ok(_) => Err(self.of_other_length()),
            Err(error) => Err(TransferError::file("read", &self.path, error)),
        }
    }

    /// It is shorter or longer than it said: it changed, or it is one that the system makes up
    /// while it is read, whose length nobody knows before.
    fn of_other_length(&self) -> TransferError {
        let path = self.path.clone();
        match self.stamp.verify(&self.file) {
            Ok(()) => TransferError::NotAFile { path },
            Err(_) => TransferError::Changed { path },
        }
    }
}

fn len(block: &Bytes) -> u64 {
    u64::try_from(block.len()).unwrap_or(u64::MAX)
}
