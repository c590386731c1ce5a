//! Files, worked on beside the calling thread, which stays free for progress and Ctrl-C.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use pyo3::{prelude::*, types::PyDict};
use stc::{Context, FileOptions, FileReport, Header, OpenError, SealError};

use crate::{blocking, context::Secrets, failure::Failure};

/// Progress reports that may wait for a slow callback before the work waits, too.
const REPORTS: usize = 64;
/// How long a caller who gives up waits for the work to end, which it does after the chunk that it
/// is at. A stretch cannot be stopped halfway: nobody waits for that.
const GRACE: Duration = Duration::from_millis(100);

/// From where to where.
pub(crate) struct Work {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    /// When encrypting.
    pub(crate) chunk_len: u32,
    pub(crate) overwrite: bool,
}

/// A reader that fails once it is told to stop, so that the work ends and leaves no output.
struct Stoppable {
    file: File,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
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
    context: Arc<Context>,
    secrets: Secrets,
    use_decoys: Option<bool>,
    work: Work,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<FileReport> {
    let opening = |source| SealError::Io { what: "open the input", source };
    run(py, progress, move |stop, report| {
        let mut options = secrets.seal_options();
        if let Some(yes) = use_decoys {
            options = options.use_decoys(yes);
        }
        let file = File::open(&work.input).map_err(opening)?;
        let about = file.metadata().map_err(opening)?;
        let len = about.is_file().then_some(about.len());
        let file_options =
            FileOptions::new().chunk_len(work.chunk_len).overwrite(work.overwrite).progress(report);
        let reader = Stoppable { file, stop };
        Ok(context.encrypt_into(reader, len, &work.output, &options, &file_options)?)
    })
}

/// Decrypts a file. With a header it may or may not begin with that header.
pub(crate) fn decrypt(
    py: Python<'_>,
    context: Arc<Context>,
    secrets: Secrets,
    header: Option<Header>,
    work: Work,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<FileReport> {
    let opening = |source| OpenError::Io { what: "open the input", source };
    run(py, progress, move |stop, report| {
        let mut file = File::open(&work.input).map_err(opening)?;
        let len = file.metadata().map_err(opening)?.len();
        let mut options = secrets.open_options();
        if let Some(header) = &header
            && !begins_with(&mut file, &header.to_bytes()).map_err(opening)?
        {
            options = options.metadata(header);
        }
        let file_options = FileOptions::new().overwrite(work.overwrite).progress(report);
        let reader = Stoppable { file, stop };
        Ok(context.decrypt_into(reader, Some(len), &work.output, &options, &file_options)?)
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

/// What the worker tells: progress, then the end.
enum News<T> {
    Progress(u64, u64),
    Done(Result<T, Failure>),
}

/// Runs `work` on a thread of its own. Progress is reported in the calling thread.
fn run<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(Arc<AtomicBool>, Report<'_>) -> Result<T, Failure> + Send + 'static,
) -> PyResult<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, news) = mpsc::sync_channel(REPORTS);
    let wanted = progress.is_some();
    let theirs = Arc::clone(&stop);
    let worker = move || {
        let report = |done, total: Option<u64>| {
            if wanted {
                // Fails when the caller gave up.
                let _ = sender.send(News::Progress(done, total.unwrap_or(done)));
            }
        };
        let done = work(theirs, &report);
        let _ = sender.send(News::Done(done));
    };
    let worker = thread::Builder::new().name("stc file".to_owned()).spawn(worker)?;
    let waited = blocking::wait(py, news, |news| match news {
        News::Done(done) => done.map(Some).map_err(|failure| failure.raise(py)),
        News::Progress(done, total) => {
            progress.map_or(Ok(()), |progress| progress.call1((done, total)).map(drop))?;
            Ok(None)
        }
    });
    waited.inspect_err(|_| {
        stop.store(true, Ordering::Relaxed);
        py.detach(|| {
            let begun = Instant::now();
            while !worker.is_finished() && begun.elapsed() < GRACE {
                thread::sleep(Duration::from_millis(1));
            }
        });
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
