//! The bearer token.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use stc::Cause;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::GatewayError;

/// Longest token, in bytes.
const MAX: u64 = 1024;
/// Shortest token, in bytes: less can be guessed.
const MIN: usize = 16;

/// What a caller shows to prove that it may call: `authorization: Bearer TOKEN`.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A new one, of 32 random bytes.
    ///
    /// # Errors
    /// [`GatewayError::Internal`] without randomness.
    pub fn generate() -> Result<Self, GatewayError> {
        let key =
            stc::Key::generate().map_err(|error| GatewayError::Internal { cause: error.into() })?;
        Ok(Self(key.to_printable()))
    }

    /// The token in the file `path`. If there is no such file, a new one is made, readable for its
    /// owner only.
    ///
    /// # Errors
    /// [`GatewayError::TokenExposed`] if others may read the file; [`GatewayError::Token`] if it
    /// cannot be read or made, or holds fewer than 16 or more than 1,024 bytes, or others than
    /// printable ones.
    pub fn load_or_create(path: &Path) -> Result<Self, GatewayError> {
        let failed =
            |error: io::Error| GatewayError::Token { path: path.to_owned(), cause: error.into() };
        match fs::File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Self::generate()?;
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut file = options.open(path).map_err(failed)?;
                file.write_all(token.0.as_bytes())
                    .and_then(|()| file.write_all(b"\n"))
                    .and_then(|()| file.sync_all())
                    .map_err(failed)?;
                Ok(token)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The token in the file `path`.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`], also if there is no such file.
    pub fn load(path: &Path) -> Result<Self, GatewayError> {
        match fs::File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) => Err(GatewayError::Token { path: path.to_owned(), cause: error.into() }),
        }
    }

    fn read(path: &Path, file: fs::File) -> Result<Self, GatewayError> {
        let failed = |cause: Cause| GatewayError::Token { path: path.to_owned(), cause };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = file.metadata().map_err(|error| failed(error.into()))?;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(GatewayError::TokenExposed { path: path.to_owned() });
            }
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX + 1).read_to_string(&mut text).map_err(|error| failed(error.into()))?;
        let text = Zeroizing::new(text.trim().to_owned());
        if text.len() < MIN || text.len() as u64 >= MAX {
            return Err(failed(Cause::text("a token has 16 to 1,023 bytes")));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(failed(Cause::text("a token consists of printable ASCII characters")));
        }
        Ok(Self(text))
    }

    /// Its text, to be sent along with a call.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a header `authorization` shows it. Takes as long for every wrong one of its length.
    pub(crate) fn is_shown_by(&self, header: &[u8]) -> bool {
        let Some((scheme, token)) = header.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && token.ct_eq(self.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = Token::load_or_create(&path).unwrap();
        assert_eq!(Token::load_or_create(&path).unwrap().reveal(), token.reveal());
        assert_eq!(Token::load(&path).unwrap().reveal(), token.reveal());
        assert!(matches!(Token::load(&dir.path().join("none")), Err(GatewayError::Token { .. })));
        assert!(token.is_shown_by(format!("Bearer {}", token.reveal()).as_bytes()));
        for wrong in ["", "Bearer", "Bearer ", "Bearer x", token.reveal()] {
            assert!(!token.is_shown_by(wrong.as_bytes()), "{wrong}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let refused = Token::load_or_create(&path);
            assert!(matches!(refused, Err(GatewayError::TokenExposed { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_short_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).unwrap().write_all(b"secret\n").unwrap();
        assert!(matches!(Token::load_or_create(&path), Err(GatewayError::Token { .. })));
    }
}
