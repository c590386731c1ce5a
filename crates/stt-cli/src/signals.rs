//! Ctrl-C, SIGTERM and a closed terminal: ordinary ends, after which nothing lies around.
//!
//! A thread waits for them. It ends the process as the signal would have, after what is unfinished
//! was removed, unless a command [`hold`]s: then the command hears of the first one, ends itself in
//! an orderly way, and only the second one ends it at once.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
    thread,
};

use tokio::sync::Notify;

/// The signal that a command was told of, or 0.
static SEEN: AtomicI32 = AtomicI32::new(0);
/// Whether a command wants to be told.
static HELD: AtomicBool = AtomicBool::new(false);
static TOLD: Notify = Notify::const_new();

/// While it lives, the first signal is told to the command instead of ending it.
pub(crate) struct Hold(());

/// Begins to hold.
pub(crate) fn hold() -> Hold {
    HELD.store(true, Ordering::SeqCst);
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.store(false, Ordering::SeqCst);
    }
}

/// Whether a command that holds was told to end.
pub(crate) fn seen() -> bool {
    SEEN.load(Ordering::SeqCst) != 0
}

/// Waits until it is told. For one waiter at a time.
pub(crate) async fn wait() {
    while !seen() {
        TOLD.notified().await;
    }
}

/// True when the command heard of it, false when the process has to end.
fn tell(signal: i32) -> bool {
    let first = SEEN.swap(signal, Ordering::SeqCst) == 0;
    let heard = first && HELD.load(Ordering::SeqCst);
    TOLD.notify_one();
    heard
}

/// Ends the command when its standard input does: a process that starts this one need not clean up
/// after itself.
pub(crate) fn end_with_stdin() {
    thread::spawn(|| {
        let mut input = io::stdin().lock();
        let mut buffer = [0; 256];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        if !tell(TERMINATE) {
            end(TERMINATE);
        }
    });
}

#[cfg(unix)]
const TERMINATE: i32 = signal_hook::consts::SIGTERM;
#[cfg(not(unix))]
const TERMINATE: i32 = 15;

#[cfg(unix)]
mod system {
    use std::thread;

    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
        iterator::Signals,
        low_level::emulate_default_handler,
    };
    use stc::OutputFile;

    use super::{Ordering, SEEN, tell};
    use crate::{error::CliError, output::Output, terminal};

    /// Begins to watch.
    pub(crate) fn watch(output: &Output) {
        let mut watched = vec![SIGINT, SIGTERM, SIGQUIT, SIGTSTP];
        if !ignored(SIGHUP) {
            // Under nohup it stays ignored.
            watched.push(SIGHUP);
        }
        // Without, signals end the process as they always do.
        let Ok(mut signals) = Signals::new(watched) else { return };
        let output = output.clone();
        thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGTSTP {
                    terminal::stop(|| {
                        let _ = emulate_default_handler(signal);
                    });
                    continue;
                }
                if !tell(signal) {
                    terminal::restore();
                    output.last(&CliError::interrupted("the command"));
                    end(signal);
                }
            }
        });
    }

    /// Whether the process was started with the signal ignored.
    fn ignored(signal: i32) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
    }

    /// Ends the process as the signal does.
    pub(super) fn end(signal: i32) -> ! {
        terminal::restore();
        OutputFile::remove_unfinished();
        let _ = emulate_default_handler(signal);
        std::process::exit(128 + signal)
    }

    /// After a command that was told of a signal and was interrupted by it.
    pub(crate) fn end_as_told() {
        let signal = SEEN.load(Ordering::SeqCst);
        if signal != 0 {
            end(signal);
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::{TERMINATE, tell};
    use crate::output::Output;

    /// Begins to watch, once there is a runtime.
    pub(crate) fn watch(_output: &Output) {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                if !tell(TERMINATE) {
                    end(TERMINATE);
                }
            }
        });
    }

    pub(super) fn end(signal: i32) -> ! {
        stc::OutputFile::remove_unfinished();
        std::process::exit(128 + signal)
    }

    pub(crate) fn end_as_told() {}
}

use system::end;
pub(crate) use system::{end_as_told, watch};
