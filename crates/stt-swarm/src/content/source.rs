//! One provider of a fetch: its session, and the streams that ask it for pieces.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stc::Cause;
use stt::{ProtocolError, ProtocolReceiver, ProtocolSender, Session};
use tokio::task::JoinSet;

use super::{
    LABEL,
    fetch::Shared,
    plan::Take,
    sessions::Unreached,
    verify::{AnswerReader, ReadError},
    wire::{Request, group_bytes},
};
use crate::Provider;

/// Failures of a provider in a row, without a group between them, after which it is left alone.
const FAILURES: u32 = 4;
/// After the first failure; each one more doubles it.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a provider gives no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("could not be reached: {0}")]
    Unreachable(#[from] Unreached),
    /// What an earlier file of the folder showed.
    #[error("{why}")]
    Avoided {
        #[source]
        why: Cause,
        lied: bool,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl SourceError {
    /// Whether it lied, which is not forgiven.
    pub(super) const fn is_lie(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::Corrupt | ReadError::Size { .. } | ReadError::Protocol)
                | Self::Avoided { lied: true, .. }
        )
    }

    /// Whether other contents should not be asked of it either.
    pub(super) const fn is_for_all(&self) -> bool {
        matches!(self, Self::Unreachable(_)) || self.is_lie()
    }

    const fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Avoided { .. } => false,
            Self::Read(error) => error.is_temporary(),
        }
    }
}

/// Fetches from `provider` until all is there or it gives no more.
pub(super) async fn run(
    shared: Arc<Shared>,
    provider: Provider,
    index: usize,
) -> Result<(), SourceError> {
    if let Some(avoided) = shared.sessions.avoided(provider.node_id) {
        return Err(SourceError::Avoided { why: avoided.why, lied: avoided.lied });
    }
    let mut failures = 0;
    loop {
        let before = shared.received(index);
        let error = match attempt(&shared, &provider, index).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if shared.received(index) > before {
            failures = 0;
        }
        failures += 1;
        if !error.is_temporary() || failures >= FAILURES {
            return Err(error);
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE * 2u32.saturating_pow(failures - 1)) => {}
            () = shared.done() => return Ok(()),
        }
    }
}

async fn attempt(
    shared: &Arc<Shared>,
    provider: &Provider,
    index: usize,
) -> Result<(), SourceError> {
    let session = shared.sessions.reach(provider).await?;
    let mut streams = JoinSet::new();
    for _ in 0..shared.options.streams_per_provider {
        let (shared, session) = (Arc::clone(shared), session.clone());
        streams.spawn(async move { ask(&shared, &session, index).await });
    }
    while let Some(ended) = streams.join_next().await {
        // The first failure ends the others: they are aborted with the set.
        ended.map_err(|_| ReadError::Lost(io::Error::other("a task was ended")))??;
    }
    Ok(())
}

/// A stream on which one piece after the other is asked for.
struct Asking {
    sender: ProtocolSender,
    receiver: ProtocolReceiver,
}

impl Asking {
    fn open(session: &Session) -> Result<Self, ReadError> {
        let (sender, receiver) = session.open_protocol(LABEL).map_err(lost)?.into_split();
        Ok(Self { sender, receiver })
    }
}

fn lost(error: ProtocolError) -> ReadError {
    ReadError::Lost(error.into())
}

/// Asks for pieces until there are none left.
async fn ask(shared: &Arc<Shared>, session: &Session, index: usize) -> Result<(), SourceError> {
    let mut asking = None;
    loop {
        let taken = shared.plan().take(index, Instant::now());
        let (job, groups) = match taken {
            Take::Piece { job, groups } => (job, groups),
            Take::Done => return Ok(()),
            Take::Wait(time) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => continue,
                    () = shared.done() => return Ok(()),
                }
            }
        };
        let _job = Job { shared, job };
        let size = group_bytes();
        let start = groups.start.saturating_mul(size);
        let end = groups.end.saturating_mul(size).min(shared.size);
        let request = Request { root: shared.root, bytes: start..end };
        let mut stream = match asking.take() {
            Some(stream) => stream,
            None => Asking::open(session)?,
        };
        tokio::select! {
            read = read(shared, &mut stream, request, job, index) => {
                read?;
                asking = Some(stream);
            }
            // Somebody else was faster: the stream is given up with the rest of the answer.
            () = shared.until_useless(job) => {}
        }
    }
}

/// A piece that this side was given to fetch: what is left of it goes back.
struct Job<'a> {
    shared: &'a Shared,
    job: u64,
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.shared.plan().end(self.job, Instant::now());
        self.shared.changed();
    }
}

async fn read(
    shared: &Arc<Shared>,
    stream: &mut Asking,
    request: Request,
    job: u64,
    index: usize,
) -> Result<(), ReadError> {
    let asked = Bytes::copy_from_slice(&request.encode());
    stream.sender.write_chunk(asked).await.map_err(lost)?;
    let patience = shared.options.patience;
    let from = &mut stream.receiver;
    let mut answer =
        AnswerReader::begin(from, shared.root, shared.size, request.bytes, patience).await?;
    while let Some(group) = answer.next().await? {
        // A writer that failed says why by itself.
        if shared.deliver(group, job, index).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
