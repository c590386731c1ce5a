//! What two nodes say before they link: a question and an answer, each one message of the link's
//! stream. Whatever else is said there is for later versions.

/// Version of the protocol.
const VERSION: u8 = 1;

/// What a node says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Whether it takes sessions, so that others may be told of it.
    pub(crate) serves: bool,
    /// Drawn when the swarm was started: a node that was started again is another one.
    pub(crate) instance: u64,
    /// How many links it has had, this one not counted. With it a question that crossed another one
    /// is told from a later one.
    pub(crate) links: u64,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The link is there.
    Linked(Hello),
    /// Both asked at once, and the other question counts.
    Crossed,
    /// There are as many links as there may be.
    Full,
}

impl Hello {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::from(self.serves)];
        bytes.extend(self.instance.to_be_bytes());
        bytes.extend(self.links.to_be_bytes());
        bytes
    }

    /// Reads it; what follows is left for later versions.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[version, flags], rest) = bytes.split_first_chunk()?;
        let (instance, rest) = rest.split_first_chunk()?;
        let (links, _) = rest.split_first_chunk()?;
        (version == VERSION).then_some(Self {
            serves: flags & 1 == 1,
            instance: u64::from_be_bytes(*instance),
            links: u64::from_be_bytes(*links),
        })
    }
}

impl Answer {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Linked(hello) => [&[0], hello.to_bytes().as_slice()].concat(),
            Self::Crossed => vec![1],
            Self::Full => vec![2],
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, rest) => Hello::parse(rest).map(Self::Linked),
            (1, _) => Some(Self::Crossed),
            (2, _) => Some(Self::Full),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_and_cut_ones_are_refused() {
        let hello = Hello { serves: true, instance: u64::MAX - 3, links: 7 };
        for answer in [Answer::Linked(hello), Answer::Crossed, Answer::Full] {
            let mut bytes = answer.to_bytes();
            bytes.push(9);
            assert_eq!(Answer::parse(&bytes), Some(answer));
        }
        let bytes = hello.to_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Hello::parse(&bytes[..cut]), None);
        }
        assert_eq!(Answer::parse(&[3]), None);
        assert_eq!(Hello::parse(&[&[2], &bytes[1..]].concat()), None);
    }
}
