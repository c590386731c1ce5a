//! Futures that run side by side within whoever waits for them, without tasks of their own.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// A few of them. Those that are under way when it is dropped are given up.
pub struct Race<F>(Vec<Pin<Box<F>>>);

impl<F: Future> Default for Race<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Future> Race<F> {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One more.
    pub fn add(&mut self, future: F) {
        self.0.push(Box::pin(future));
    }

    /// How many are left.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the next one that ends; `None` when there is none left.
    pub async fn next(&mut self) -> Option<F::Output> {
        poll_fn(|cx| {
            let polled = |(at, future): (usize, &mut Pin<Box<F>>)| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Some((at, output)),
                Poll::Pending => None,
            };
            match self.0.iter_mut().enumerate().find_map(polled) {
                Some((at, output)) => {
                    drop(self.0.swap_remove(at));
                    Poll::Ready(Some(output))
                }
                None if self.0.is_empty() => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn they_end_in_the_order_of_their_times() {
        let mut race = Race::new();
        for seconds in [3, 1, 2] {
            race.add(async move {
                sleep(Duration::from_secs(seconds)).await;
                seconds
            });
        }
        assert_eq!((race.next().await, race.len()), (Some(1), 2));
        assert_eq!((race.next().await, race.next().await), (Some(2), Some(3)));
        assert_eq!(race.next().await, None);
    }
}
