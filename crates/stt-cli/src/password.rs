//! Where passwords come from: never from the command line, which other users can read.

use std::{fs, io::IsTerminal, path::Path};

use stc::Seed;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use zeroize::Zeroizing;

use crate::{error::CliError, path_text::shown, terminal};

/// Environment variable that holds the password.
const VARIABLE: &str = "STT_PASSWORD";

/// A secret file without its line ending.
pub(crate) fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut bytes = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| CliError::file("could not read", path, &error))?;
    without_line_end(&mut bytes);
    if bytes.is_empty() {
        return Err(CliError::new("password.empty", format!("{} is empty", shown(path))));
    }
    Ok(bytes)
}

fn without_line_end(bytes: &mut Zeroizing<Vec<u8>>) {
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
}

/// A new secret as it is used: text in Unicode's composed form (NFC, as RFC 8265 asks), because
/// keyboards and systems differ in how they write the same letters. Other bytes stay as they are.
pub(crate) fn composed(bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    match std::str::from_utf8(&bytes) {
        Ok(text) if !is_nfc(text) => {
            Zeroizing::new(Zeroizing::new(text.nfc().collect::<String>()).as_bytes().to_vec())
        }
        _ => bytes,
    }
}

/// The forms in which a secret may have been used, each once: composed, as given, decomposed.
pub(crate) fn forms(bytes: &Zeroizing<Vec<u8>>) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = vec![composed(bytes.clone()), bytes.clone()];
    if let Ok(text) = std::str::from_utf8(bytes) {
        let decomposed = Zeroizing::new(text.nfd().collect::<String>());
        forms.push(Zeroizing::new(decomposed.as_bytes().to_vec()));
    }
    let mut once = Vec::<Zeroizing<Vec<u8>>>::new();
    for form in forms {
        if !once.contains(&form) {
            once.push(form);
        }
    }
    once
}

/// The seed in a file, as `stt seed new --out` writes it, or a phrase.
pub(crate) fn seed(path: &Path) -> Result<Seed, CliError> {
    from_file(path).map(|bytes| Seed::from(composed(bytes).as_slice()))
}

/// From the file, or from [`VARIABLE`]; `None` when there is neither.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
    if let Some(path) = file {
        return from_file(path).map(Some);
    }
    match std::env::var_os(VARIABLE) {
        Some(value) if !value.is_empty() => {
            let mut bytes = Zeroizing::new(value.into_encoded_bytes());
            without_line_end(&mut bytes);
            Ok(Some(bytes))
        }
        _ => Ok(None),
    }
}

/// Asks a person; twice for a new password, because nothing opens what a typing error sealed.
pub(crate) fn ask(prompt: &str, new: bool) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let ask = |prompt: String| {
        terminal::ask(&prompt).map_err(|_| {
            let why = if std::io::stdin().is_terminal() {
                "the password could not be read"
            } else {
                "there is no terminal to ask for the password"
            };
            CliError::new("password.missing", why)
        })
    };
    let password = ask(format!("{prompt}: "))?;
    if password.is_empty() {
        return Err(CliError::new("password.empty", "the password is empty"));
    }
    if new && *ask(format!("{prompt}, again: "))? != *password {
        return Err(CliError::new("password.mismatch", "the two passwords differ"));
    }
    Ok(Zeroizing::new(password.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_letters_are_one_secret_and_other_bytes_are_left_alone() {
        let of = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
        let (short, long) = (of("caf\u{e9}".as_bytes()), of("cafe\u{301}".as_bytes()));
        assert_eq!(composed(long.clone()), short);
        assert_eq!(composed(short.clone()), short);
        assert_eq!(forms(&short), [short.clone(), long.clone()]);
        assert_eq!(forms(&long), [short, long]);
        assert_eq!(forms(&of(b"plain")), [of(b"plain")]);
        assert_eq!(forms(&of(b"\xff")), [of(b"\xff")]);
    }
}
