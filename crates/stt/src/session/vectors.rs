//! Streams of protocols against vectors that an independent program computes from the pages
//! (`interop/wire`).

use stc::Coded;
use stt_transport::testing::vectors::{Vectors, read};

use super::{
    driver::code,
    labelled::{GivenUp, LabelledTable},
};
use crate::{
    ProtocolError, StreamError,
    limits::SessionBudget,
    stream::{
        header::{Header, Malformed},
        label::Label,
        varint,
    },
};

/// All of one kind, by the rest of their names.
fn of<'a>(vectors: &'a Vectors, kind: &str) -> Vec<(&'a str, &'a [u8])> {
    let named =
        |(name, bytes): (&'a String, &'a Vec<u8>)| Some((name.strip_suffix(kind)?, &bytes[..]));
    let found: Vec<_> = vectors.iter().filter_map(named).collect();
    assert!(!found.is_empty(), "{kind}");
    found
}

fn number(vectors: &Vectors, name: &str) -> u32 {
    let bytes = vectors[&format!("{name}-number")].as_slice();
    u32::from_be_bytes(bytes.try_into().unwrap())
}

#[test]
fn hostile_beginnings_are_no_headers_and_hostile_records_none() {
    let vectors = read("labels-hostile");
    assert_eq!(vectors["code"], [u8::try_from(code::HEADER).unwrap()]);
    let mut seen = 0;
    for (name, bytes) in &vectors {
        match name.split_once('-') {
            Some(("header", _)) => assert_eq!(Header::parse(bytes), Err(Malformed), "{name}"),
            // Its end before more came is what stops it.
            Some(("cut", _)) => assert_eq!(Header::parse(bytes), Ok(None), "{name}"),
            Some(("given", _)) => assert_eq!(GivenUp::parse(bytes), None, "{name}"),
            _ => continue,
        }
        seen += 1;
    }
    assert_eq!(seen, vectors.len() - 1);
}

#[test]
fn headers_and_records_of_directions_that_were_given_up() {
    let vectors = read("labels");
    for (name, header) in of(&vectors, "-header") {
        let label = Label::new(&vectors[&format!("{name}-label")]).unwrap();
        let expected = Header::Labelled { label, id: number(&vectors, name) };
        assert_eq!(Header::parse(header), Ok(Some((expected, header.len()))), "{name}");
        for cut in 0..header.len() {
            assert_eq!(Header::parse(&header[..cut]), Ok(None), "{name} to {cut}");
        }
        let mut record = vectors[&format!("{name}-given-up")].as_slice();
        assert_eq!(varint::take(&mut record), Some(6), "{name}");
        assert_eq!(varint::take(&mut record), u64::try_from(record.len()).ok(), "{name}");
        let end = GivenUp { label, id: number(&vectors, name), code: 0x123 };
        assert_eq!(GivenUp::parse(record), Some(end), "{name}");
        if name != "wide" {
            let (mut ours, mut body) = (Vec::new(), Vec::new());
            expected.put(&mut ours);
            end.put(&mut body);
            assert_eq!((&ours[..], &body[..]), (header, record), "{name}");
        }
    }
}

#[test]
fn headers_that_are_refused_and_what_the_codes_mean() {
    let vectors = read("labels-refused");
    let mut table = LabelledTable::new(false, 10, 100, SessionBudget::boundless());
    let label = Label::new(b"chat/1").unwrap();
    let (first, is_new) = table.meet((label, 1), 2, true).unwrap();
    assert!(is_new);
    first.inbound.start_mixed();
    for (name, header) in of(&vectors, "-header") {
        let Ok(Some((Header::Labelled { label: met, id }, _))) = Header::parse(header) else {
            panic!("{name}");
        };
        assert_eq!(met.as_bytes(), vectors[&format!("{name}-label")], "{name}");
        assert_eq!(id, number(&vectors, name), "{name}");
        let refused = table.meet((met, id), 6, met == label).map(|_| ()).unwrap_err();
        let code = &vectors[&format!("{name}-code")];
        assert_eq!(refused, u32::from(code[0]), "{name}");
    }
    let means = |name: &str| {
        let code = u64::from(vectors[name][0]);
        ProtocolError::explain(label, StreamError::Reset { id: 1, code })
    };
    let label = || "chat/1".to_owned();
    let old = means("first-version-code");
    assert_eq!(old, ProtocolError::Unsupported { label: label() });
    assert_eq!((old.code(), old.hint()), ("protocol.unsupported", Some("update the other side")));
    assert_eq!(means("unknown-code"), ProtocolError::Unknown { label: label() });
    assert_eq!(means("too-many-code"), ProtocolError::TooMany { label: label() });
}

#[test]
fn who_is_refused_waits_for_nothing() {
    use crate::stream::recv_queue::Taken;
    for name in ["first-version-code", "unknown-code", "too-many-code"] {
        let code = u64::from(read("labels-refused")[name][0]);
        let mut table = LabelledTable::new(true, 10, 100, SessionBudget::boundless());
        let stream = table.make(Label::new(b"chat/1").unwrap()).unwrap();
        let error = StreamError::Reset { id: 1, code };
        super::labelled::sending_failed(&stream, &error);
        match stream.inbound.take_message().0 {
            Taken::Failed(failed) => assert_eq!(failed, error, "{name}"),
            _ => panic!("{name}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn streams_of_a_peer_stay_within_their_shares(
        choices: u8,
        headers in proptest::collection::vec((0..3usize, 0..20u32), 0..64),
    ) {
        let mut bytes = vec![choices];
        for (label, id) in headers {
            let label = Label::new([&b"a"[..], b"b", b"chat/1"][label]).unwrap();
            Header::Labelled { label, id }.put(&mut bytes);
        }
        super::fuzz::labels(&bytes);
    }
}
