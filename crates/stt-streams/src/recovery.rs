//! Getting a transport back: attempts with backoff, a budget for all of them, a breaker for each
//! destination.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};

use crate::{
    BreakerConfig, BreakerState, CircuitBreaker, ErrorClass, RetryBudget, StreamConfig,
    StreamsError, transport::TransportError,
};

/// One attempt may take so long.
const ATTEMPT: Duration = Duration::from_secs(30);

/// What the streams of a manager share about failures.
#[derive(Debug)]
pub struct Recovery {
    breaker: BreakerConfig,
    budget: Mutex<RetryBudget>,
    breakers: Mutex<HashMap<String, Arc<Mutex<CircuitBreaker>>>>,
}

/// Waits drawn evenly below ceilings that double. Each takes its retry from the budget when it is
/// asked for, which is before the wait.
struct Waits<'a> {
    ceilings: ExponentialBackoff,
    recovery: &'a Recovery,
    spent: &'a AtomicBool,
}

impl Iterator for Waits<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let ceiling = self.ceilings.next()?;
        if !lock(&self.recovery.budget).take(now()) {
            self.spent.store(true, Relaxed);
            return None;
        }
        Some(ceiling.mul_f64(fastrand::f64()))
    }
}

#[derive(Clone, Debug)]
enum Failure {
    Transport(TransportError),
    Refused(StreamsError),
    Open,
}

impl Failure {
    fn is_retried(&self) -> bool {
        match self {
            Self::Transport(error) => error.class.is_retried(),
            Self::Refused(_) => false,
            Self::Open => true,
        }
    }

    fn cause(self, destination: &str) -> TransportError {
        match self {
            Self::Transport(error) => error,
            Self::Refused(error) => TransportError::caused(error.class(), error),
            Self::Open => TransportError::new(
                ErrorClass::Transient,
                format!("the circuit to {destination:?} is open"),
            ),
        }
    }
}

/// Gives a probe's place back if the attempt is dropped.
struct Admitted<'a>(Option<&'a Mutex<CircuitBreaker>>);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            lock(breaker).on_abandon();
        }
    }
}

impl Recovery {
    /// Nothing failed yet.
    #[must_use]
    pub fn new(breaker: BreakerConfig) -> Self {
        Self {
            breaker,
            budget: Mutex::new(RetryBudget::new(now())),
            breakers: Mutex::new(HashMap::new()),
        }
    }

    /// The state of the circuit breaker of `destination`.
    #[must_use]
    pub fn state(&self, destination: &str) -> BreakerState {
        let breakers = lock(&self.breakers);
        breakers.get(destination).map_or(BreakerState::Closed, |breaker| lock(breaker).state(now()))
    }

    fn breaker(&self, destination: &str) -> Arc<Mutex<CircuitBreaker>> {
        let mut breakers = lock(&self.breakers);
        // Who is not in use and has not failed is forgotten, so the table stays small.
        if breakers.len() >= 1_024 {
            let now = now();
            breakers.retain(|_, breaker| {
                Arc::strong_count(breaker) > 1 || lock(breaker).state(now) == BreakerState::Open
            });
        }
        let fresh = || Arc::new(Mutex::new(CircuitBreaker::new(self.breaker)));
        Arc::clone(breakers.entry(destination.to_owned()).or_insert_with(fresh))
    }

    /// Runs `operation` until it succeeds, fails for good, or may not be tried again. Use it only
    /// for operations that may happen twice. `on_retry` hears of every wait.
    ///
    /// # Errors
    /// [`StreamsError::Transport`] for a failure that is not retried, otherwise
    /// [`StreamsError::CircuitOpen`], [`StreamsError::BudgetSpent`] or
    /// [`StreamsError::RetriesExhausted`].
    pub async fn run<T, F>(
        &self,
        destination: &str,
        config: &StreamConfig,
        mut operation: impl FnMut() -> F + Send,
        on_retry: impl FnMut(&TransportError, Duration) + Send,
    ) -> Result<T, StreamsError>
    where
        F: Future<Output = Result<T, TransportError>> + Send,
    {
        let attempt = move || {
            let attempt = operation();
            async move { attempt.await.map_err(Failure::Transport) }
        };
        self.run_attempts(destination, config, attempt, on_retry).await
    }

    async fn run_attempts<T, F>(
        &self,
        destination: &str,
        config: &StreamConfig,
        mut attempt: impl FnMut() -> F + Send,
        mut on_retry: impl FnMut(&TransportError, Duration) + Send,
    ) -> Result<T, StreamsError>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        lock(&self.budget).on_attempt();
        let breaker = self.breaker(destination);
        let breaker = &*breaker;
        let spent = AtomicBool::new(false);
        let ceilings = ExponentialBuilder::new()
            .with_min_delay(config.retry_delay)
            .with_max_delay(StreamConfig::MAX_RETRY_DELAY)
            .with_max_times(usize::try_from(config.max_retries).unwrap_or(usize::MAX))
            .build();
        let waits = Waits { ceilings, recovery: self, spent: &spent };
        let mut retries = 0;
        let guarded = || {
            let admitted = lock(breaker).admit(now());
            let guard = Admitted(admitted.then_some(breaker));
            let running = admitted.then(&mut attempt);
            async move {
                let mut guard = guard;
                let Some(running) = running else { return Err(Failure::Open) };
                let late = || TransportError::new(ErrorClass::Timeout, "an attempt took too long");
                let outcome = tokio::time::timeout(ATTEMPT, running)
                    .await
                    .unwrap_or_else(|_| Err(Failure::Transport(late())));
                guard.0 = None;
                match &outcome {
                    Ok(_) => lock(breaker).on_success(),
                    Err(_) => lock(breaker).on_failure(now()),
                }
                outcome
            }
        };
        let outcome = guarded
            .retry(waits)
            .when(Failure::is_retried)
            .notify(|failure: &Failure, delay| {
                retries += 1;
                on_retry(&failure.clone().cause(destination), delay);
            })
            .await;
        outcome.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Transport(error) if !error.class.is_retried() => {
                StreamsError::Transport(error)
            }
            Failure::Open => StreamsError::CircuitOpen { destination: destination.to_owned() },
            Failure::Transport(cause) if spent.load(Relaxed) => StreamsError::BudgetSpent { cause },
            Failure::Transport(cause) => StreamsError::RetriesExhausted { retries, cause },
        })
    }

    /// As [`run`](Self::run), for an operation that the peer may refuse for good.
    pub(crate) async fn connect<T, F>(
        &self,
        destination: &str,
        config: &StreamConfig,
        mut operation: impl FnMut() -> F + Send,
        on_retry: impl FnMut(&TransportError, Duration) + Send,
    ) -> Result<T, StreamsError>
    where
        F: Future<Output = Result<T, StreamsError>> + Send,
    {
        let attempt = move || {
            let attempt = operation();
            async move {
                attempt.await.map_err(|error| match error {
                    StreamsError::Transport(error) => Failure::Transport(error),
                    other => Failure::Refused(other),
                })
            }
        };
        self.run_attempts(destination, config, attempt, on_retry).await
    }

    /// Takes a retry for work that is repeated outside [`run`](Self::run).
    pub(crate) fn take_retry(&self) -> bool {
        lock(&self.budget).take(now())
    }
}

/// The runtime's clock, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A lock whose holder panicked is still good: every update leaves the value valid.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
