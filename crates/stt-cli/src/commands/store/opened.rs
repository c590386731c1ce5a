//! The store that a command works on: its own, or that of a node that has it open.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Stream, StreamExt, stream};
use stt_gateway::{
    Bytes,
    bytes::BytesMut,
    proto::v1::{
        CollectStoreRequest, CollectStoreResponse, FileChunk, GetContentRequest,
        GetContentResponse, GetStoreStatsRequest, ListContentsRequest, PutContentHeader,
        PutContentRequest, PutContentResponse, RemoveContentRequest, RemoveContentResponse,
        StoreProblem, StoreStats, StoredContent, VerifyReport, VerifyStoreRequest,
        get_content_response, list_contents_response, put_content_header, put_content_request,
        verify_store_response,
    },
};
use stt_store::{Chamber, ContentReader, Keep, StoreError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tonic::{Status, Streaming};

use super::EXIT_DAMAGED;
use crate::{daemon::Client, error::CliError, path_text::shown};

/// Bytes that are sent to a node in one message: half of the smallest limit that a gateway can have.
const CHUNK: usize = 32 << 10;

/// A store that is open.
pub(super) enum Store {
    /// The command has it open.
    Own(Chamber),
    /// The node that runs in this directory has.
    OfNode(PathBuf, Box<Client>),
}

/// A content that is read out.
pub(super) struct Content {
    pub(super) id: String,
    pub(super) len: u64,
    pieces: Pieces,
}

enum Pieces {
    Own(ContentReader),
    /// With the node's directory, and how many bytes are to come.
    OfNode(PathBuf, Streaming<GetContentResponse>, u64),
}

/// A command that failed on a store: damage has an exit code of its own.
pub(super) fn failed(what: impl Into<String>, error: &StoreError) -> CliError {
    exit_of(CliError::doing(what, error))
}

/// The same if a node has the store open.
fn refused(what: impl Into<String>, status: &Status) -> CliError {
    exit_of(CliError::refused(what, status))
}

fn exit_of(error: CliError) -> CliError {
    let damaged = ["store.damaged", "store.index_damaged"].iter().any(|code| error.has_code(code));
    if damaged { error.with_exit(EXIT_DAMAGED) } else { error }
}

fn cut(dir: &Path) -> CliError {
    Client::silent(dir, "its answer ended early")
}

impl Store {
    /// Where it is.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Own(chamber) => chamber.place(),
            Self::OfNode(dir, _) => shown(dir).to_string(),
        }
    }

    /// Stores what `source` has.
    pub(super) async fn put(
        &self,
        path: &Path,
        source: impl AsyncRead + Send + Unpin + 'static,
        keep: Keep,
    ) -> Result<PutContentResponse, CliError> {
        let what = || format!("{} was not stored", shown(path));
        match self {
            Self::Own(chamber) => {
                put(chamber, source, keep).await.map_err(|error| failed(what(), &error))
            }
            Self::OfNode(_, client) => {
                let (requests, broken) = upload(source, keep);
                let answer = client.store().put_content(requests).await;
                let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(error) = broken {
                    return Err(CliError::file("could not read", path, &error));
                }
                Ok(answer.map_err(|status| refused(what(), &status))?.into_inner())
            }
        }
    }

    /// Opens what `item` names.
    pub(super) async fn content(&self, item: &str) -> Result<Content, CliError> {
        let what = || format!("{item} was not written out");
        match self {
            Self::Own(chamber) => {
                let failed = |error| failed(what(), &error);
                let id = chamber.find(item).await.map_err(failed)?;
                let reader = chamber.reader(&id).await.map_err(failed)?;
                let len = reader.len();
                Ok(Content { id: id.to_string(), len, pieces: Pieces::Own(reader) })
            }
            Self::OfNode(dir, client) => {
                let refused = |status| refused(what(), &status);
                let request = GetContentRequest { item: item.to_owned() };
                let answers = client.store().get_content(request).await.map_err(refused)?;
                let mut answers = answers.into_inner();
                let first = answers.message().await.map_err(refused)?.and_then(|first| first.part);
                let Some(get_content_response::Part::Header(header)) = first else {
                    return Err(cut(dir));
                };
                let pieces = Pieces::OfNode(dir.clone(), answers, header.bytes);
                Ok(Content { id: header.id, len: header.bytes, pieces })
            }
        }
    }

    /// Shows all contents, and problems in place of those that cannot be opened.
    pub(super) async fn list(
        &self,
        mut show: impl FnMut(Result<StoredContent, StoreProblem>),
    ) -> Result<(), CliError> {
        const WHAT: &str = "the store was not listed";
        match self {
            Self::Own(chamber) => {
                let walked = chamber.contents(|info| {
                    show(info.map(Into::into).map_err(|problem| (&problem).into()));
                    true
                });
                walked.await.map_err(|error| failed(WHAT, &error))
            }
            Self::OfNode(_, client) => {
                let refused = |status| refused(WHAT, &status);
                let answers = client.store().list_contents(ListContentsRequest {}).await;
                let mut answers = answers.map_err(refused)?.into_inner();
                while let Some(answer) = answers.message().await.map_err(refused)? {
                    match answer.part {
                        Some(list_contents_response::Part::Content(content)) => show(Ok(content)),
                        Some(list_contents_response::Part::Problem(problem)) => show(Err(problem)),
                        None => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Removes what `item` names.
    pub(super) async fn remove(&self, item: &str) -> Result<RemoveContentResponse, CliError> {
        let what = || format!("{item} was not removed");
        match self {
            Self::Own(chamber) => {
                let removed = chamber.remove_item(item).await;
                Ok(removed.map_err(|error| failed(what(), &error))?.into())
            }
            Self::OfNode(_, client) => {
                let request = RemoveContentRequest { item: item.to_owned() };
                let removed = client.store().remove_content(request).await;
                Ok(removed.map_err(|status| refused(what(), &status))?.into_inner())
            }
        }
    }

    /// Reads and verifies everything. `progress` is told the bytes so far, `problem` what is wrong.
    pub(super) async fn verify(
        &self,
        mut progress: impl FnMut(u64),
        mut problem: impl FnMut(StoreProblem),
    ) -> Result<VerifyReport, CliError> {
        const WHAT: &str = "the store was not verified";
        match self {
            Self::Own(chamber) => {
                let report = chamber.verify(|_, bytes| progress(bytes)).await;
                let report = report.map_err(|error| failed(WHAT, &error))?;
                report.problems.iter().for_each(|one| problem(one.into()));
                Ok((&report).into())
            }
            Self::OfNode(dir, client) => {
                let refused = |status| refused(WHAT, &status);
                let answers = client.store().verify_store(VerifyStoreRequest {}).await;
                let mut answers = answers.map_err(refused)?.into_inner();
                while let Some(answer) = answers.message().await.map_err(refused)? {
                    match answer.part {
                        Some(verify_store_response::Part::Progress(at)) => progress(at.bytes),
                        Some(verify_store_response::Part::Problem(one)) => problem(one),
                        Some(verify_store_response::Part::Report(report)) => return Ok(report),
                        None => {}
                    }
                }
                Err(cut(dir))
            }
        }
    }

    /// Removes what nothing keeps.
    pub(super) async fn collect(&self, dry_run: bool) -> Result<CollectStoreResponse, CliError> {
        const WHAT: &str = "nothing was collected";
        match self {
            Self::Own(chamber) => {
                let collected = chamber.collect(dry_run).await;
                Ok(collected.map_err(|error| failed(WHAT, &error))?.into())
            }
            Self::OfNode(_, client) => {
                let collected = client.store().collect_store(CollectStoreRequest { dry_run }).await;
                Ok(collected.map_err(|status| refused(WHAT, &status))?.into_inner())
            }
        }
    }

    /// Where the space goes.
    pub(super) async fn stats(&self) -> Result<StoreStats, CliError> {
        const WHAT: &str = "the store was not counted";
        match self {
            Self::Own(chamber) => {
                let stats = chamber.stats().await.map_err(|error| failed(WHAT, &error))?;
                Ok(StoreStats { place: chamber.place(), ..stats.into() })
            }
            Self::OfNode(_, client) => {
                let stats = client.store().get_store_stats(GetStoreStatsRequest {}).await;
                Ok(stats.map_err(|status| refused(WHAT, &status))?.into_inner())
            }
        }
    }
}

impl Content {
    /// The next piece; none at the end.
    pub(super) async fn next(&mut self, item: &str) -> Result<Option<Bytes>, CliError> {
        let what = || format!("{item} was not written out");
        match &mut self.pieces {
            Pieces::Own(reader) => reader.next().await.map_err(|error| failed(what(), &error)),
            Pieces::OfNode(dir, answers, left) => {
                let answer = answers.message().await.map_err(|status| refused(what(), &status))?;
                match answer.and_then(|answer| answer.part) {
                    Some(get_content_response::Part::Chunk(chunk)) => {
                        let now = u64::try_from(chunk.data.len()).unwrap_or(u64::MAX);
                        *left = left.checked_sub(now).ok_or_else(|| cut(dir))?;
                        Ok(Some(chunk.data))
                    }
                    None if *left == 0 => Ok(None),
                    _ => Err(cut(dir)),
                }
            }
        }
    }
}

async fn put(
    chamber: &Chamber,
    source: impl AsyncRead + Send + Unpin,
    keep: Keep,
) -> Result<PutContentResponse, StoreError> {
    let before = match &keep {
        Keep::Named(name) => chamber.resolve(name).await.ok(),
        _ => None,
    };
    let mut source = source.take(u64::MAX);
    let id = chamber.put_reader(&mut source, keep).await?;
    let before = before.filter(|before| *before != id);
    Ok(PutContentResponse {
        id: id.to_string(),
        bytes: u64::MAX - source.limit(),
        name_pointed_to: before.map(|before| before.to_string()).unwrap_or_default(),
    })
}

/// Why a source could not be read to its end.
type Broken = Arc<Mutex<Option<io::Error>>>;

/// The messages of an upload. If `source` fails they end without the last chunk, so that nothing
/// is stored, and the failure is left behind.
fn upload(
    source: impl AsyncRead + Send + Unpin + 'static,
    keep: Keep,
) -> (impl Stream<Item = PutContentRequest> + Send, Broken) {
    let keep = match keep {
        Keep::Named(name) => Some(put_content_header::Keep::Name(name)),
        Keep::Cached => Some(put_content_header::Keep::Cached(true)),
        _ => None,
    };
    let header = put_content_request::Part::Header(PutContentHeader { keep });
    let broken = Broken::default();
    let left = Arc::clone(&broken);
    let chunks = stream::unfold(Some(source), move |source| {
        let broken = Arc::clone(&left);
        async move {
            let mut source = source?;
            let mut data = BytesMut::with_capacity(CHUNK);
            let last = match source.read_buf(&mut data).await {
                Ok(read) => read == 0,
                Err(error) => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return None;
                }
            };
            let chunk = FileChunk { data: data.freeze(), last, ..FileChunk::default() };
            Some((put_content_request::Part::Chunk(chunk), (!last).then_some(source)))
        }
    });
    let parts = stream::iter([header]).chain(chunks);
    (parts.map(|part| PutContentRequest { part: Some(part) }), broken)
}
