//! Where the tasks of the two ends run.

use std::future::Future;

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

use crate::Result;

/// The two transports that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// This project.
    Stt,
    /// quinn with rustls.
    Quinn,
}

/// Which runtimes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Both ends share tokio's multi-thread runtime, as in most programs.
    Shared,
    /// Each end has a thread with a current-thread runtime.
    Each,
}

/// Runs `client` to its end, giving it a handle for the tasks of the server.
pub fn play<F, T>(threads: Threads, client: impl FnOnce(Handle) -> F) -> Result<T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    match threads {
        Threads::Shared => {
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            let task = runtime.spawn(client(runtime.handle().clone()));
            finish(&runtime, task)
        }
        Threads::Each => {
            let server = Builder::new_current_thread().enable_all().build()?;
            let handle = server.handle().clone();
            let (stop, stopped) = oneshot::channel::<()>();
            let thread = std::thread::spawn(move || {
                // An error says that the sender was dropped, which also means the end.
                let _ = server.block_on(stopped);
            });
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let task = runtime.spawn(client(handle));
            let result = finish(&runtime, task);
            drop(stop);
            thread.join().map_err(|_| "the server's thread panicked")?;
            result
        }
    }
}

fn finish<T>(runtime: &Runtime, task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    // As a task, since the future given to `block_on` runs outside of the worker threads.
    runtime.block_on(task)?
}
