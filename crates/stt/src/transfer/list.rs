//! What is offered: a file, or a directory with what is in it (docs/streams.md, FILE-2 and FILE-5).

use std::{collections::HashSet, path::PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{TransferError, name::safe_name};
use crate::stream::varint;

/// Most files and directories of an offer, bytes of their list, bytes of a path and names in it.
pub(super) const MAX_ENTRIES: usize = 65_536;
pub(super) const MAX_LIST: usize = 8 << 20;
pub(super) const MAX_PATH: usize = 1_024;
pub(super) const MAX_DEPTH: usize = 32;
/// What of a mode is offered: who may read, write, execute.
pub(super) const MODE: u16 = 0o777;

const FILE: u8 = 0;
const DIRECTORY: u8 = 1;

/// A file or a directory that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) is_dir: bool,
    /// Permissions, as of POSIX.
    pub(super) mode: u16,
    /// When it was last changed, in nanoseconds since 1970, or 0.
    pub(super) modified: u64,
    /// Bytes of a file.
    pub(super) size: u64,
    /// Of the first entry a name, as the sender has it and not safe; of the others names divided by
    /// `/`, below the first.
    pub(super) path: String,
}

/// An offer: its first entry is what it is about, and the others are in that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    root: Entry,
    below: Vec<Entry>,
    bytes: u64,
}

const MALFORMED: TransferError =
    TransferError::Protocol { rule: "the list of an offer is malformed" };

impl List {
    /// Checks what an offer has to be: a directory comes before what is in it, and no path comes
    /// twice.
    ///
    /// # Errors
    /// [`TransferError::Name`] for a path that is none or leads elsewhere, or
    /// [`TransferError::Protocol`].
    pub(super) fn new(root: Entry, below: Vec<Entry>) -> Result<Self, TransferError> {
        let many = below.len() >= MAX_ENTRIES || root.path.len() > MAX_PATH;
        if many || (!root.is_dir && !below.is_empty()) {
            return Err(MALFORMED);
        }
        let (mut dirs, mut seen, mut bytes) = (HashSet::new(), HashSet::new(), 0u64);
        for entry in std::iter::once(&root).chain(&below) {
            if entry.mode & !MODE != 0 || (entry.is_dir && entry.size != 0) {
                return Err(MALFORMED);
            }
            bytes = bytes.saturating_add(entry.size);
        }
        if bytes > varint::MAX {
            return Err(MALFORMED);
        }
        for Entry { path, is_dir, .. } in &below {
            if !is_path(path) {
                return Err(TransferError::Name);
            }
            let in_known = path.rsplit_once('/').is_none_or(|(parent, _)| dirs.contains(parent));
            if !in_known || !seen.insert(path.as_str()) {
                return Err(MALFORMED);
            }
            if *is_dir {
                dirs.insert(path.as_str());
            }
        }
        drop((dirs, seen));
        Ok(Self { root, below, bytes })
    }

    pub(super) const fn root(&self) -> &Entry {
        &self.root
    }

    /// What is in the first entry.
    pub(super) fn below(&self) -> &[Entry] {
        &self.below
    }

    /// Bytes of all files.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.below.len() + 1
    }

    /// The entry at a place: 0 is the first one.
    pub(super) fn get(&self, at: usize) -> Option<&Entry> {
        match at.checked_sub(1) {
            None => Some(&self.root),
            Some(at) => self.below.get(at),
        }
    }

    /// The places of the files.
    pub(super) fn files(&self) -> Vec<usize> {
        let is_file = |at: &usize| self.get(*at).is_some_and(|entry| !entry.is_dir);
        (0..self.len()).filter(is_file).collect()
    }

    /// Where the entries below the first are put in it: the same paths, of names that are harmless
    /// here.
    ///
    /// # Errors
    /// [`TransferError::Name`].
    pub(super) fn places(&self) -> Result<Vec<PathBuf>, TransferError> {
        let place =
            |entry: &Entry| entry.path.split('/').map(safe_name).collect::<Option<PathBuf>>();
        self.below.iter().map(|entry| place(entry).ok_or(TransferError::Name)).collect()
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        for entry in std::iter::once(&self.root).chain(&self.below) {
            out.put_u8(if entry.is_dir { DIRECTORY } else { FILE });
            out.put_u16(entry.mode);
            out.put_u64(entry.modified);
            varint::put(&mut out, entry.size);
            varint::put(&mut out, u64::try_from(entry.path.len()).unwrap_or(0));
            out.put_slice(entry.path.as_bytes());
        }
        out.freeze()
    }

    /// Reads a list of so many entries.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn decode(mut bytes: &[u8], entries: u64) -> Result<Self, TransferError> {
        let root = entry(&mut bytes).ok_or(MALFORMED)?;
        let mut below = Vec::new();
        while !bytes.is_empty() {
            if below.len() + 1 >= MAX_ENTRIES {
                return Err(MALFORMED);
            }
            below.push(entry(&mut bytes).ok_or(MALFORMED)?);
        }
        if u64::try_from(below.len() + 1).ok() != Some(entries) {
            return Err(MALFORMED);
        }
        Self::new(root, below)
    }
}

fn entry(from: &mut &[u8]) -> Option<Entry> {
    let is_dir = match from.try_get_u8().ok()? {
        FILE => false,
        DIRECTORY => true,
        _ => return None,
    };
    let mode = from.try_get_u16().ok()?;
    let modified = from.try_get_u64().ok()?;
    let size = varint::take(from)?;
    let len = usize::try_from(varint::take(from)?).ok().filter(|len| *len <= MAX_PATH)?;
    let (path, rest) = from.split_at_checked(len)?;
    *from = rest;
    let path = std::str::from_utf8(path).ok()?.to_owned();
    Some(Entry { is_dir, mode, modified, size, path })
}

