//! Hash-addressed storage with two calls.

use bytes::Bytes;

use crate::{Chamber, ChamberKey, ContentId, Payload, StoreError};

/// Stores bytes and gives back their address; what the bytes mean is the caller's business.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), stt_store::StoreError> {
/// use stt_store::{BinaryStorage, ChamberKey};
///
/// let key = ChamberKey::from_seed_async(b"seed_32_bytes_minimum_required!!").await?;
/// let storage = BinaryStorage::in_memory(&key).await?;
/// let address = storage.store(r#"{"temp": 25.3, "humidity": 60}"#).await?;
/// assert_eq!(storage.retrieve(&address).await?, r#"{"temp": 25.3, "humidity": 60}"#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BinaryStorage {
    chamber: Chamber,
}

impl BinaryStorage {
    /// On a chamber, which may hold other things too.
    #[must_use]
    pub const fn new(chamber: Chamber) -> Self {
        Self { chamber }
    }

    /// In memory: it ends with its last clone.
    ///
    /// # Errors
    /// As for [`Chamber::in_memory`].
    pub async fn in_memory(key: &ChamberKey) -> Result<Self, StoreError> {
        Chamber::in_memory(key).await.map(Self::new)
    }

    /// Stores `data` until it is removed, and returns its address: its BLAKE3 hash.
    ///
    /// # Errors
    /// As for [`Chamber::put`].
    pub async fn store(&self, data: impl Payload) -> Result<ContentId, StoreError> {
        self.chamber.put(data).await
    }

    /// The bytes at `address`, verified.
    ///
    /// # Errors
    /// As for [`Chamber::get`].
    pub async fn retrieve(&self, address: &ContentId) -> Result<Bytes, StoreError> {
        self.chamber.get(address).await
    }

    /// Whether there is something at `address`.
    ///
    /// # Errors
    /// As for [`Chamber::contains`].
    pub async fn exists(&self, address: &ContentId) -> Result<bool, StoreError> {
        self.chamber.contains(address).await
    }

    /// Removes what is at `address`.
    ///
    /// # Errors
    /// As for [`Chamber::remove`].
    pub async fn remove(&self, address: &ContentId) -> Result<(), StoreError> {
        self.chamber.remove(address).await
    }
}
