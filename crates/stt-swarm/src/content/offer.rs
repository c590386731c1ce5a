//! What a library offers: files and folders of this machine, hashed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use bao_tree::{
    BaoTree,
    io::{
        outboard::PreOrderOutboard,
        sync::{CreateOutboard, encode_ranges_validated},
    },
};
use blake3::Hash;
use bytes::Bytes;
use stt::ContentId;

use super::{
    GROUP, PIECE,
    manifest::{Entry, MAX_FILES, Manifest, ManifestError},
    region::Region,
    wire::{Answer, Request, chunks},
};
use crate::{ContentError, ContentTicket};

/// Folders in folders, at most.
const MAX_DEPTH: usize = 32;

/// A content that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shared {
    /// Its BLAKE3 hash, which is its id. Of a folder, that of its manifest.
    pub root: ContentId,
    /// Its length in bytes. Of a folder, that of its manifest.
    pub size: u64,
    /// The name of the file or folder that it is.
    pub name: String,
    /// What is in it, if it is a folder.
    pub folder: Option<Folder>,
}

/// What is in a folder that is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Folder {
    /// How many files.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Links, devices and the like, which are not offered.
    pub skipped: u64,
}

impl Shared {
    /// Bytes of the file, or of all files of the folder.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.folder.map_or(self.size, |folder| folder.bytes)
    }
}

/// Bytes that can be read at any place, and the hashes that prove them.
#[derive(Debug)]
pub(super) struct Content {
    held: Held,
    outboard: PreOrderOutboard<Region<Arc<File>>>,
}

/// Where the bytes are. A file is opened when it is asked for: a folder may have more files than a
/// process may have open.
#[derive(Debug)]
enum Held {
    File(PathBuf),
    Bytes(Bytes),
}

/// All that one call offers.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) shared: Shared,
    pub(super) contents: Vec<Content>,
}

impl Content {
    pub(super) const fn root(&self) -> Hash {
        self.outboard.root
    }

    pub(super) fn size(&self) -> u64 {
        self.outboard.tree.size()
    }

    /// The bytes, if they are in memory.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        match &self.held {
            Held::File(_) => None,
            Held::Bytes(bytes) => Some(bytes.clone()),
        }
    }

    /// A whole answer.
    pub(super) fn answer(&self, request: &Request) -> Result<Vec<u8>, Answer> {
        let size = self.size();
        if request.bytes.start >= size.max(1) {
            return Err(Answer::BadRequest);
        }
        let room = usize::try_from(PIECE + PIECE / 64).unwrap_or_default();
        let mut out = Vec::with_capacity(room);
        out.push(Answer::Here.to_byte());
        out.extend_from_slice(&size.to_le_bytes());
        let wanted = chunks(&request.bytes, size);
        // Compared with the hashes, so that a bad disk makes no corrupt provider.
        let encoded = match &self.held {
            Held::File(path) => {
                let file = open(path).map_err(|error| match error {
                    ContentError::File { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                        Answer::NotHere
                    }
                    _ => Answer::Damaged,
                })?;
                encode_ranges_validated(&file, &self.outboard, &wanted, &mut out)
            }
            Held::Bytes(bytes) => {
                encode_ranges_validated(&**bytes, &self.outboard, &wanted, &mut out)
            }
        };
        encoded.map_err(|_| Answer::Damaged)?;
        Ok(out)
    }
}

/// Opens a regular file. Neither a pipe nor a device makes it wait.
fn open(path: &Path) -> Result<File, ContentError> {
    let failed = |error| ContentError::file("read", path, error);
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ContentError::NotAFile { path: path.to_owned() });
    }
    Ok(file)
}

/// Hashes contents; all their hashes lie in one temporary file.
struct Hashing {
    aside: Arc<File>,
    end: u64,
}

impl Hashing {
    fn new() -> Result<Self, ContentError> {
        let failed = |error| ContentError::file("write", &std::env::temp_dir(), error);
        Ok(Self { aside: Arc::new(tempfile::tempfile().map_err(failed)?), end: 0 })
    }

