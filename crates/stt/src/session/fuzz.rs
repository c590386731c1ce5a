//! What the fuzzer calls (`fuzz/`): control records, and words at the end.

use bytes::Bytes;

use super::{
    control::{Control, Parser},
    labelled::GivenUp,
};
use crate::{CloseReason, stream::reassembly::Reassembly};

/// The records of a control stream don't depend on how it was cut, and each can be applied.
///
/// # Panics
/// When they do.
pub fn control(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let pieces = records(stream, usize::from(*cut).max(1));
    assert_eq!(pieces, records(stream, stream.len().max(1)));
    let control = Control::default();
    for (kind, body) in pieces.0 {
        if let Some(end) = GivenUp::parse(&body) {
            let mut again = Vec::new();
            end.put(&mut again);
            assert_eq!(GivenUp::parse(&again), Some(end));
        }
        let _ = control.apply(kind, body);
    }
    control.take_records();
    assert!(control.take_records().is_empty());
}

/// What a peer says at the end is bounded, whatever it says.
///
/// # Panics
/// When it isn't.
pub fn close_reason(bytes: &[u8]) {
    let Some((code, text)) = bytes.split_first() else { return };
    let reason = CloseReason::from_wire(u64::from(*code), text);
    let (again, text) = reason.to_wire();
    assert!(text.len() <= CloseReason::MAX_TEXT);
    assert!(again == u32::from(*code) || again == 2);
    assert!(reason.to_string().len() <= CloseReason::MAX_TEXT + 100);
}

type Records = (Vec<(u64, Bytes)>, Option<&'static str>);

/// The records, and what was wrong with the one after them.
fn records(stream: &[u8], cut: usize) -> Records {
    let (mut parser, mut bytes, mut out) = (Parser::default(), Reassembly::default(), Vec::new());
    for (number, piece) in stream.chunks(cut).enumerate() {
        let offset = u64::try_from(number * cut).unwrap_or_default();
        bytes.insert(offset, Bytes::copy_from_slice(piece));
        loop {
            match parser.next(&mut bytes) {
                Ok(Some(record)) => out.push(record),
                Ok(None) => break,
                Err(rule) => return (out, Some(rule)),
            }
        }
    }
    (out, None)
}
