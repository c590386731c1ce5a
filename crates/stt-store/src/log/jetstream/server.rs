//! The stream on the server: every call is tried again until it is answered or patience ends.

use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    future::Future,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use async_nats::{
    Client, HeaderMap,
    header::{HeaderName, NATS_EXPECTED_LAST_SEQUENCE},
    jetstream::{
        self, Context, ErrorCode,
        context::{GetStreamErrorKind, PublishErrorKind},
        stream::{
            Config, DiscardPolicy, Info, PersistenceMode, RawMessageErrorKind, StorageType, Stream,
        },
    },
};
use bytes::Bytes;
use stc::Cause;
use tokio::time::{sleep, timeout};

use super::{JetStreamOptions, frame::Frame, monitor};
use crate::{
    ChamberKey, Damage, DamagedPart, SettingError, StoreError,
    blob::{hex, unhex},
    log::{LogError, SyncReport, keys::LogKeys},
};

/// How long one attempt waits for its answer.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pauses between attempts.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Where in a stream's metadata the record of the log stands.
const RECORD: &str = "stt-log";
/// Bytes of a message's headers, and some more.
const HEADERS: usize = 512;

/// A log's stream.
pub(super) struct Server {
    context: Context,
    stream: Stream<()>,
    subject: String,
    pub(super) name: String,
    pub(super) keys: LogKeys,
    record: Vec<u8>,
    patience: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("stream", &self.name).finish_non_exhaustive()
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It is in the stream, under this number.
    Stored(u64),
    /// The last message was another one than expected.
    Refused,
    /// Nobody knows.
    Open,
}

/// First and last message, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) messages: u64,
}

