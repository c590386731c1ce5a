//! Opening, listing, moving and removing the consumers of a log.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
};

use tokio::sync::MutexGuard;

use super::{
    Consumer, ConsumerOptions, ConsumerStart, Group,
    cursor::{CursorFile, NAME_MAX, SUFFIX, Saved, path_of},
};
use crate::{
    SettingError, StoreError,
    disk::blocking,
    log::{Log, LogError, Position, shared::Shared},
};

/// Consumers that a log has at most.
const CONSUMERS_MAX: usize = 1024;

/// A consumer of a log, open or not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// The position behind the last record that was delivered.
    pub next: Position,
    /// Records before it that are not settled.
    pub unsettled: usize,
    /// Whether this process has it open.
    pub is_open: bool,
}

type Groups = BTreeMap<String, Weak<Group>>;

impl Log {
    /// Opens a consumer, and makes it if there is none of this name.
    ///
    /// # Errors
    /// [`LogError::ConsumerName`] unless the name has 1 to 255 bytes;
    /// [`LogError::TooManyConsumers`] beyond 1,024; [`LogError::EpochChanged`] when what it was
    /// delivered is not what this log holds: [`reset_consumer`](Self::reset_consumer) moves it, or
    /// when a start position is refused; [`LogError::Store`] with
    /// [`StoreError::Setting`] for an option out of its range, or when it is open with others.
    pub async fn consumer(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, LogError> {
        check_name(name)?;
        options.check()?;
        let mut groups = self.groups().await;
        if let Some(group) = groups.get(name).and_then(Weak::upgrade) {
            if group.options.limits != options.limits {
                let consumer = name.to_owned();
                return Err(StoreError::from(SettingError::OtherOptions { consumer }).into());
            }
            return Ok(Consumer::new(group));
        }
        let (shared, at) = (self.shared().clone(), name.to_owned());
        let (file, saved) =
            blocking("a cursor", move || Ok(open_or_make(&shared, &at, options.start))).await??;
        self.shared().check_history(saved.next)?;
        let group = Arc::new(Group::new(self.clone(), options, file, &saved)?);
        groups.retain(|_, group| group.strong_count() > 0);
        groups.insert(name.to_owned(), Arc::downgrade(&group));
        Ok(Consumer::new(group))
    }

    /// All consumers, in no particular order.
    ///
    /// # Errors
    /// [`LogError::Store`] when one cannot be read.
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>, LogError> {
        let groups = self.groups().await;
        let shared = self.shared().clone();
        let saved = blocking("the cursors", move || {
            let peek = |path: PathBuf| CursorFile::peek(&shared.fs, &shared.keys, &path);
            files(&shared)?.into_iter().map(peek).collect::<Result<Vec<_>, _>>()
        });
        let info = |saved: Saved| {
            let open = groups.get(&saved.name).and_then(Weak::upgrade);
            let saved =
                open.as_ref().map_or(saved, |group| group.saved(group.machine().cursor().1));
            let (unsettled, is_open) = (saved.unsettled.len(), open.is_some());
            ConsumerInfo { name: saved.name, next: saved.next, unsettled, is_open }
        };
        Ok(saved.await?.into_iter().map(info).collect())
    }

    /// Moves a consumer: the record at `to` is delivered next, and nothing before it. Makes it if
    /// there is none of this name.
    ///
    /// # Errors
    /// [`LogError::ConsumerOpen`], [`LogError::ConsumerName`], [`LogError::TooManyConsumers`];
    /// [`LogError::EpochChanged`] and [`LogError::Trimmed`] about `to`; [`LogError::Store`].
    pub async fn reset_consumer(&self, name: &str, to: Position) -> Result<(), LogError> {
        check_name(name)?;
        let groups = self.groups().await;
        check_closed(&groups, name)?;
        self.shared().check(to)?;
        let (shared, name) = (self.shared().clone(), name.to_owned());
        let made = blocking("a cursor", move || Ok(make(&shared, &name, to))).await?;
        made.map(drop)
    }

    /// Forgets a consumer. It is no error if there is none of this name.
    ///
    /// # Errors
    /// [`LogError::ConsumerOpen`], [`LogError::Store`].
    pub async fn remove_consumer(&self, name: &str) -> Result<(), LogError> {
        let groups = self.groups().await;
        check_closed(&groups, name)?;
        let (shared, name) = (self.shared().clone(), name.to_owned());
        let removed = blocking("a cursor", move || {
            let path = path_of(&shared.keys, &shared.dir, &name);
            match shared.fs.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(shared.io(&error))
                }
                _ => shared.sync_dir(),
            }
        });
        Ok(removed.await?)
    }

    async fn groups(&self) -> MutexGuard<'_, Groups> {
        self.consumers_open().lock().await
    }
}

fn check_name(name: &str) -> Result<(), LogError> {
    if (1..=NAME_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(LogError::ConsumerName { len: name.len(), limit: NAME_MAX })
}

fn check_closed(groups: &Groups, name: &str) -> Result<(), LogError> {
    if groups.get(name).is_some_and(|group| group.strong_count() > 0) {
        return Err(LogError::ConsumerOpen { name: name.to_owned() });
    }
    Ok(())
}

fn files(shared: &Shared) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = shared.fs.list(&shared.dir).map_err(|error| shared.io(&error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
    Ok(paths)
}

fn open_or_make(
    shared: &Shared,
    name: &str,
    start: ConsumerStart,
) -> Result<(CursorFile, Saved), LogError> {
    if let Some(found) = CursorFile::open(&shared.fs, &shared.keys, &shared.dir, name)? {
        return Ok(found);
    }
    let at = match start {
        ConsumerStart::Oldest => shared.start_position(),
        ConsumerStart::End => shared.end_position(),
        ConsumerStart::At(position) => position,
    };
    shared.check(at)?;
    make(shared, name, at)
}

fn make(shared: &Shared, name: &str, at: Position) -> Result<(CursorFile, Saved), LogError> {
    let path = path_of(&shared.keys, &shared.dir, name);
    let others = files(shared)?.iter().filter(|other| **other != path).count();
    if others >= CONSUMERS_MAX {
        return Err(LogError::TooManyConsumers { limit: CONSUMERS_MAX });
    }
    let saved = Saved { name: name.to_owned(), next: at, unsettled: Vec::new() };
    let file = CursorFile::create(&shared.fs, &shared.keys, &shared.dir, &saved)?;
    Ok((file, saved))
}
