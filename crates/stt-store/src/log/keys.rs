//! The keys of a log.

use stc::{
    Key,
    aead::{AeadKey, Suite},
    kdf, random,
};

use crate::{ChamberKey, Damage, DamagedPart, StoreError, blob::hex};

/// Bytes of the record that says whose log it is.
pub(super) const RECORD_LEN: usize = 60;
const MAGIC: &[u8; 8] = b"STTDLOG\0";
const VERSION: u32 = 1;

/// What every key of one log follows from.
#[derive(Debug)]
pub(super) struct LogKeys {
    root: Key,
}

impl LogKeys {
    /// For a new log: the keys, and the record that is kept in its directory.
    pub(super) fn create(key: &ChamberKey) -> Result<(Self, Vec<u8>), StoreError> {
        let id: [u8; 16] = random::bytes()?;
        let keys = Self::of(key, &id);
        let check = kdf::derive(&keys.root, "check", &[]);
        Ok((keys, [MAGIC.as_slice(), &VERSION.to_be_bytes(), &id, check.as_bytes()].concat()))
    }

    /// For the log with this record.
    pub(super) fn open(key: &ChamberKey, record: &[u8], place: &str) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::damaged(format!("the record of the log in {place}"), what);
        let rest = record
            .strip_prefix(MAGIC)
            .ok_or_else(|| damaged(Damage::Malformed(DamagedPart::Whole)))?;
        let (version, rest) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged(Damage::TooShort(DamagedPart::Whole)))?;
        let found = u32::from_be_bytes(*version);
        if found != VERSION {
            return Err(StoreError::Version { place: place.to_owned(), found, known: VERSION });
        }
        let (id, check) = rest
            .split_first_chunk::<16>()
            .ok_or_else(|| damaged(Damage::TooShort(DamagedPart::Whole)))?;
        let check = <[u8; 32]>::try_from(check)
            .map_err(|_| damaged(Damage::Malformed(DamagedPart::Whole)))?;
        let keys = Self::of(key, id);
        // `Key` compares in constant time.
        if Key::from_bytes(check) != kdf::derive(&keys.root, "check", &[]) {
            return Err(StoreError::WrongSeed { place: place.to_owned() });
        }
        Ok(keys)
    }

    fn of(key: &ChamberKey, id: &[u8; 16]) -> Self {
        Self { root: kdf::derive(&key.log_root(), "stt-store log v1", &[id]) }
    }

    pub(super) fn segment(&self, salt: &[u8; 32]) -> Key {
        kdf::derive(&self.root, "segment", &[salt])
    }

    /// The key of the messages of one epoch in a stream of somebody else's server.
    #[cfg(feature = "jetstream")]
    pub(super) fn message(&self, salt: &[u8; 32]) -> Key {
        kdf::derive(&self.root, "message", &[salt])
    }

    /// Under which name the cursor of a consumer lies: it tells nothing about the consumer's.
    pub(super) fn cursor_file(&self, consumer: &str) -> String {
        let mut id = [0; 16];
        kdf::derive_into(&self.root, "cursor name", &[consumer.as_bytes()], &mut id);
        hex(&id)
    }

    /// The key of the cursor in the file with this name.
    pub(super) fn cursor(&self, file: &str) -> Key {
        kdf::derive(&self.root, "cursor", &[file.as_bytes()])
    }

    /// The key of a cursor that one opening of a consumer writes on somebody else's server.
    #[cfg(feature = "jetstream")]
    pub(super) fn owned_cursor(&self, file: &str, owner: &[u8; 16]) -> Key {
        kdf::derive(&self.root, "cursor on a server", &[file.as_bytes(), owner])
    }

    /// What the log of dead letters is opened with.
    pub(super) fn dead_letters(&self) -> ChamberKey {
        ChamberKey::from_key(&kdf::derive(&self.root, "dead letters", &[]))
    }
}

/// Encrypts what `out` holds from `from` on, and appends the tag. The key follows from `root`,
/// `label` and `bound`; `bound` holds random bytes drawn for this call, so it is used once.
pub(super) fn seal(
    suite: Suite,
    root: &Key,
    label: &str,
    bound: &[u8],
    out: &mut Vec<u8>,
    from: usize,
) -> Result<(), StoreError> {
    let refused = || StoreError::damaged("a record", Damage::Refused);
    let key = AeadKey::new(suite, &kdf::derive(root, label, &[bound])).ok_or_else(refused)?;
    let data = out.get_mut(from..).unwrap_or_default();
    let tag = key.seal([0; 12], &[], data).map_err(|_| refused())?;
    out.extend(tag);
    Ok(())
}

/// Decrypts `data`, which ends with its tag; `None` if it is not what was sealed.
pub(super) fn open<'a>(
    suite: Suite,
    root: &Key,
    label: &str,
    bound: &[u8],
    data: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    let key = AeadKey::new(suite, &kdf::derive(root, label, &[bound]))?;
    key.open([0; 12], &[], data).ok()
}
