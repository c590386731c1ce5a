//! Opening, listing, moving and removing the consumers of a log.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use tokio::sync::Mutex;

use super::{
    Consumer, ConsumerOptions, ConsumerStart, Group,
    cursor::{NAME_MAX, Saved},
    engine::Keeper,
};
use crate::{
    SettingError, StoreError,
    log::{DurableLog, Log, LogError, Position},
};

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

type Names = BTreeMap<String, Weak<Group>>;

/// The consumers of a log that are open, by name.
#[derive(Debug, Default)]
pub(in crate::log) struct Consumers(Mutex<Names>);

impl Consumers {
    /// See [`DurableLog::consumer`].
    pub(in crate::log) async fn open<L: DurableLog + Keeper>(
        &self,
        log: &L,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, LogError> {
        check_name(name)?;
        options.check()?;
        let mut names = self.0.lock().await;
        if let Some(group) = names.get(name).and_then(Weak::upgrade)
            && !group.is_taken()
        {
            if group.options.limits != options.limits {
                let consumer = name.to_owned();
                return Err(StoreError::from(SettingError::OtherOptions { consumer }).into());
            }
            return Ok(Consumer::new(group));
        }
        let (engine, saved) = match log.open(name).await? {
            Some(opened) => opened,
            None => {
                let next = match options.start {
                    ConsumerStart::Oldest => log.bounds().await?.0,
                    ConsumerStart::End => log.bounds().await?.1,
                    ConsumerStart::At(position) => position,
                };
                log.check(next).await?;
                log.make(Saved { name: name.to_owned(), next, unsettled: Vec::new() }).await?
            }
        };
        let group = Arc::new(Group::new(engine, options, &saved)?);
        names.retain(|_, group| group.strong_count() > 0);
        names.insert(name.to_owned(), Arc::downgrade(&group));
        Ok(Consumer::new(group))
    }

    /// See [`DurableLog::consumers`].
    pub(in crate::log) async fn list(
        &self,
        log: &impl Keeper,
    ) -> Result<Vec<ConsumerInfo>, LogError> {
        let names = self.0.lock().await;
        let info = |saved: Saved| {
            let open = names.get(&saved.name).and_then(Weak::upgrade);
            let open = open.filter(|group| !group.is_taken());
            let saved = open.as_ref().map_or(saved, |group| group.saved().1);
            let (unsettled, is_open) = (saved.unsettled.len(), open.is_some());
            ConsumerInfo { name: saved.name, next: saved.next, unsettled, is_open }
        };
        Ok(log.all().await?.into_iter().map(info).collect())
    }

    /// See [`DurableLog::reset_consumer`].
    pub(in crate::log) async fn reset(
        &self,
        log: &impl Keeper,
        name: &str,
        to: Position,
    ) -> Result<(), LogError> {
        check_name(name)?;
        let names = self.0.lock().await;
        check_closed(&names, name)?;
        log.check(to).await?;
        let saved = Saved { name: name.to_owned(), next: to, unsettled: Vec::new() };
        log.make(saved).await.map(drop)
    }

    /// See [`DurableLog::remove_consumer`].
    pub(in crate::log) async fn remove(
        &self,
        log: &impl Keeper,
        name: &str,
    ) -> Result<(), LogError> {
        let names = self.0.lock().await;
        check_closed(&names, name)?;
        log.remove(name).await
    }
}

impl Log {
    /// Opens a consumer: [`DurableLog::consumer`].
    ///
    /// # Errors
    /// As there.
    pub async fn consumer(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, LogError> {
        self.consumers_open().open(self, name, options).await
    }

    /// All consumers, in no particular order: [`DurableLog::consumers`].
    ///
    /// # Errors
    /// As there.
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>, LogError> {
        self.consumers_open().list(self).await
    }

    /// Moves a consumer: [`DurableLog::reset_consumer`].
    ///
    /// # Errors
    /// As there.
    pub async fn reset_consumer(&self, name: &str, to: Position) -> Result<(), LogError> {
        self.consumers_open().reset(self, name, to).await
    }

    /// Forgets a consumer: [`DurableLog::remove_consumer`].
    ///
    /// # Errors
    /// As there.
    pub async fn remove_consumer(&self, name: &str) -> Result<(), LogError> {
        self.consumers_open().remove(self, name).await
    }
}

fn check_name(name: &str) -> Result<(), LogError> {
    if (1..=NAME_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(LogError::ConsumerName { len: name.len(), limit: NAME_MAX })
}

fn check_closed(names: &Names, name: &str) -> Result<(), LogError> {
    let open = names.get(name).and_then(Weak::upgrade);
    if open.is_some_and(|group| !group.is_taken()) {
        return Err(LogError::ConsumerOpen { name: name.to_owned() });
    }
    Ok(())
}
