//! The sliding window: how many messages may be under way.

/// Counts the messages that may still be sent before one is acknowledged.
///
/// The law: [`current_window`](Self::current_window) is never above
/// [`window_size`](Self::window_size), whatever is acknowledged and however often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowController {
    window_size: usize,
    current_window: usize,
    slowed: bool,
}

impl FlowController {
    /// A full window.
    #[must_use]
    pub fn new(window_size: usize) -> Self {
        Self { window_size, current_window: window_size, slowed: false }
    }

    /// Messages that may be under way at once.
    #[must_use]
    pub fn window_size(&self) -> usize {
        self.window_size
    }

    /// Messages that may still be sent now.
    #[must_use]
    pub fn current_window(&self) -> usize {
        self.current_window
    }

    /// Messages that are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.window_size - self.current_window
    }

    /// Messages that may be sent now; fewer than the window allows while the peer asked for less.
    #[must_use]
    pub fn available(&self) -> usize {
        if self.slowed {
            (self.window_size / 2).max(1).saturating_sub(self.in_flight())
        } else {
            self.current_window
        }
    }

    /// Takes one place: the message is sent. False when there is none.
    pub fn on_send(&mut self) -> bool {
        let free = self.available() > 0;
        if free {
            self.current_window -= 1;
        }
        free
    }

    /// Gives `count` places back.
    pub fn on_acknowledge(&mut self, count: usize) {
        self.current_window = self.current_window.saturating_add(count).min(self.window_size);
    }

    /// Sends at half the window while the peer asks for it.
    pub fn set_slowed(&mut self, slowed: bool) {
        self.slowed = slowed;
    }

    /// Begins again on a new connection with `in_flight` messages that are not acknowledged.
    pub fn reset(&mut self, window_size: usize, in_flight: usize) {
        self.window_size = window_size;
        self.current_window = window_size.saturating_sub(in_flight);
        self.slowed = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_extra_acknowledgement_lifts_nothing() {
        let mut window = FlowController::new(2);
        window.on_acknowledge(5);
        assert_eq!((window.current_window(), window.window_size()), (2, 2));
        assert!(window.on_send() && window.on_send() && !window.on_send());
        window.on_acknowledge(1);
        assert!(window.on_send() && !window.on_send());
    }

    proptest! {
        #[test]
        fn never_more_under_way_than_the_window(
            size in 1_usize..20,
            steps in proptest::collection::vec((0_u8..4, 0_usize..30), 0..200),
        ) {
            let mut window = FlowController::new(size);
            let mut under_way = 0_usize;
            for (step, count) in steps {
                match step {
                    0 => {
                        if window.on_send() {
                            under_way += 1;
                        }
                    }
                    1 => {
                        let count = count.min(under_way);
                        under_way -= count;
                        window.on_acknowledge(count);
                    }
                    2 => window.set_slowed(count % 2 == 0),
                    _ => window.reset(size, under_way),
                }
                prop_assert!(under_way <= size);
                prop_assert_eq!(window.in_flight(), under_way);
                prop_assert!(window.available() <= window.current_window());
            }
        }
    }
}
