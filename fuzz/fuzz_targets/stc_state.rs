//! Saved states and printed keys.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stc::{Context, Key, State};

static CONTEXT: LazyLock<Context> =
    LazyLock::new(|| Context::from_key(Key::from_bytes([1; 32])).expect("a context"));

fuzz_target!(|data: &[u8]| {
    if let Ok(state) = State::from_bytes(data) {
        assert_eq!(state.to_bytes(), data);
        assert!(CONTEXT.load_state(&state).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = Key::parse(text)
    {
        assert_eq!(key.to_printable().as_str(), text.trim().to_lowercase());
    }
});
