//! The last bytes of a sealed blob: everything needed to read the rest.

use stc::{
    Key,
    aead::{AeadKey, NONCE_LEN, Suite},
    kdf,
};

use super::{Layout, MAX_LEN, Role, nonce, padding::padded_len};
use crate::{ContentId, Damage, DamagedPart};

/// Bytes of a footer.
pub(crate) const FOOTER_LEN: usize = 100;

const SALT: usize = 32;
/// Length (8), content id (32), tag (16).
const SEALED: usize = 56;
/// What every blob of this version ends with.
const MAGIC: [u8; 8] = *b"STTBLOB\x01";
/// Chunks of 4 KiB to 16 MiB can be read.
const CHUNK_LOG2_RANGE: std::ops::RangeInclusive<u8> = 12..=24;

/// The part of a footer that stands in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clear {
    pub(super) salt: [u8; SALT],
    pub(super) suite: Suite,
    pub(super) chunk_log2: u8,
}

/// What the sealed part says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    pub(super) len: u64,
    pub(super) id: ContentId,
}

impl Clear {
    /// The key of the one blob with this salt and form.
    pub(super) fn key(&self, root: &Key) -> Option<AeadKey> {
        let form = [self.suite.id(), self.chunk_log2];
        let key = kdf::derive(root, "stt-store blob v1", &[&self.salt, &form]);
        AeadKey::new(self.suite, &key)
    }
}

/// The bytes of a footer; `None` if the cipher refuses, which it does not for so few bytes.
pub(super) fn encode(clear: &Clear, key: &AeadKey, inner: &Inner) -> Option<[u8; FOOTER_LEN]> {
    let mut sealed = [0; 40];
    let (len, id) = sealed.split_at_mut(8);
    len.copy_from_slice(&inner.len.to_be_bytes());
    id.copy_from_slice(inner.id.as_bytes());
    let tag = key.seal(footer_nonce(), &[], &mut sealed).ok()?;
    let mut out = Vec::with_capacity(FOOTER_LEN);
    out.extend(clear.salt);
    out.extend(sealed);
    out.extend(tag);
    out.extend([clear.suite.id(), clear.chunk_log2, 0, 0]);
    out.extend(MAGIC);
    out.try_into().ok()
}

/// Reads what [`encode`] wrote, without any key.
pub(super) fn parse(bytes: &[u8]) -> Result<(Clear, [u8; SEALED]), Damage> {
    let bytes: &[u8; FOOTER_LEN] =
        bytes.try_into().map_err(|_| Damage::TooShort(DamagedPart::Whole))?;
    let (salt, rest) =
        bytes.split_first_chunk::<SALT>().ok_or(Damage::TooShort(DamagedPart::Whole))?;
    let (sealed, rest) =
        rest.split_first_chunk::<SEALED>().ok_or(Damage::TooShort(DamagedPart::Whole))?;
    let (form, magic) =
        rest.split_first_chunk::<4>().ok_or(Damage::TooShort(DamagedPart::Whole))?;
    if magic != MAGIC {
        return Err(Damage::Malformed(DamagedPart::Footer));
    }
    let [suite, chunk_log2, 0, 0] = *form else {
        return Err(Damage::Unknown(DamagedPart::Form));
    };
    let suite = Suite::from_id(suite).ok_or(Damage::Unknown(DamagedPart::Cipher))?;
    if !CHUNK_LOG2_RANGE.contains(&chunk_log2) {
        return Err(Damage::Unknown(DamagedPart::ChunkSize));
    }
    Ok((Clear { salt: *salt, suite, chunk_log2 }, *sealed))
}

/// Opens the sealed part, and checks that the blob is as long as it says.
pub(super) fn unseal(
    clear: &Clear,
    key: &AeadKey,
    mut sealed: [u8; SEALED],
    blob_len: u64,
) -> Result<(Inner, Layout), Damage> {
    let plain = key
        .open(footer_nonce(), &[], &mut sealed)
        .map_err(|_| Damage::Unverified(DamagedPart::Footer))?;
    let (len, id) = plain.split_first_chunk::<8>().ok_or(Damage::TooShort(DamagedPart::Footer))?;
    let id = <[u8; 32]>::try_from(id).map_err(|_| Damage::TooShort(DamagedPart::Footer))?;
    let len = u64::from_be_bytes(*len);
    if len > MAX_LEN {
        return Err(Damage::Malformed(DamagedPart::Footer));
    }
    let layout = Layout::new(padded_len(len), clear.chunk_log2);
    if layout.sealed_len() != blob_len {
        let (part, expected) = (DamagedPart::Whole, layout.sealed_len());
        return Err(Damage::Length { part, have: blob_len, expected });
    }
    Ok((Inner { len, id: ContentId::from_bytes(id) }, layout))
}

fn footer_nonce() -> [u8; NONCE_LEN] {
    nonce(Role::Footer, 0)
}
