//! What a folder is made of: a list of files, which is a content itself.
//!
//! After [`HEAD`], for each file: its root (32 bytes), its length (8), the bytes of its path (2),
//! all little-endian, and the path in UTF-8, names divided by `/`. Paths ascend, byte by byte.

use std::path::{Path, PathBuf};

use blake3::Hash;
use stt::transfer::safe_name;

use crate::ContentTicket;

/// What every manifest begins with.
const HEAD: &[u8] = b"stt folder 1\n";
/// Most bytes of a manifest, files of it, bytes of a path and names in it.
pub(super) const MAX_MANIFEST: u64 = 16 << 20;
pub(super) const MAX_FILES: usize = 65_536;
const MAX_PATH: usize = 1_024;
const MAX_DEPTH: usize = 32;

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) root: Hash,
    pub(super) size: u64,
    /// Names divided by `/`, as whoever made the manifest says.
    pub(super) path: String,
}

/// The files of a folder in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    entries: Vec<Entry>,
}

/// What a manifest breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("it is cut off, or no list of files")]
    Malformed,
    #[error("it lists more than {MAX_FILES} files, or needs more than 16 MiB")]
    TooMany,
    #[error("a path is longer than {MAX_PATH} bytes or {MAX_DEPTH} names")]
    Path,
    #[error("a path leads out of the folder, or is none")]
    Outside,
    #[error("its paths do not ascend")]
    Order,
    #[error("two files would have one path here")]
    Collision,
    #[error("a file is said to be empty, and its hash says otherwise")]
    Empty,
    #[error("its files have too many bytes")]
    Size,
}

/// Whether a path stays where it is put, as far as its text tells.
fn check(path: &str) -> Result<(), ManifestError> {
    if path.len() > MAX_PATH || path.split('/').count() > MAX_DEPTH {
        return Err(ManifestError::Path);
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..") || name.contains('\0')) {
        return Err(ManifestError::Outside);
    }
    Ok(())
}

impl Manifest {
    /// The manifest of these files, in any order.
    pub(super) fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self { entries };
        manifest.checked()
    }

    fn checked(self) -> Result<Self, ManifestError> {
        if self.entries.len() > MAX_FILES {
            return Err(ManifestError::TooMany);
        }
        for entry in &self.entries {
            check(&entry.path)?;
        }
        let empty = blake3::hash(b"");
        if self.entries.iter().any(|entry| entry.size == 0 && entry.root != empty) {
            return Err(ManifestError::Empty);
        }
        if !self.entries.is_sorted_by(|a, b| a.path < b.path) {
            return Err(ManifestError::Order);
        }
        if self.bytes().is_none_or(|bytes| bytes > ContentTicket::MAX_SIZE) {
            return Err(ManifestError::Size);
        }
        Ok(self)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let mut out = HEAD.to_vec();
        for Entry { root, size, path } in &self.entries {
            let len = u16::try_from(path.len()).map_err(|_| ManifestError::Path)?;
            out.extend_from_slice(root.as_bytes());
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(path.as_bytes());
        }
        if u64::try_from(out.len()).is_ok_and(|len| len <= MAX_MANIFEST) {
            Ok(out)
        } else {
            Err(ManifestError::TooMany)
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut left = bytes.strip_prefix(HEAD).ok_or(ManifestError::Malformed)?;
        let mut entries = Vec::new();
        while !left.is_empty() {
            if entries.len() == MAX_FILES {
                return Err(ManifestError::TooMany);
            }
            let (entry, rest) = entry(left).ok_or(ManifestError::Malformed)?;
            entries.push(entry);
            left = rest;
        }
        Self { entries }.checked()
    }

    /// Where each file is put, in the order of the entries: the same paths, made of names that are
    /// harmless to this system.
    pub(super) fn places(&self) -> Result<Vec<PathBuf>, ManifestError> {
        let place = |entry: &Entry| entry.path.split('/').map(safe_name).collect::<Option<_>>();
        let places: Option<Vec<PathBuf>> = self.entries.iter().map(place).collect();
        let places = places.ok_or(ManifestError::Outside)?;
        let collide = if CASES_ARE_ONE {
            collide(places.iter().map(|place| place.to_string_lossy().to_lowercase()))
        } else {
            collide(places.iter())
        };
        if collide { Err(ManifestError::Collision) } else { Ok(places) }
    }
}

/// Whether disks of this system usually take two names for one that differ in case only.
const CASES_ARE_ONE: bool = cfg!(any(windows, target_os = "macos"));

/// Whether one of these paths is another, or a directory of another.
fn collide<P: AsRef<Path>>(places: impl Iterator<Item = P>) -> bool {
    let mut places: Vec<P> = places.collect();
    // By names, so that what is below a path follows it at once.
    places.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    let mut next = places.iter().skip(1);
    places.iter().any(|place| next.next().is_some_and(|next| next.as_ref().starts_with(place)))
}

