//! Entry points of the fuzz targets (`fuzz/`): control records, sequences of headers of protocol
//! streams, and the reason in a CLOSE.

use bytes::Bytes;

use super::{
    control::{Control, Parser},
    labelled::{GivenUp, LabelledTable},
    resets::Reset,
};
use crate::{
    CloseReason,
    limits::SessionBudget,
    stream::{header::Header, reassembly::Reassembly},
};

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
        if let Some(reset) = Reset::parse(&body) {
            let mut again = Vec::new();
            reset.put(&mut again);
            assert_eq!(Reset::parse(&again), Some(reset));
        }
        let _ = control.apply(kind, body);
    }
    control.take_records();
    assert!(control.take_records().is_empty());
}

/// Headers of protocols' streams, one after the other: there are never more streams than there may
/// be, of one label never more than its share, and none that the peer made up for this side.
///
/// The first byte says what each header meets: whether its label is handled, and whether the oldest
/// stream is over by then.
///
/// # Panics
/// When they are.
pub fn labels(bytes: &[u8]) {
    const MAX: usize = 8;
    let Some((choices, mut left)) = bytes.split_first() else { return };
    let mut table = LabelledTable::new(false, MAX, 100, SessionBudget::boundless());
    for turn in 0..64u32 {
        let Ok(Some((header, len))) = Header::parse(left) else { return };
        left = left.get(len..).unwrap_or_default();
        let Header::Labelled { label, id } = header else { continue };
        let choice = choices.rotate_left(turn % 8);
        if let Some(oldest) = table.all().first().filter(|_| choice & 2 == 2) {
            oldest.inbound.discard();
            oldest.outbound.acknowledged();
        }
        let handled = choice & 1 == 1;
        if let Ok((stream, is_new)) = table.meet((label, id), u64::from(turn), handled) {
            assert!(stream.id == id && is_new && handled && id % 2 == 1);
            stream.inbound.start_mixed();
        }
        let all = table.all();
        let of_label = |stream: &&std::sync::Arc<crate::stream::StreamShared>| {
            stream.labelled.as_ref().is_some_and(|part| part.label == label)
        };
        assert!(all.len() <= MAX && all.iter().filter(of_label).count() <= MAX / 2);
    }
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