    fn hash(&mut self, from: impl io::Read, size: u64, held: Held) -> Result<Content, io::Error> {
        let tree = BaoTree::new(size, GROUP);
        let mut outboard = PreOrderOutboard {
            root: Hash::from_bytes([0; 32]),
            tree,
            data: Region { file: Arc::clone(&self.aside), at: self.end },
        };
        outboard.init_from(BufReader::with_capacity(1 << 18, from))?;
        self.end = self.end.saturating_add(tree.outboard_size());
        Ok(Content { held, outboard })
    }

    fn file(&mut self, path: PathBuf) -> Result<Content, ContentError> {
        let failed = |error| ContentError::file("read", &path, error);
        let file = open(&path)?;
        let size = file.metadata().map_err(failed)?.len();
        if size > ContentTicket::MAX_SIZE {
            return Err(ContentError::TooLarge { size, max: ContentTicket::MAX_SIZE });
        }
        self.hash(&file, size, Held::File(path.clone())).map_err(failed)
    }

    fn bytes(&mut self, bytes: Bytes) -> Result<Content, ContentError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.hash(&*bytes.clone(), size, Held::Bytes(bytes))
            .map_err(|error| ContentError::file("write", &std::env::temp_dir(), error))
    }
}

impl Offer {
    /// Hashes a file, or all files of a folder.
    pub(super) fn of(path: &Path) -> Result<Self, ContentError> {
        // Also of `.` the name is wanted, and the file is to be found from any directory.
        let path =
            fs::canonicalize(path).map_err(|error| ContentError::file("read", path, error))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| String::from("root"));
        if path.is_dir() {
            return Self::folder(&path, name);
        }
        let content = Hashing::new()?.file(path)?;
        let shared =
            Shared { root: content.root().into(), size: content.size(), name, folder: None };
        Ok(Self { shared, contents: vec![content] })
    }

    /// Hashes bytes.
    pub(super) fn of_bytes(bytes: Bytes, name: String) -> Result<Self, ContentError> {
        let content = Hashing::new()?.bytes(bytes)?;
        let shared =
            Shared { root: content.root().into(), size: content.size(), name, folder: None };
        Ok(Self { shared, contents: vec![content] })
    }

    fn folder(dir: &Path, name: String) -> Result<Self, ContentError> {
        let mut walk = Walk::default();
        walk.dir(dir, "", 0)?;
        let mut hashing = Hashing::new()?;
        let (mut contents, mut entries) = (Vec::new(), Vec::new());
        for (path, at) in walk.files {
            let content = hashing.file(at)?;
            entries.push(Entry { root: content.root(), size: content.size(), path });
            contents.push(content);
        }
        let manifest = Manifest::new(entries)?;
        let folder = Folder {
            files: u64::try_from(manifest.entries().len()).unwrap_or(u64::MAX),
            bytes: manifest.bytes().unwrap_or(u64::MAX),
            skipped: walk.skipped,
        };
        let list = hashing.bytes(manifest.encode()?.into())?;
        let shared =
            Shared { root: list.root().into(), size: list.size(), name, folder: Some(folder) };
        contents.push(list);
        Ok(Self { shared, contents })
    }
}

/// The files of a folder.
#[derive(Default)]
struct Walk {
    /// Path in the folder, path on this machine.
    files: Vec<(String, PathBuf)>,
    skipped: u64,
}

impl Walk {
    fn dir(&mut self, dir: &Path, within: &str, depth: usize) -> Result<(), ContentError> {
        let failed = |error| ContentError::file("read", dir, error);
        if depth == MAX_DEPTH {
            return Err(ManifestError::Path.into());
        }
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(ContentError::Name);
            };
            let path = if within.is_empty() { name } else { format!("{within}/{name}") };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.dir(&entry.path(), &path, depth + 1)?;
            } else if kind.is_file() {
                if self.files.len() == MAX_FILES {
                    return Err(ManifestError::TooMany.into());
                }
                self.files.push((path, entry.path()));
            } else {
                // A link may lead out of the folder.
                self.skipped += 1;
            }
        }
        Ok(())
    }
}