fn entry(from: &[u8]) -> Option<(Entry, &[u8])> {
    let (root, from) = from.split_first_chunk()?;
    let (size, from) = from.split_first_chunk()?;
    let (len, from) = from.split_first_chunk()?;
    let (path, from) = from.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let path = std::str::from_utf8(path).ok()?.to_owned();
    let (root, size) = (Hash::from_bytes(*root), u64::from_le_bytes(*size));
    Some((Entry { root, size, path }, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry { root: blake3::hash(path.as_bytes()), size: 5, path: path.into() }
    }

    fn manifest(paths: &[&str]) -> Result<Manifest, ManifestError> {
        Manifest::new(paths.iter().map(|path| entry(path)).collect())
    }

    #[test]
    fn a_manifest_comes_back_and_says_where_files_go() {
        let manifest = manifest(&["b.txt", "a/b/c", "a/.hidden", "a b"]).unwrap();
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest.clone()));
        let places = manifest.places().unwrap();
        assert_eq!(places, ["a b", "a/_hidden", "a/b/c", "b.txt"].map(PathBuf::from));
        assert_eq!(manifest.bytes(), Some(20));
        assert_eq!(Manifest::decode(HEAD), Ok(Manifest::default()));
    }

    #[test]
    fn paths_that_lead_out_or_collide_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../x", "a//b", ".", "a/.", "", "a\0b", "a/"] {
            assert_eq!(manifest(&[path]), Err(ManifestError::Outside), "{path:?}");
        }
        let lie = Entry { size: 0, ..entry("a") };
        assert_eq!(Manifest::new(vec![lie]), Err(ManifestError::Empty));
        assert_eq!(manifest(&["a", "a"]), Err(ManifestError::Order));
        assert_eq!(manifest(&[&"x".repeat(MAX_PATH + 1)]), Err(ManifestError::Path));
        assert_eq!(manifest(&[&"x/".repeat(MAX_DEPTH)]), Err(ManifestError::Path));
        // Here they would be one file, or a file and a folder of one name.
        for paths in [["a:b", "a?b"], ["a", "a/b"]] {
            let places = manifest(&paths).unwrap().places();
            assert_eq!(places, Err(ManifestError::Collision), "{paths:?}");
        }
        // What is a path to others is a name here.
        let places = manifest(&[r"..\..\x", r"C:\x\y"]).unwrap().places().unwrap();
        assert_eq!(places, ["x", "y"].map(PathBuf::from));
        assert_eq!(manifest(&[r"a\.."]).unwrap().places(), Err(ManifestError::Outside));
    }

    #[test]
    fn a_path_and_what_is_below_it_collide_whatever_is_between() {
        let places = |paths: &[&str]| collide(paths.iter());
        assert!(!places(&[]) && !places(&["a"]) && !places(&["a", "ab", "a b", "b/a"]));
        assert!(places(&["a", "b", "a"]));
        assert!(places(&["a/b/c/d", "a b", "a.b", "a-b/c", "a"]));
        assert!(places(&["x/a/b", "x/a!", "x/a"]));
        assert!(!places(&["x/a/b", "x/ab", "x/A"]));
        let collides = manifest(&["A/x", "a/X"]).unwrap().places().is_err();
        assert_eq!(collides, CASES_ARE_ONE);
        let lower = ["A/x", "a/X"].map(str::to_lowercase);
        assert!(collide(lower.iter()));
    }

    #[test]
    fn many_deep_paths_have_places() {
        let deep = "d/".repeat(MAX_DEPTH - 2);
        let paths: Vec<String> = (0..MAX_FILES / 16).map(|at| format!("{deep}{at}/f")).collect();
        let manifest = Manifest::new(paths.iter().map(|path| entry(path)).collect()).unwrap();
        assert_eq!(manifest.places().unwrap().len(), MAX_FILES / 16);
    }

    #[test]
    fn of_any_bytes_nothing_leads_out() {
        let good = manifest(&["a/b/c", "a/d", "e"]).unwrap().encode().unwrap();
        let mut random = fastrand::Rng::with_seed(17);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(HEAD.len()..bytes.len());
                match random.u8(..4) {
                    0 => bytes.truncate(at.max(HEAD.len() + 1)),
                    1 => bytes[at] = b"/.\\\0"[random.usize(..4)],
                    2 => bytes[at] = random.u8(..),
                    _ => bytes.insert(at, random.u8(..)),
                }
            }
            let Ok(manifest) = Manifest::decode(&bytes) else { continue };
            assert_eq!(manifest.encode().unwrap(), bytes);
            for place in manifest.places().into_iter().flatten() {
                let parts = place.components();
                assert!(parts.clone().count() > 0);
                for part in parts {
                    assert!(matches!(part, std::path::Component::Normal(_)), "{place:?}");
                }
            }
        }
    }
}