/// Whether a path stays where it is put, as far as its text tells.
fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH
        && path.split('/').count() <= MAX_DEPTH
        && !path.split('/').any(|name| matches!(name, "" | "." | "..") || name.contains('\0'))
}

/// What the fuzzer calls: a list that parses comes back, and puts nothing outside.
///
/// # Panics
/// When it doesn't.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub fn fuzz(bytes: &[u8]) {
    let Some((entries, bytes)) = bytes.split_first() else { return };
    let Ok(list) = List::decode(bytes, u64::from(*entries)) else { return };
    let again = list.encode();
    assert!(again.len() <= bytes.len());
    assert_eq!(List::decode(&again, u64::from(*entries)).as_ref().ok(), Some(&list));
    for place in list.places().into_iter().flatten() {
        for part in place.components() {
            assert!(matches!(part, std::path::Component::Normal(_)), "{place:?}");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn entry(path: &str, size: Option<u64>) -> Entry {
        let (is_dir, size) = (size.is_none(), size.unwrap_or(0));
        Entry {
            is_dir,
            mode: if is_dir { 0o755 } else { 0o644 },
            modified: 7,
            size,
            path: path.into(),
        }
    }

    fn below(paths: &[(&str, Option<u64>)]) -> Result<List, TransferError> {
        let below = paths.iter().map(|(path, size)| entry(path, *size)).collect();
        List::new(entry("root", None), below)
    }

    fn code(list: Result<List, TransferError>) -> &'static str {
        list.map_or_else(|error| stc::Coded::code(&error), |_| "fine")
    }

    #[test]
    fn a_list_comes_back_and_cut_it_is_refused() {
        let list = below(&[
            ("a", None),
            ("a/.b", Some(5)),
            ("a/c", None),
            ("a/c/d", Some(0)),
            ("e", Some(varint::MAX - 5)),
        ])
        .unwrap();
        let wire = list.encode();
        assert_eq!(List::decode(&wire, 6).unwrap(), list);
        assert_eq!(list.files(), [2, 4, 5]);
        assert_eq!(list.bytes(), varint::MAX);
        let places = ["a", "a/_b", "a/c", "a/c/d", "e"].map(PathBuf::from);
        assert_eq!(list.places().unwrap(), places);
        for entries in [0, 5, 7] {
            assert_eq!(code(List::decode(&wire, entries)), "transfer.protocol");
        }
        for cut in 0..wire.len() {
            assert!(List::decode(&wire[..cut], 6).is_err(), "{cut}");
        }
        let file = List::new(entry("../name", Some(1)), Vec::new()).unwrap();
        assert_eq!(List::decode(&file.encode(), 1).unwrap(), file);
        assert_eq!(file.files(), [0]);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["/etc", "..", "../x", ".", "", "a\0b", "x/", "/"] {
            assert_eq!(code(below(&[(path, Some(1))])), "transfer.name", "{path:?}");
        }
        for path in ["a/../x", "a//x", "a/.", "a/"] {
            assert_eq!(code(below(&[("a", None), (path, Some(1))])), "transfer.name", "{path:?}");
        }
        assert_eq!(code(below(&[(&"x".repeat(MAX_PATH + 1), Some(1))])), "transfer.name");
        // What is a path to others is a name here.
        let list = below(&[(r"..\..\x", Some(1)), (r"C:\y", Some(1))]).unwrap();
        assert_eq!(list.places().unwrap(), ["x", "y"].map(PathBuf::from));
        assert!(below(&[(r"a\..", Some(1))]).unwrap().places().is_err());
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for paths in [
            // Nothing it could be in, in a file, before its directory, twice.
            &[("a/b", Some(1))][..],
            &[("a", Some(1)), ("a/b", Some(1))],
            &[("a/b", Some(1)), ("a", None)],
            &[("a", Some(1)), ("a", Some(1))],
            &[("a", None), ("a", None)],
            &[("a", Some(varint::MAX)), ("b", Some(1))],
        ] {
            assert_eq!(code(below(paths)), "transfer.protocol", "{paths:?}");
        }
        let inside = List::new(entry("f", Some(1)), vec![entry("a", Some(1))]);
        assert_eq!(code(inside), "transfer.protocol");
        let set_uid = Entry { mode: 0o4755, ..entry("f", Some(1)) };
        assert_eq!(code(List::new(set_uid, Vec::new())), "transfer.protocol");
        let sized = Entry { size: 1, ..entry("d", None) };
        assert_eq!(code(List::new(sized, Vec::new())), "transfer.protocol");
    }

    proptest::proptest! {
        #[test]
        fn of_any_bytes_nothing_leads_out(at: u8, with: u8, cut: u8) {
            let list = below(&[("a", None), ("a/b", Some(3)), ("c", Some(1))]).unwrap();
            let mut bytes = vec![4];
            bytes.extend_from_slice(&list.encode());
            let at = usize::from(at) % bytes.len();
            bytes[at] = with;
            fuzz(&bytes);
            bytes[at] = b"/.\\\0"[usize::from(with) % 4];
            fuzz(&bytes);
            bytes.truncate(usize::from(cut) % (bytes.len() + 1));
            fuzz(&bytes);
        }
    }
}
