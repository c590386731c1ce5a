//! What the fuzzer calls (`fuzz/`): headers of streams, and the way from pieces in any order back
//! to messages.

use bytes::Bytes;
use stt_transport::internal::WakerList;

use super::{
    header::Header,
    reassembly::Reassembly,
    recv_queue::{End, Inbound, Taken},
};

/// A header that parses is no longer than what it was read from, and comes back.
///
/// # Panics
/// When it doesn't.
pub fn header(bytes: &[u8]) {
    let Ok(Some((header, length))) = Header::parse(bytes) else { return };
    let mut again = Vec::new();
    header.put(&mut again);
    assert!(again.len() <= length && length <= bytes.len());
    assert_eq!(Header::parse(&again), Ok(Some((header, again.len()))));
}

/// Pieces of four bytes of input: offset (2), length, and how many bytes are taken afterwards.
/// What comes out is what lies at that place of the stream, without gap or repetition, and all of
/// it once the holes are filled.
///
/// # Panics
/// When it isn't.
pub fn reassembly(bytes: &[u8]) {
    let at = |offset: usize| offset.to_le_bytes()[0] ^ offset.to_le_bytes()[1];
    let data: Vec<u8> = (0..=0xffff + 0xff).map(at).collect();
    let mut assembly = Reassembly::default();
    let mut there = vec![false; data.len() + 1];
    let mut taken = 0;
    let insert = |assembly: &mut Reassembly, from: usize, to: usize| {
        let piece = data.get(from..to).unwrap_or_default();
        assembly.insert(u64::try_from(from).unwrap_or_default(), Bytes::copy_from_slice(piece));
    };
    let mut farthest = 0;
    for step in bytes.chunks_exact(4) {
        let [a, b, length, wanted] = *step else { continue };
        let from = usize::from(u16::from_be_bytes([a, b]));
        let to = from + usize::from(length);
        insert(&mut assembly, from, to);
        there.get_mut(from..to).unwrap_or_default().fill(true);
        farthest = farthest.max(to);
        let ready = there.iter().skip(taken).take_while(|there| **there).count();
        assert_eq!(assembly.ready_len(), ready);
        if let Some(piece) = assembly.take_piece(usize::from(wanted)) {
            assert_eq!(Some(&piece[..]), data.get(taken..taken + piece.len()));
            taken += piece.len();
        }
    }
    insert(&mut assembly, 0, farthest);
    let rest = assembly.take_exact(farthest - taken);
    assert_eq!(rest.as_deref(), data.get(taken..farthest));
    assert_eq!(assembly.ready_len(), 0);
}

/// The messages of a stream don't depend on how it was cut and in which order the pieces came.
///
/// The first byte says how it is cut, the second one in which order the pieces come.
///
/// # Panics
/// When they do.
pub fn inbound(bytes: &[u8]) {
    let [cut, order, stream @ ..] = bytes else { return };
    let whole = Inbound::new(1, 1 << 16, crate::limits::SessionBudget::boundless());
    whole.start(false);
    let pieces = Inbound::new(1, 1 << 16, crate::limits::SessionBudget::boundless());
    assert!(whole.feed(0, Bytes::copy_from_slice(stream), &mut WakerList::default()).is_ok());
    whole.end(End::Finished);
    let size = usize::from(*cut).max(1);
    let mut cuts: Vec<_> = stream.chunks(size).enumerate().collect();
    let places = cuts.len().max(1);
    cuts.rotate_left(usize::from(*order) % places);
    if order % 2 == 1 {
        cuts.reverse();
    }
    let mut got = Vec::new();
    let mut end = None;
    for (number, piece) in cuts {
        let offset = u64::try_from(number * size).unwrap_or_default();
        assert!(
            pieces.feed(offset, Bytes::copy_from_slice(piece), &mut WakerList::default()).is_ok()
        );
        if number % 3 == 0 {
            pieces.start(false);
            end = end.or_else(|| take(&pieces, &mut got));
        }
    }
    pieces.start(false);
    end = end.or_else(|| take(&pieces, &mut got));
    pieces.end(End::Finished);
    end = end.or_else(|| take(&pieces, &mut got));
    let mut expected = Vec::new();
    let expected_end = take(&whole, &mut expected);
    assert_eq!(got, expected);
    assert_eq!(end, expected_end);
}

/// Takes what is there. How it ended, if it did.
fn take(inbound: &Inbound, out: &mut Vec<Bytes>) -> Option<Result<(), crate::StreamError>> {
    loop {
        match inbound.take_message().0 {
            Taken::Got(message) => out.push(message),
            Taken::Finished => return Some(Ok(())),
            Taken::Failed(error) => return Some(Err(error)),
            Taken::Wait => return None,
        }
    }
}
