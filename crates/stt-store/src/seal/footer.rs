//! The last bytes of a sealed blob: everything needed to read the rest.

use stc::{
    Key,
    aead::{AeadKey, NONCE_LEN, Suite},
    kdf,
};

use super::{Layout, MAX_LEN, Role, nonce, padding::padded_len};
use crate::ContentId;

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
pub(super) fn parse(bytes: &[u8]) -> Result<(Clear, [u8; SEALED]), &'static str> {
    let bytes: &[u8; FOOTER_LEN] = bytes.try_into().map_err(|_| "it is too short")?;
    let (salt, rest) = bytes.split_first_chunk::<SALT>().ok_or("it is too short")?;
    let (sealed, rest) = rest.split_first_chunk::<SEALED>().ok_or("it is too short")?;
    let (form, magic) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
    if magic != MAGIC {
        return Err("its end is not the end of a sealed blob");
    }
    let [suite, chunk_log2, 0, 0] = *form else {
        return Err("it has a form that this program does not know");
    };
    let suite = Suite::from_id(suite).ok_or("it has a cipher that this program does not know")?;
    if !CHUNK_LOG2_RANGE.contains(&chunk_log2) {
        return Err("it has chunks of a size that this program does not read");
    }
    Ok((Clear { salt: *salt, suite, chunk_log2 }, *sealed))
}

/// Opens the sealed part, and checks that the blob is as long as it says.
pub(super) fn unseal(
    clear: &Clear,
    key: &AeadKey,
    mut sealed: [u8; SEALED],
    blob_len: u64,
) -> Result<(Inner, Layout), &'static str> {
    let plain =
        key.open(footer_nonce(), &[], &mut sealed).map_err(|_| "its footer does not verify")?;
    let (len, id) = plain.split_first_chunk::<8>().ok_or("its footer is too short")?;
    let id = <[u8; 32]>::try_from(id).map_err(|_| "its footer is too short")?;
    let len = u64::from_be_bytes(*len);
    if len > MAX_LEN {
        return Err("its footer states an impossible length");
    }
    let layout = Layout::new(padded_len(len), clear.chunk_log2);
    if layout.sealed_len() != blob_len {
        return Err("it is longer or shorter than its footer says");
    }
    Ok((Inner { len, id: ContentId::from_bytes(id) }, layout))
}

fn footer_nonce() -> [u8; NONCE_LEN] {
    nonce(Role::Footer, 0)
}
