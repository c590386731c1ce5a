//! One slot: everything that depends on its key.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{Header, MAX_SLOTS, OpenError, header::FIXED_LEN};
use crate::{
    Key,
    aead::{AeadKey, Forged, Suite, TAG_LEN},
    kdf,
};

/// Bytes of a key commitment.
const COMMITMENT_LEN: usize = 32;
/// Bytes of an opened box: envelope key, content length, kind, seven zeros.
const BOX_LEN: usize = 48;
/// Bytes of a slot in the header.
pub(crate) const SLOT_LEN: usize = COMMITMENT_LEN + BOX_LEN + TAG_LEN;

/// Content length of a region that is all content and ends where the envelope does.
const WHOLE_REGION: u64 = u64::MAX;

/// What kind of content a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bytes,
    Text,
}

/// What the box of a slot says about its region.
pub(crate) struct Contents {
    /// Shared by the real slots of an envelope; makes the seal.
    pub(crate) envelope_key: Key,
    /// Bytes of content; the rest of the region is padding. `None`: there is no padding.
    pub(crate) len: Option<u64>,
    pub(crate) kind: Kind,
}

/// The one-time key of a slot.
///
/// A slot that holds nothing is made by the same code from a key that nobody has.
pub(crate) struct Slot {
    key: Key,
    suite: Suite,
}

/// A key used once needs no nonce.
const ONCE: [u8; 12] = [0; 12];

impl Slot {
    /// The slot that belongs to a root key, a stretched password and context data in this envelope.
    pub(crate) fn new(
        root: &Key,
        password: Option<&Key>,
        context_digest: &[u8; 32],
        fixed: &[u8; FIXED_LEN],
        suite: Suite,
    ) -> Self {
        let password: &[u8] = password.map_or(&[], |key| key.as_bytes());
        let key = kdf::derive(root, "stc v1 slot", &[password, context_digest, fixed]);
        Self { key, suite }
    }

    /// A slot that nobody can open.
    pub(crate) const fn unopenable(throwaway: Key, suite: Suite) -> Self {
        Self { key: throwaway, suite }
    }

    fn subkey(&self, label: &str) -> Key {
        kdf::derive(&self.key, label, &[])
    }

    fn cipher(&self, label: &str) -> Result<AeadKey, Forged> {
        AeadKey::new(self.suite, &self.subkey(label)).ok_or(Forged)
    }

    /// The commitment to the key. It is a keyed BLAKE3 output of 32 bytes: finding two keys with
    /// one commitment is finding a collision of BLAKE3.
    pub(super) fn commitment(&self) -> [u8; COMMITMENT_LEN] {
        *self.subkey("stc v1 commitment").as_bytes()
    }

    /// The cipher of the region.
    pub(crate) fn region(&self) -> Result<AeadKey, Forged> {
        self.cipher("stc v1 region")
    }

    /// The slot's MAC over the digest of the whole envelope.
    pub(crate) fn trailer(&self, digest: &[u8; 32]) -> [u8; 32] {
        *kdf::derive(&self.key, "stc v1 trailer", &[digest]).as_bytes()
    }

    /// The bytes of the slot in the header.
    pub(crate) fn seal(&self, contents: &Contents) -> Result<[u8; SLOT_LEN], Forged> {
        let mut sealed = Zeroizing::new([0; BOX_LEN]);
        let kind = match contents.kind {
            Kind::Bytes => 0_u8,
            Kind::Text => 1,
        };
        let parts = contents
            .envelope_key
            .as_bytes()
            .iter()
            .copied()
            .chain(contents.len.unwrap_or(WHOLE_REGION).to_be_bytes())
            .chain([kind]);
        for (to, from) in sealed.iter_mut().zip(parts) {
            *to = from;
        }
        let tag = self.cipher("stc v1 box")?.seal(ONCE, &[], sealed.as_mut())?;
        let mut out = [0; SLOT_LEN];
        for (to, from) in
            out.iter_mut().zip(self.commitment().iter().chain(sealed.iter()).chain(&tag))
        {
            *to = *from;
        }
        Ok(out)
    }

    /// Index of the slot of `header` that commits to this key. All of them are looked at.
    pub(crate) fn find(&self, header: &Header) -> Option<usize> {
        let mine = self.commitment();
        let mut found = u32::MAX;
        for (slot, index) in header.slots.iter().zip(0..u32::from(MAX_SLOTS)).rev() {
            let same: Choice =
                slot.first_chunk::<COMMITMENT_LEN>().map_or(Choice::from(0), |c| c.ct_eq(&mine));
            found.conditional_assign(&index, same);
        }
        usize::try_from(found).ok().filter(|index| *index < header.slots.len())
    }

    /// Opens the box of slot `index`, whose commitment was checked by [`Self::find`].
    pub(crate) fn open(&self, header: &Header, index: usize) -> Result<Contents, OpenError> {
        let slot = header.slots.get(index).ok_or(OpenError::NothingOpens)?;
        let mut sealed: Zeroizing<Vec<u8>> =
            Zeroizing::new(slot.iter().skip(COMMITMENT_LEN).copied().collect());
        let opened = self
            .cipher("stc v1 box")
            .and_then(|cipher| cipher.open(ONCE, &[], &mut sealed).map(|opened| &*opened))
            .map_err(|_| OpenError::NothingOpens)?;
        let opened = <&[u8; BOX_LEN]>::try_from(opened).map_err(|_| OpenError::Content)?;
        let (envelope_key, rest) = opened.split_first_chunk::<32>().ok_or(OpenError::Content)?;
        let (len, rest) = rest.split_first_chunk::<8>().ok_or(OpenError::Content)?;
        let kind = match rest {
            [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Bytes,
            [1, 0, 0, 0, 0, 0, 0, 0] => Kind::Text,
            _ => return Err(OpenError::Content),
        };
        let len = match (u64::from_be_bytes(*len), header.capacity()) {
            (WHOLE_REGION, None) => None,
            (len, Some(capacity)) if len <= capacity => Some(len),
            _ => return Err(OpenError::Content),
        };
        Ok(Contents { envelope_key: Key::from_bytes(*envelope_key), len, kind })
    }
}

/// The last 32 bytes of an envelope. Trailers cannot cover one another; this covers them all, under
/// a key that every real slot holds.
pub(crate) fn seal_of(envelope_key: &Key, digest: &[u8; 32], trailers: &[u8]) -> [u8; 32] {
    *kdf::derive(envelope_key, "stc v1 seal", &[digest, trailers]).as_bytes()
}

/// Nonce of chunk `index`: STREAM (IACR ePrint 2015/189), with an empty prefix because the key is
/// used for one region only.
pub(crate) fn chunk_nonce(index: u64, last: bool) -> [u8; 12] {
    let [a, b, c, d] = u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes();
    [0, 0, 0, 0, 0, 0, 0, a, b, c, d, u8::from(last)]
}
