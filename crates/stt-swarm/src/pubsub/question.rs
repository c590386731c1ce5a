//! What a publisher asks a subscriber: `topic (32) ‖ started (8) ‖ count (8)`, big-endian.

use super::Sequence;

/// The bytes of a question.
pub(crate) fn encode(topic: &str, sequence: Sequence) -> Vec<u8> {
    let (started, count) = (sequence.started.to_be_bytes(), sequence.count.to_be_bytes());
    [topic.as_bytes(), &started, &count].concat()
}

/// Reads one. `None` if it is none.
pub(crate) fn parse(bytes: &[u8]) -> Option<(String, Sequence)> {
    let (topic, rest) = bytes.split_first_chunk::<32>()?;
    let (started, rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let topic = std::str::from_utf8(topic).ok()?.to_owned();
    let sequence =
        Sequence { started: u64::from_be_bytes(*started), count: u64::from_be_bytes(*count) };
    rest.is_empty().then_some((topic, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_back_and_others_are_none() {
        let (topic, sequence) =
            ("0123456789abcdef0123456789abcdef", Sequence { started: 7, count: u64::MAX });
        let bytes = encode(topic, sequence);
        assert_eq!(parse(&bytes), Some((topic.to_owned(), sequence)));
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None);
        }
        assert_eq!(parse(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(parse(&[0xff; 48]), None);
    }
}
