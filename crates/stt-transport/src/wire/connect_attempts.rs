//! Several attempts at one session, of which the first that succeeds is taken.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

use crate::race::Race;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) at_once: usize,
    pub(super) in_all: usize,
    /// From the beginning of one to that of the next, at least.
    pub(super) apart: Duration,
}

/// What the failure of one attempt means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No other one would have another outcome.
    Final,
    /// Others that are under way may succeed.
    OfThisOne,
    /// Another one, begun a while later, may succeed.
    Passing,
}

/// Makes attempts until one succeeds or fails for good.
///
/// `begin` gives an attempt, and what ends when so little was heard of it that another one should join
/// in. All that are under way when it returns are dropped.
pub(super) async fn first<T, E, A, S>(
    bounds: Bounds,
    mut begin: impl FnMut() -> (A, S),
    judge: impl Fn(&E) -> Verdict,
) -> Result<T, E>
where
    A: Future<Output = Result<T, E>>,
    S: Future<Output = ()>,
{
    let (mut attempts, mut begun) = (Race::new(), 0);
    loop {
        let (attempt, silence) = begin();
        attempts.add(attempt);
        begun += 1;
        // Whatever fails at once, or tells nothing: a retry without a pause would be a flood.
        let pause = sleep(bounds.apart);
        let silence = async {
            tokio::join!(silence, pause);
        };
        tokio::pin!(silence);
        loop {
            let may_begin = begun < bounds.in_all && attempts.len() < bounds.at_once;
            let error = tokio::select! {
                Some(ended) = attempts.next() => match ended {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) => error,
                },
                () = &mut silence, if may_begin => break,
            };
            let verdict = judge(&error);
            let waits = verdict == Verdict::Passing && begun < bounds.in_all;
            if verdict == Verdict::Final || (attempts.is_empty() && !waits) {
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    const QUIET: Duration = Duration::from_secs(3);

    /// What the attempts do, in turn: after how long, and how it ends. Returns the outcome, how many
    /// began, and how long it took.
    async fn outcome(
        bounds: Bounds,
        attempts: &[(u64, Result<u8, Verdict>)],
    ) -> (Result<u8, Verdict>, usize, Duration) {
        let (begun, before) = (Cell::new(0), Instant::now());
        let begin = || {
            let (after, end) = attempts[begun.replace(begun.get() + 1)];
            let attempt = async move {
                sleep(Duration::from_secs(after)).await;
                end
            };
            (attempt, sleep(QUIET))
        };
        let outcome = first(bounds, begin, |verdict| *verdict).await;
        (outcome, begun.get(), before.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn others_join_in_until_one_succeeds_or_fails_for_good() {
        use Verdict::{Final, OfThisOne, Passing};
        let many = Bounds { at_once: 2, in_all: 5, apart: QUIET };
        let s = Duration::from_secs;
        for (attempts, expected) in [
            (&[(1, Ok(7))][..], (Ok(7), 1, s(1))),
            (&[(1, Err(Final))], (Err(Final), 1, s(1))),
            (&[(1, Err(OfThisOne))], (Err(OfThisOne), 1, s(1))),
            // Alone, and over before the next one: that waits its time.
            (&[(1, Err(Passing)), (1, Ok(7))], (Ok(7), 2, s(4))),
            (&[(60, Ok(6)), (1, Ok(7))], (Ok(7), 2, s(4))),
            (&[(5, Ok(6)), (60, Ok(7))], (Ok(6), 2, s(5))),
            (&[(5, Err(OfThisOne)), (4, Ok(7)), (60, Ok(8))], (Ok(7), 3, s(7))),
            // Two at once and no more.
            (&[(20, Err(Passing)), (60, Ok(6)), (1, Ok(7))], (Ok(7), 3, s(21))),
            // Five in all and no more.
            (&[(1, Err(Passing)); 5], (Err(Passing), 5, s(13))),
        ] {
            assert_eq!(outcome(many, attempts).await, expected, "{attempts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_at_once_are_made_with_a_pause() {
        let begun = Cell::new(0);
        let begin = || {
            begun.set(begun.get() + 1);
            (async { Err::<(), _>(Verdict::Passing) }, async {})
        };
        let bounds = Bounds { at_once: 8, in_all: usize::MAX, apart: QUIET };
        let trying = first(bounds, begin, |verdict| *verdict);
        assert!(tokio::time::timeout(QUIET * 10 - QUIET / 2, trying).await.is_err());
        assert_eq!(begun.get(), 10);
    }
}
