//! What people write and what peers call things: addresses, ids, keys, names of endpoints and of files,
//! words at the end of a session.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stc::Key;
use stt::{
    NodeId, SessionId,
    endpoints::EndpointId,
    transfer::{printable, safe_name},
};

fuzz_target!(|data: &[u8]| {
    stt::fuzz::close_reason(data);
    if let Ok(id) = EndpointId::new(data) {
        assert_eq!(id.as_bytes(), data);
        assert!(id.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~')));
    }
    let text = String::from_utf8_lossy(data);
    stt::fuzz::address(&text);
    if let Ok(id) = text.parse::<NodeId>() {
        assert!(id.to_string().parse().is_ok_and(|again: NodeId| again == id));
    }
    if let Ok(id) = text.parse::<SessionId>() {
        assert!(id.to_string().parse().is_ok_and(|again: SessionId| again == id));
    }
    if let Ok(key) = Key::parse(&text) {
        assert!(Key::parse(&key.to_printable()).is_ok_and(|again| again == key));
    }
    if let Some(name) = safe_name(&text) {
        assert!(!name.starts_with('.') && name.len() <= 255 && !name.contains(['/', '\\', '\0']));
        assert_eq!(safe_name(&name), Some(name));
    }
    let shown = printable(&text);
    assert!(!shown.contains(char::is_control));
    assert_eq!(printable(&shown), shown);
});
