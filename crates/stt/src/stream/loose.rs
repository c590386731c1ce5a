//! Messages that came whole and outside of any order: by datagram, repair code or deadline.

use std::collections::VecDeque;

use bytes::Bytes;

/// A bounded queue; a message that does not fit is lost, as its delivery mode allows.
#[derive(Debug, Default)]
pub(crate) struct Loose {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Loose {
    /// Messages that wait for the application, at most.
    pub(crate) const MAX_MESSAGES: usize = 1_024;
    /// Their bytes, at most; one message always fits.
    pub(crate) const MAX_BYTES: usize = 4 << 20;

    /// False if it does not fit.
    pub(crate) fn push(&mut self, message: Bytes) -> bool {
        let fits = self.messages.is_empty()
            || (self.messages.len() < Self::MAX_MESSAGES
                && self.bytes + message.len() <= Self::MAX_BYTES);
        if fits {
            self.bytes += message.len();
            self.messages.push_back(message);
        }
        fits
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_messages_and_bytes() {
        let mut loose = Loose::default();
        assert!(loose.push(vec![0; 5 << 20].into()), "one always fits");
        assert!(!loose.push(Bytes::from_static(b"x")));
        loose.pop().unwrap();
        for _ in 0..Loose::MAX_MESSAGES {
            assert!(loose.push(Bytes::new()));
        }
        assert!(!loose.push(Bytes::new()));
    }
}
