//! Which sequence numbers of a peer were seen already.

/// How far behind the newest a number may be.
const WIDTH: u64 = 128;

/// A window over the numbers of route datagrams (docs/protocol.md, ROUTE-2): each is taken once, and
/// what is older than the window never.
#[derive(Debug, Default)]
pub(crate) struct SequenceWindow {
    newest: u64,
    /// Bit n: `newest - n` was seen.
    seen: u128,
}

impl SequenceWindow {
    /// Whether `number` is new; then it is not any more.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        if number > self.newest {
            let ahead = number - self.newest;
            self.seen = if ahead >= WIDTH { 0 } else { self.seen << ahead };
            self.seen |= 1;
            self.newest = number;
            return true;
        }
        let behind = self.newest - number;
        if behind >= WIDTH || number == 0 {
            return false;
        }
        let bit = 1_u128 << behind;
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_once_and_old_ones_never() {
        let mut window = SequenceWindow::default();
        assert!(!window.take(0));
        for number in [1, 5, 3, 2, 4, 200, 150] {
            assert!(window.take(number), "{number}");
            assert!(!window.take(number), "{number} again");
        }
        assert!(!window.take(72), "128 behind");
        assert!(window.take(73), "127 behind");
        assert!(window.take(u64::MAX));
        assert!(!window.take(200));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice(numbers in proptest::collection::vec(0u64..400, 0..600)) {
            let (mut window, mut taken) = (SequenceWindow::default(), std::collections::HashSet::new());
            for number in numbers {
                if window.take(number) {
                    prop_assert!(taken.insert(number));
                }
            }
        }
    }
}
