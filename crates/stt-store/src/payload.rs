//! Bytes that are to be sent or stored.

use bytes::{Bytes, BytesMut};

/// What can be sent or stored: [`Bytes`], which are shared and not copied, or anything of bytes or
/// text, owned or borrowed.
///
/// Calls that keep bytes take this. What is owned or shared is taken as it is, what is borrowed is
/// copied once; a short message is copied next to its length, whatever it is in.
pub trait Payload: Send + Sync {
    /// The bytes.
    fn as_slice(&self) -> &[u8];

    /// The bytes as shared ones, copied if they are borrowed.
    fn into_bytes(self) -> Bytes;
}

impl Payload for Bytes {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn into_bytes(self) -> Bytes {
        self
    }
}

impl Payload for &Bytes {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn into_bytes(self) -> Bytes {
        self.clone()
    }
}

macro_rules! borrowed {
    ($($type:ty),*) => {$(
        impl Payload for $type {
            fn as_slice(&self) -> &[u8] {
                self.as_ref()
            }

            fn into_bytes(self) -> Bytes {
                Bytes::copy_from_slice(self.as_ref())
            }
        }
    )*};
}

macro_rules! owned {
    ($($type:ty),*) => {$(
        impl Payload for $type {
            fn as_slice(&self) -> &[u8] {
                self.as_ref()
            }

            fn into_bytes(self) -> Bytes {
                self.into()
            }
        }
    )*};
}

borrowed!(&[u8], &str, &Vec<u8>, &String);
owned!(Vec<u8>, String, Box<[u8]>, BytesMut);

impl<const N: usize> Payload for &[u8; N] {
    fn as_slice(&self) -> &[u8] {
        *self
    }

    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_bytes_is_the_same_message() {
        fn both(payload: impl Payload) -> (Vec<u8>, Bytes) {
            (payload.as_slice().to_vec(), payload.into_bytes())
        }
        let (text, vec, shared) = ("ab".to_owned(), b"ab".to_vec(), Bytes::from_static(b"ab"));
        for (seen, taken) in [
            both("ab"),
            both(b"ab"),
            both(&b"ab"[..]),
            both(&vec),
            both(&text),
            both(&shared),
            both(vec.clone().into_boxed_slice()),
            both(vec.clone()),
            both(text.clone()),
            both(shared.clone()),
        ] {
            assert_eq!((seen.as_slice(), &taken[..]), (&b"ab"[..], &b"ab"[..]));
        }
        assert_eq!(both(&shared).1.as_ptr(), shared.as_ptr(), "shared bytes are not copied");
    }
}
