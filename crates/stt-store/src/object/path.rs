//! Names and heads of objects.

use object_store::path::Path;

use crate::{BlobName, blob::hex};

/// The first bytes of an object that stands for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The blob's bytes follow.
    Whole,
    /// The blob's `len` bytes are in a data object of their own.
    Pointer { len: u64, data: [u8; 16] },
}

impl Head {
    const WHOLE: u8 = 1;
    const POINTER: u8 = 2;
    /// Bytes before those of a whole blob.
    pub(super) const WHOLE_LEN: u64 = 1;
    /// Bytes of a pointer.
    pub(super) const POINTER_LEN: u64 = 25;

    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Whole => vec![Self::WHOLE],
            Self::Pointer { len, data } => {
                [&[Self::POINTER][..], &len.to_le_bytes(), &data].concat()
            }
        }
    }

    /// The head of an object, given its first bytes, 25 at least if it has so many.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            Self::WHOLE => Some(Self::Whole),
            Self::POINTER => {
                let (len, data) = rest.split_first_chunk::<8>()?;
                let data = data.try_into().ok()?;
                Some(Self::Pointer { len: u64::from_le_bytes(*len), data })
            }
            _ => None,
        }
    }
}

/// The names of objects below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    prefix: String,
}

impl Paths {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { prefix }
    }

    pub(super) fn blobs(&self) -> Path {
        Path::from(format!("{}b", self.prefix))
    }

    pub(super) fn all_data(&self) -> Path {
        Path::from(format!("{}d", self.prefix))
    }

    /// The suffix sorts before every digit, so that objects are ordered as names are.
    pub(super) fn blob(&self, name: &BlobName) -> Path {
        Path::from(format!("{}b/{name}.b", self.prefix))
    }

    /// What comes before every blob whose name starts with `prefix`, and after all smaller ones.
    pub(super) fn before(&self, prefix: &[u8]) -> Path {
        Path::from(format!("{}b/{}", self.prefix, hex(prefix)))
    }

    pub(super) fn data(&self, data: &[u8; 16]) -> Path {
        Path::from(format!("{}d/{}", self.prefix, hex(data)))
    }

    /// The blob that an object stands for.
    pub(super) fn parse(path: &Path) -> Option<BlobName> {
        BlobName::from_hex(path.filename()?.strip_suffix(".b")?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(bytes: &[u8]) -> BlobName {
        BlobName::new(&[bytes]).unwrap()
    }

    proptest! {
        #[test]
        fn objects_are_ordered_as_names_are(
            one in prop::collection::vec(any::<u8>(), 1..5),
            two in prop::collection::vec(any::<u8>(), 1..5),
        ) {
            let paths = Paths::new("/some/where/");
            let order = paths.blob(&name(&one)).as_ref().cmp(paths.blob(&name(&two)).as_ref());
            prop_assert_eq!(order, one.cmp(&two));
            let after = paths.before(&two).as_ref() < paths.blob(&name(&one)).as_ref();
            prop_assert_eq!(after, one >= two);
            prop_assert_eq!(Paths::parse(&paths.blob(&name(&one))), Some(name(&one)));
        }

        #[test]
        fn no_head_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(head @ Head::Pointer { .. }) = Head::decode(&bytes) {
                prop_assert_eq!(head.encode(), bytes);
            }
        }
    }
}
