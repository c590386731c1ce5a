//! Answers that stream from work under way.

use std::{future::Future, pin::Pin};

use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use crate::{
    RequestError,
    state::{Phase, Shared},
    status::ToStatus,
};

/// Answers that wait for the caller.
const WAITING: usize = 16;

/// Answers that stream.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Takes answers while the work goes on.
pub(crate) type Told<T> = mpsc::Sender<Result<T, Status>>;

/// Begins work that holds `turn` and whose result is the last answer. It ends when its caller is
/// gone, or the gateway ends.
pub(crate) fn of_work<T, W>(
    state: Shared,
    turn: OwnedSemaphorePermit,
    work: impl FnOnce(Shared, Told<T>) -> W,
) -> Answers<T>
where
    T: Send + 'static,
    W: Future<Output = Result<T, Status>> + Send + 'static,
{
    let (told, answers) = mpsc::channel(WAITING);
    let work = work(Shared::clone(&state), told.clone());
    tokio::spawn(async move {
        let _turn = turn;
        let done = tokio::select! {
            done = work => done,
            () = told.closed() => return,
            () = state.reached(Phase::Ending) => Err(RequestError::Stopping.to_status()),
        };
        // A caller that is gone needs no answer.
        let _ = told.send(done).await;
    });
    Box::pin(stream::unfold(answers, |mut answers| async move {
        let answer = answers.recv().await?;
        Some((answer, answers))
    }))
}
