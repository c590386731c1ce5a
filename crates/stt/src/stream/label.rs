//! Names of protocols (docs/streams.md, STREAM-9).

use std::fmt;

/// Names the protocol of a stream: 1 to [`Label::MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Label {
    len: u8,
    /// Zero beyond its length.
    bytes: [u8; Self::MAX],
}

impl Label {
    /// Most bytes of one.
    pub(crate) const MAX: usize = 64;

    /// `None` when there are none or too many bytes.
    pub(crate) fn new(label: &[u8]) -> Option<Self> {
        let len = u8::try_from(label.len()).ok().filter(|len| *len > 0)?;
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self { len, bytes })
    }

    pub(crate) const fn len(&self) -> u8 {
        self.len
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label(\"{self}\")")
    }
}
