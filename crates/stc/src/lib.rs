//! STC: cryptography on vetted primitives, without async and without sockets.
//!
//! | look for | in |
//! |---|---|
//! | a 32-byte secret, its printable form | [`Key`] |
//! | deriving one key from another | [`kdf`] |
//! | authenticated encryption in place | [`aead`] |
//! | turning a phrase into a key | [`stretch`] |
//! | stable codes of errors | [`Coded`] |

pub mod aead;
mod coded;
pub mod kdf;
mod key;
pub mod random;
pub mod stretch;

pub use coded::Coded;
pub use key::{Key, KeyParseError};
