//! Reading in pieces.

use std::io::{self, ErrorKind, Read};

use super::ordered_workers::Buffer;

/// Reads until `out` is full or the reader ends; returns the bytes read.
pub(crate) fn read_full(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(space) = out.get_mut(filled..).filter(|space| !space.is_empty()) {
        match reader.read(space) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Gives pieces of a stream and knows whether enough follows.
pub(crate) struct Lookahead<R> {
    reader: R,
    ahead: Vec<u8>,
    keep: usize,
}

impl<R: Read> Lookahead<R> {
    /// `keep` bytes are read ahead.
    pub(crate) fn new(reader: R, keep: usize) -> Self {
        Self { reader, ahead: Vec::with_capacity(keep), keep }
    }

    /// Puts the next `size` bytes, or all that are left, into `buffer`. True when at least `keep`
    /// bytes follow; otherwise [`Self::rest`] has what follows, and the stream is at its end.
    pub(crate) fn next(&mut self, buffer: &mut Buffer, size: usize) -> io::Result<bool> {
        buffer.resize(size + self.keep, 0);
        for (to, from) in buffer.iter_mut().zip(&self.ahead) {
            *to = *from;
        }
        let had = self.ahead.len();
        let space = buffer.get_mut(had..).unwrap_or_default();
        let filled = had + read_full(&mut self.reader, space)?;
        self.ahead.clear();
        self.ahead.extend(buffer.get(size..filled).unwrap_or_default());
        buffer.truncate(filled.min(size));
        Ok(self.ahead.len() == self.keep)
    }

    /// What was read ahead.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_and_the_end_is_known_in_time() {
        for len in 0..60_usize {
            for keep in [1, 5] {
                let data: Vec<u8> = (0..60).take(len).collect();
                let mut source = Lookahead::new(data.as_slice(), keep);
                let (mut got, mut buffer) = (Vec::<u8>::new(), Buffer::default());
                loop {
                    let more = source.next(&mut buffer, 10).unwrap();
                    got.extend(buffer.iter());
                    if !more {
                        break;
                    }
                    assert_eq!(buffer.len(), 10);
                }
                got.extend(source.rest());
                assert_eq!(got, data, "{len} bytes, {keep} ahead");
            }
        }
    }
}
