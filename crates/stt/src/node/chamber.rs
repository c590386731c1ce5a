//! A node's encrypted storage, opened when it is first asked for.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use stt_store::{Chamber, ChamberKey, ChamberOptions, SettingError, StoreError};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::Node;

/// How to open a chamber, and the chamber once that was done.
pub(super) struct ChamberSlot {
    seed: Option<Zeroizing<Vec<u8>>>,
    path: Option<PathBuf>,
    /// Whether the node id follows from the seed as well.
    is_identity: bool,
    key: OnceCell<ChamberKey>,
    /// Held while the chamber is opened, so that it is opened once.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

enum State {
    NotOpened,
    Open(Chamber),
    /// The node was stopped.
    Closed,
}

impl ChamberSlot {
    pub(super) fn new(
        seed: Option<Zeroizing<Vec<u8>>>,
        path: Option<PathBuf>,
        is_identity: bool,
    ) -> Self {
        let (key, turn, state) =
            (OnceCell::new(), tokio::sync::Mutex::default(), State::NotOpened.into());
        Self { seed, path, is_identity, key, turn, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> Result<Option<Chamber>, StoreError> {
        match &*self.state() {
            State::NotOpened => Ok(None),
            State::Open(chamber) => Ok(Some(chamber.clone())),
            State::Closed => Err(closed()),
        }
    }

    /// Lets go of it for good.
    pub(super) fn close(&self) {
        let state = std::mem::replace(&mut *self.state(), State::Closed);
        // The last clone waits for the disk: not under the lock.
        drop(state);
    }

    async fn key(&self) -> Result<ChamberKey, StoreError> {
        let stretch = || async {
            let Some(seed) = &self.seed else {
                return Err(SettingError::NoNodeSeed.into());
            };
            ChamberKey::from_seed_async(seed.as_slice()).await
        };
        self.key.get_or_try_init(stretch).await.cloned()
    }

    async fn open(&self) -> Result<Chamber, StoreError> {
        let key = self.key().await?;
        let options = ChamberOptions::default();
        match &self.path {
            Some(path) => Chamber::open(&key, path, options).await,
            None => Chamber::open_default(&key, options).await,
        }
    }
}

fn closed() -> StoreError {
    StoreError::Closed { item: "the chamber of a node that was stopped".to_owned() }
}

impl Node {
    /// The node's encrypted storage: in the directory given to
    /// [`NodeBuilder::chamber_path`](super::NodeBuilder::chamber_path), or in
    /// `~/.seigr/chambers/{id}`, where `id` belongs to the node seed. (The node id may change at
    /// every start; the chamber does not.)
    ///
    /// The first call opens it. [`stop`](Self::stop) lets go of it; it closes with its last clone.
    /// A call that failed may be repeated.
    ///
    /// # Errors
    /// [`StoreError::Closed`] once the node was stopped;
    /// [`StoreError::Setting`] without a node seed; [`StoreError::InUse`] when another process, or
    /// another node of the same seed, has it open; [`StoreError::WrongSeed`] when the directory
    /// belongs to another seed; all other errors of [`Chamber::open`].
    pub async fn chamber(&self) -> Result<Chamber, StoreError> {
        let slot = self.chamber_slot();
        if let Some(chamber) = slot.opened()? {
            return Ok(chamber);
        }
        let _turn = slot.turn.lock().await;
        if let Some(chamber) = slot.opened()? {
            return Ok(chamber);
        }
        let chamber = slot.open().await?;
        match &mut *slot.state() {
            State::Closed => Err(closed()),
            state => {
                *state = State::Open(chamber.clone());
                Ok(chamber)
            }
        }
    }

    /// What encrypts all that the node keeps on disks.
    pub(crate) async fn chamber_key(&self) -> Result<ChamberKey, StoreError> {
        self.chamber_slot().key().await
    }

    /// Whether the node id stays the same over restarts.
    pub(crate) fn has_persistent_identity(&self) -> bool {
        self.chamber_slot().is_identity
    }
}
