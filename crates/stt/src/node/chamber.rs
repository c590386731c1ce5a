//! A node's encrypted storage, opened when it is first asked for.

use std::path::PathBuf;

use stt_store::{Chamber, ChamberKey, ChamberOptions, StoreError};
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
    chamber: OnceCell<Chamber>,
}

impl ChamberSlot {
    pub(super) fn new(
        seed: Option<Zeroizing<Vec<u8>>>,
        path: Option<PathBuf>,
        is_identity: bool,
    ) -> Self {
        Self { seed, path, is_identity, key: OnceCell::new(), chamber: OnceCell::new() }
    }

    async fn key(&self) -> Result<ChamberKey, StoreError> {
        let stretch = || async {
            let Some(seed) = &self.seed else {
                let what = "this node has no node seed, with which its chamber would be encrypted";
                return Err(StoreError::Setting { what: what.to_owned() });
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

impl Node {
    /// The node's encrypted storage: in the directory given to
    /// [`NodeBuilder::chamber_path`](super::NodeBuilder::chamber_path), or in
    /// `~/.seigr/chambers/{id}`, where `id` belongs to the node seed. (The node id may change at
    /// every start; the chamber does not.)
    ///
    /// It is opened by the first call, and closed with the last clone of it and of the node. A call
    /// that failed may be repeated.
    ///
    /// # Errors
    /// [`StoreError::Setting`] without a node seed; [`StoreError::InUse`] when another process, or
    /// another node of the same seed, has it open; [`StoreError::WrongSeed`] when the directory
    /// belongs to another seed; all other errors of [`Chamber::open`].
    pub async fn chamber(&self) -> Result<Chamber, StoreError> {
        let slot = self.chamber_slot();
        slot.chamber.get_or_try_init(|| slot.open()).await.cloned()
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
