//! What callers attach to files and peers.

use std::collections::HashMap;

use crate::RequestError;

/// Named values.
pub(crate) type Metadata = HashMap<String, String>;

/// Values, and bytes of all of them with their names.
const MAX: (usize, usize) = (64, 16 << 10);

/// Whether it is short enough.
pub(crate) fn check(metadata: &Metadata) -> Result<(), RequestError> {
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if metadata.len() <= MAX.0 && bytes <= MAX.1 {
        return Ok(());
    }
    let what = format!(
        "{} values of {bytes} bytes exceed {} values of {} bytes",
        metadata.len(),
        MAX.0,
        MAX.1
    );
    Err(RequestError::Invalid { field: "metadata", what })
}
