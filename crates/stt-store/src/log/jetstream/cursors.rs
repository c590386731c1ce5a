//! Where the consumers of a log keep their cursors: a stream beside it, with a subject for each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use async_nats::{
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{
        Context, ErrorCode,
        stream::{Config, DiscardPolicy, RawMessageErrorKind, StorageType, Stream},
    },
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use stc::{Cause, random};
use tokio::time::sleep;

use super::{
    JetStreamOptions,
    handle::Core,
    server::{self, PAUSES, Published, Server, persist},
};
use crate::{
    Damage, DamagedPart, StoreError,
    log::{
        LogError,
        consumer::{self, CONSUMERS_MAX, Saved},
        keys::LogKeys,
    },
};

/// Tells one opening of a consumer from all others.
type Owner = [u8; 16];

/// The stream of the cursors.
#[derive(Debug)]
pub(super) struct Cursors {
    context: Context,
    stream: Stream<()>,
    name: String,
    /// What the subjects begin with.
    prefix: String,
    options: JetStreamOptions,
}

/// The newest message of a cursor.
struct Found {
    /// Its number in the stream.
    sequence: u64,
    message: Bytes,
}

impl Found {
    fn is_of(&self, owner: &Owner) -> bool {
        self.message.starts_with(owner)
    }
}

impl Cursors {
    /// Opens the stream, and makes it if there is none.
    pub(super) async fn open(
        server: &Server,
        options: &JetStreamOptions,
    ) -> Result<Self, LogError> {
        // No log has a name with this sign.
        let name = format!("{}+consumers", options.stream);
        let prefix = format!("stt.log-consumers.{}.", options.stream);
        let new = Config {
            name: name.clone(),
            subjects: vec![format!("{prefix}*")],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: 1,
            num_replicas: options.replicas,
            metadata: server.metadata(),
            ..Config::default()
        };
        let context = server.context();
        let info = server::open_stream(context, options.patience, &new).await?;
        let found = &info.config;
        let is_ours = server::record_of(found) == server::record_of(&new)
            && found.subjects == new.subjects
            && found.max_messages_per_subject == 1
            && found.max_age.is_zero()
            && found.max_messages <= 0
            && found.max_bytes <= 0;
        if !is_ours {
            let (place, found) = (format!("the stream {name}"), "no cursors of this log");
            return Err(StoreError::NotAStore { place, found: found.to_owned() }.into());
        }
        server::require_synced(server::report(context, &info, options).await, options)?;
        let got = consumer::PLACE + size_of::<Owner>();
        if server.message_max() < got {
            return Err(LogError::TooLarge { got, limit: server.message_max() });
        }
        let stream = context.get_stream_no_info(&name).await;
        let stream = stream.map_err(|error| LogError::Unreachable { cause: error.into() })?;
        let (context, options) = (context.clone(), options.clone());
        Ok(Self { context, stream, name, prefix, options })
    }

    fn subject(&self, file: &str) -> String {
        format!("{}{file}", self.prefix)
    }

