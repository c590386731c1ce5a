//! Paths as people and as machines read them. A path may hold any bytes.

use std::path::Path;

use serde_json::Value;
use stt::transfer::printable;

/// For a line of text.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Adds a path to a JSON object: as text in `field`, and, where the text cannot hold it, its bytes
/// in hexadecimal digits in `{field}_bytes`.
pub(crate) fn with_path(mut object: Value, field: &str, path: &Path) -> Value {
    if let Some(fields) = object.as_object_mut() {
        if path.to_str().is_none() {
            let bytes = path.as_os_str().as_encoded_bytes();
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            fields.insert(format!("{field}_bytes"), digits.into());
        }
        fields.insert(field.to_owned(), path.to_string_lossy().into());
    }
    object
}
