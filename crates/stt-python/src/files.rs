//! Files, worked on beside the calling thread, which stays free for progress and Ctrl-C.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use stc::{Context, FileOptions, FileReport, Header, OpenError, SealError};

use crate::{context::Secrets, failure::Failure};

/// Progress reports that may wait for a slow callback before the work waits, too.
const REPORTS: usize = 64;
/// How often the calling thread looks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// From where to where.
pub(crate) struct Work<'a> {
    pub(crate) input: &'a Path,
    pub(crate) output: &'a Path,
    /// When encrypting.
    pub(crate) chunk_len: u32,
    pub(crate) overwrite: bool,
}

/// A reader that fails once it is told to stop, so that the work ends and leaves no output.
struct Stoppable<'a> {
    file: File,
    stop: &'a AtomicBool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped by the caller"));
        }
        self.file.read(into)
    }
}

/// Encrypts a file.
pub(crate) fn encrypt(
    py: Python<'_>,
    context: &Context,
    secrets: &Secrets,
    use_decoys: Option<bool>,
    work: &Work<'_>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<FileReport> {
    let mut options = secrets.seal_options();
    if let Some(yes) = use_decoys {
        options = options.use_decoys(yes);
    }
    let opening = |source| SealError::Io { what: "open the input", source };
    run(py, progress, |stop, report| {
        let file = File::open(work.input).map_err(opening)?;
        let about = file.metadata().map_err(opening)?;
        let len = about.is_file().then_some(about.len());
        let file_options =
            FileOptions::new().chunk_len(work.chunk_len).overwrite(work.overwrite).progress(report);
        let reader = Stoppable { file, stop };
        Ok(context.encrypt_into(reader, len, work.output, &options, &file_options)?)
    })
}

/// Decrypts a file. With a header it may or may not begin with that header.
pub(crate) fn decrypt(
    py: Python<'_>,
    context: &Context,
    secrets: &Secrets,
    header: Option<&Header>,
    work: &Work<'_>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<FileReport> {
    let opening = |source| OpenError::Io { what: "open the input", source };
    run(py, progress, |stop, report| {
        let mut file = File::open(work.input).map_err(opening)?;
        let len = file.metadata().map_err(opening)?.len();
        let mut options = secrets.open_options();
        if let Some(header) = header
            && !begins_with(&mut file, &header.to_bytes()).map_err(opening)?
        {
            options = options.metadata(header);
        }
        let file_options = FileOptions::new().overwrite(work.overwrite).progress(report);
        let reader = Stoppable { file, stop };
        Ok(context.decrypt_into(reader, Some(len), work.output, &options, &file_options)?)
    })
}

/// Whether the file begins with `expected`; its position is at the beginning afterwards.
fn begins_with(file: &mut File, expected: &[u8]) -> io::Result<bool> {
    let mut got = Vec::with_capacity(expected.len());
    let most = u64::try_from(expected.len()).unwrap_or(u64::MAX);
    file.by_ref().take(most).read_to_end(&mut got)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(got == expected)
}

type Report<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Runs `work` on a thread of its own. Progress is reported in the calling thread.
fn run<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&AtomicBool, Report<'_>) -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let stop = AtomicBool::new(false);
    let (sender, reports) = mpsc::sync_channel::<(u64, Option<u64>)>(REPORTS);
    let wanted = progress.is_some();
    thread::scope(|scope| {
        let stop = &stop;
        let worker = scope.spawn(move || {
            let report = |done, total| {
                if wanted {
                    // Fails when the caller gave up.
                    let _ = sender.send((done, total));
                }
            };
            work(stop, &report)
        });
        let mut interrupted = None;
        // A receiver cannot be shared with a detached closure, but it can be moved through it.
        let mut reports = Some(reports);
        while let Some(receiver) = reports.take() {
            let (receiver, next) = py.detach(move || {
                let next = receiver.recv_timeout(LOOK);
                (receiver, next)
            });
            let outcome = match next {
                Ok((done, total)) => match progress {
                    Some(progress) => progress.call1((done, total.unwrap_or(done))).map(drop),
                    None => Ok(()),
                },
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(error) = outcome.and_then(|()| py.check_signals()) {
                stop.store(true, Ordering::Relaxed);
                interrupted = Some(error);
                break;
            }
            reports = Some(receiver);
        }
        drop(reports);
        let outcome = py.detach(|| worker.join());
        if let Some(error) = interrupted {
            return Err(error);
        }
        let lost = |_| PyRuntimeError::new_err("a worker thread ended without a result");
        outcome.map_err(lost)?.map_err(|failure| failure.raise(py))
    })
}

/// What Python is told of the work.
pub(crate) fn figures<'py>(py: Python<'py>, report: &FileReport) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("bytes_processed", report.bytes)?;
    out.set_item("chunks_processed", report.chunks)?;
    out.set_item("elapsed", report.elapsed.as_secs_f64())?;
    out.set_item("throughput_mbps", report.throughput_mbps())?;
    out.set_item("peak_memory_usage", report.peak_memory)?;
    out.set_item("workers", report.workers)?;
    out.set_item("slot", report.slot.map(|slot| slot.index))?;
    Ok(out)
}