/// Tries until it is answered. An error says why to try again.
pub(super) async fn persist<T, F>(
    patience: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, LogError>
where
    F: Future<Output = Result<T, Cause>>,
{
    let (begun, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        let cause = match timeout(ATTEMPT.min(left), attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(cause)) => cause,
            Err(_) => Cause::text("no answer in time"),
        };
        if begun.elapsed() + pause >= patience {
            return Err(LogError::Unreachable { cause });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Finds the record of the log in what a stream says about itself.
pub(super) fn record_of(config: &Config) -> Option<Vec<u8>> {
    unhex(config.metadata.get(RECORD)?)
}

fn wanted(options: &JetStreamOptions, subject: &str, record: &[u8]) -> Config {
    Config {
        name: options.stream.clone(),
        subjects: vec![subject.to_owned()],
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_bytes: kept(options),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        num_replicas: options.replicas,
        metadata: metadata(record),
        ..Config::default()
    }
}

fn metadata(record: &[u8]) -> HashMap<String, String> {
    [(RECORD.to_owned(), hex(record))].into()
}

fn kept(options: &JetStreamOptions) -> i64 {
    options.keep_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// What a server says about a stream, which is made if there is none.
pub(super) async fn open_stream(
    context: &Context,
    patience: Duration,
    new: &Config,
) -> Result<Info, LogError> {
    let name = &new.name;
    persist(patience, || async {
        match context.get_stream(name).await {
            Ok(stream) => return Ok(stream.cached_info().clone()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                _ => return Err(Cause::from(error)),
            },
        }
        // If somebody else is quicker, the next attempt finds it.
        context.create_stream(new.clone()).await.map_err(Cause::from)?;
        let stream = context.get_stream(name).await.map_err(Cause::from)?;
        Ok(stream.cached_info().clone())
    })
    .await
}

/// Whether the servers that keep a stream sync before they acknowledge.
pub(super) async fn report(
    context: &Context,
    info: &Info,
    options: &JetStreamOptions,
) -> SyncReport {
    let keepers: BTreeSet<String> = match &info.cluster {
        Some(cluster) => {
            let peers = cluster.replicas.iter().map(|peer| peer.name.clone());
            cluster.leader.iter().cloned().chain(peers).collect()
        }
        None => [context.client().server_info().server_name].into(),
    };
    SyncReport {
        servers: monitor::ask(&options.monitors, keepers).await,
        acknowledges_early: info.config.persist_mode == Some(PersistenceMode::Async)
            || info.config.storage != StorageType::File,
    }
}

/// Refuses servers that are not known to sync, if the options say so.
pub(super) fn require_synced(
    report: SyncReport,
    options: &JetStreamOptions,
) -> Result<SyncReport, LogError> {
    if !report.is_synced() {
        if options.synced_only {
            return Err(LogError::NotSynced { report });
        }
        tracing::warn!(stream = options.stream, "a log is not known to be synced: {report}");
    }
    Ok(report)
}

/// Publishes once, if the last message is still the one with the number in the header. `place` is
/// the name of the stream.
pub(super) async fn publish(
    context: &Context,
    subject: String,
    (header, expected): (HeaderName, u64),
    message: Bytes,
    place: &str,
) -> Result<Published, LogError> {
    let mut headers = HeaderMap::new();
    headers.insert(header, expected.to_string());
    let len = message.len();
    let published = async {
        let ack = context.publish_with_headers(subject, headers, message);
        ack.await?.await
    };
    let error = match timeout(ATTEMPT, published).await {
        Ok(Ok(ack)) => return Ok(Published::Stored(ack.sequence)),
        Ok(Err(error)) => error,
        Err(_) => return Ok(Published::Open),
    };
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Ok(Published::Refused),
        PublishErrorKind::MaxPayloadExceeded => {
            Err(LogError::TooLarge { got: len, limit: message_max(context) })
        }
        _ => {
            let said = error.source().and_then(|cause| cause.downcast_ref());
            match said.map(jetstream::Error::error_code) {
                Some(ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::STORAGE_RESOURCES_EXCEEDED) => {
                    Err(StoreError::DiskFull { item: format!("the stream {place}") }.into())
                }
                _ => Ok(Published::Open),
            }
        }
    }
}

/// Bytes that a message may have.
fn message_max(context: &Context) -> usize {
    context.client().server_info().max_payload.saturating_sub(HEADERS)
}

impl Server {
    /// Opens the stream of a log, and makes it if there is none.
    pub(super) async fn open(
        client: Client,
        key: &ChamberKey,
        options: &JetStreamOptions,
    ) -> Result<(Self, SyncReport), LogError> {
        let context = jetstream::context::ContextBuilder::new()
            .timeout(ATTEMPT)
            .ack_timeout(ATTEMPT)
            .build(client);
        let subject = format!("stt.log.{}", options.stream);
        let name = &options.stream;
        let made = LogKeys::create(key)?;
        let new = wanted(options, &subject, &made.1);
        let mut info = open_stream(&context, options.patience, &new).await?;
        let place = format!("the stream {name}");
        let not_ours =
            |found: &str| StoreError::NotAStore { place: place.clone(), found: found.to_owned() };
        let record = record_of(&info.config).ok_or_else(|| not_ours("no record of a log"))?;
        let keys = LogKeys::open(key, &record, &place)?;
        if info.config.subjects != [subject.clone()] {
            return Err(not_ours("another subject").into());
        }
        // Whatever the server removes by itself may be all there is, and then nobody knows the end.
        if !info.config.max_age.is_zero() || info.config.max_messages > 0 {
            let stream = name.clone();
            return Err(StoreError::from(SettingError::Retention { stream }).into());
        }
        if info.config.max_bytes != kept(options) {
            let config = Config { max_bytes: kept(options), ..info.config.clone() };
            info = persist(options.patience, || async {
                context.update_stream(&config).await.map_err(Cause::from)
            })
            .await?;
        }
        let report = report(&context, &info, options).await;
        let stream = context.get_stream_no_info(name).await;
        let stream = stream.map_err(|error| LogError::Unreachable { cause: error.into() })?;
        let (name, patience) = (name.clone(), options.patience);
        Ok((Self { context, stream, subject, name, keys, record, patience }, report))
    }

    /// Bytes that a message may have.
    pub(super) fn message_max(&self) -> usize {
        message_max(&self.context)
    }

    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    /// What marks a stream as one of this log.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        metadata(&self.record)
    }

    /// How often there was a connection: after another one the server may be another, or have
    /// another disk.
    pub(super) fn connects(&self) -> u64 {
        self.context.client().statistics().connects.load(Ordering::Relaxed)
    }

    pub(super) fn damaged(&self, damage: Damage) -> LogError {
        StoreError::damaged(format!("the stream {}", self.name), damage).into()
    }

    pub(super) async fn extent(&self) -> Result<Extent, LogError> {
        let info =
            persist(self.patience, || async { self.stream.get_info().await.map_err(Cause::from) });
        let state = info.await?.state;
        Ok(Extent {
            first: state.first_sequence,
            last: state.last_sequence,
            messages: state.messages,
        })
    }

    /// A message, asked of the server that leads: `None` if there is none of that number.
    pub(super) async fn message(&self, sequence: u64) -> Result<Option<Frame>, LogError> {
        let payload = persist(self.patience, || async {
            match self.stream.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(message.payload)),
                Err(error) => match error.kind() {
                    RawMessageErrorKind::NoMessageFound => Ok(None),
                    RawMessageErrorKind::JetStream(error)
                        if error.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
                    {
                        Ok(None)
                    }
                    _ => Err(Cause::from(error)),
                },
            }
        });
        let Some(payload) = payload.await? else { return Ok(None) };
        let frame = Frame::decode(&self.keys, &payload);
        frame.map(Some).ok_or_else(|| self.damaged(Damage::Unverified(DamagedPart::Message)))
    }

    /// Publishes once, if the last message is still the one with this number.
    pub(super) async fn publish(
        &self,
        message: Bytes,
        expected: u64,
    ) -> Result<Published, LogError> {
        let header = (NATS_EXPECTED_LAST_SEQUENCE, expected);
        let subject = self.subject.clone();
        match publish(&self.context, subject, header, message, &self.name).await? {
            Published::Stored(sequence) if sequence != expected + 1 => {
                Err(self.damaged(Damage::OutOfOrder))
            }
            published => Ok(published),
        }
    }

    /// Removes all messages before this one.
    pub(super) async fn purge(&self, before: u64) -> Result<u64, LogError> {
        let purged = persist(self.patience, || async {
            self.stream.purge().sequence(before).await.map_err(Cause::from)
        });
        Ok(purged.await?.purged)
    }
}