    async fn last(&self, file: &str) -> Result<Option<Found>, LogError> {
        let subject = self.subject(file);
        persist(self.options.patience, || async {
            let last = self.stream.get_last_raw_message_by_subject(&subject).await;
            match last {
                Ok(last) => Ok(Some(Found { sequence: last.sequence, message: last.payload })),
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
        })
        .await
    }

    /// What all cursors say.
    pub(super) async fn all(&self, keys: &LogKeys) -> Result<Vec<Saved>, LogError> {
        let all = format!("{}*", self.prefix);
        let subjects = persist(self.options.patience, || async {
            let subjects = self.stream.info_with_subjects(&all).await.map_err(Cause::from)?;
            subjects.try_collect::<Vec<_>>().await.map_err(Cause::from)
        });
        let mut saved = Vec::new();
        for (subject, _) in subjects.await? {
            let Some(file) = subject.strip_prefix(&self.prefix) else { continue };
            // One may be removed meanwhile.
            if let Some(found) = self.last(file).await? {
                saved.push(self.decode(keys, file, &found.message)?.1);
            }
        }
        Ok(saved)
    }

    pub(super) async fn remove(&self, file: &str) -> Result<(), LogError> {
        let subject = self.subject(file);
        let purged = persist(self.options.patience, || async {
            self.stream.purge().filter(subject.clone()).await.map_err(Cause::from)
        });
        purged.await.map(drop)
    }

    async fn check_room(&self) -> Result<(), LogError> {
        let info = persist(self.options.patience, || async {
            self.stream.get_info().await.map_err(Cause::from)
        });
        if info.await?.state.subjects_count >= CONSUMERS_MAX as u64 {
            return Err(LogError::TooManyConsumers { limit: CONSUMERS_MAX });
        }
        Ok(())
    }

    fn decode(&self, keys: &LogKeys, file: &str, message: &[u8]) -> Result<(u64, Saved), LogError> {
        let found = message.split_first_chunk::<16>().and_then(|(owner, place)| {
            let (number, saved) = consumer::decode(&keys.owned_cursor(file, owner), place)?;
            (keys.cursor_file(&saved.name) == file).then_some((number, saved))
        });
        found.ok_or_else(|| {
            let item = format!("a cursor in the stream {}", self.name);
            StoreError::damaged(item, Damage::Unverified(DamagedPart::Message)).into()
        })
    }
}

/// The cursor of a consumer that this process has.
#[derive(Debug)]
pub(super) struct Cursor {
    core: Arc<Core>,
    name: String,
    file: String,
    owner: Owner,
    /// Of the message that was written last.
    number: u64,
    /// The last message of the subject, as this process knows it.
    sequence: u64,
    /// What was written last.
    version: u64,
    taken: Arc<AtomicBool>,
}

impl Cursor {
    /// Takes the consumer, if there is one and its cursor fits the history of the log. The process
    /// that had it learns of it by its next call.
    pub(super) async fn open(
        core: &Arc<Core>,
        name: &str,
    ) -> Result<Option<(Self, Saved)>, LogError> {
        let (cursors, keys) = (core.cursors().await?, &core.server.keys);
        let file = keys.cursor_file(name);
        let begun = Instant::now();
        loop {
            let Some(found) = cursors.last(&file).await? else { return Ok(None) };
            let (number, saved) = cursors.decode(keys, &file, &found.message)?;
            core.check_history(saved.next).await?;
            let mut cursor = Self::new(core, &saved.name, number, found.sequence)?;
            match cursor.publish(&saved).await {
                Ok(()) => return Ok(Some((cursor, saved))),
                // Another process wrote the cursor first, and what it wrote counts.
                Err(LogError::ConsumerTaken { .. }) if begun.elapsed() < core.patience => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a cursor, or puts a new one in its place.
    pub(super) async fn make(core: &Arc<Core>, saved: &Saved) -> Result<Self, LogError> {
        let (cursors, keys) = (core.cursors().await?, &core.server.keys);
        let file = keys.cursor_file(&saved.name);
        let begun = Instant::now();
        loop {
            let found = cursors.last(&file).await?;
            let number = match &found {
                // What cannot be read is replaced as well.
                Some(found) => {
                    cursors.decode(keys, &file, &found.message).map_or(0, |found| found.0)
                }
                None => {
                    cursors.check_room().await?;
                    0
                }
            };
            let sequence = found.map_or(0, |found| found.sequence);
            let mut cursor = Self::new(core, &saved.name, number, sequence)?;
            match cursor.publish(saved).await {
                Ok(()) => return Ok(cursor),
                Err(LogError::ConsumerTaken { .. }) if begun.elapsed() < core.patience => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn new(core: &Arc<Core>, name: &str, number: u64, sequence: u64) -> Result<Self, LogError> {
        Ok(Self {
            core: core.clone(),
            name: name.to_owned(),
            file: core.server.keys.cursor_file(name),
            owner: random::bytes().map_err(StoreError::from)?,
            number,
            sequence,
            version: 0,
            taken: Arc::default(),
        })
    }

    /// Set as soon as somebody else is known to have the consumer.
    pub(super) fn taken(&self) -> Arc<AtomicBool> {
        self.taken.clone()
    }

    /// Writes a version of the cursor, unless a newer one was written.
    pub(super) async fn write(&mut self, version: u64, saved: &Saved) -> Result<(), LogError> {
        if self.taken.load(Relaxed) {
            return Err(self.lost());
        }
        if version > self.version {
            self.publish(saved).await?;
            self.version = version;
        }
        Ok(())
    }

    fn lost(&self) -> LogError {
        self.taken.store(true, Relaxed);
        LogError::ConsumerTaken { name: self.name.clone() }
    }

    /// Writes it behind the message that this process knows as the last one.
    async fn publish(&mut self, saved: &Saved) -> Result<(), LogError> {
        let core = self.core.clone();
        let cursors = core.cursors().await?;
        self.number = self.number.saturating_add(1);
        let key = core.server.keys.owned_cursor(&self.file, &self.owner);
        let place = consumer::encode(&key, self.number, saved)?;
        let message = Bytes::from([self.owner.as_slice(), &place].concat());
        let (begun, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let header = (NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, self.sequence);
            let subject = cursors.subject(&self.file);
            let place = &cursors.name;
            let published =
                server::publish(&cursors.context, subject, header, message.clone(), place).await?;
            if let Published::Stored(sequence) = published {
                self.sequence = sequence;
                return Ok(());
            }
            match cursors.last(&self.file).await? {
                Some(found) if found.message == message => {
                    self.sequence = found.sequence;
                    return Ok(());
                }
                // An earlier attempt of this process was stored after all; or an older copy of the
                // server's disk was put back, and nobody else has written to it.
                Some(found) if found.is_of(&self.owner) || found.sequence < self.sequence => {
                    self.sequence = found.sequence;
                }
                None if self.sequence == 0 => {}
                Some(found) if found.sequence == self.sequence => {}
                _ => return Err(self.lost()),
            }
            if begun.elapsed() + pause >= core.patience {
                let cause = Cause::text("a cursor was not acknowledged in time");
                return Err(LogError::Unreachable { cause });
            }
            if published == Published::Open {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}
