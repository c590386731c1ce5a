//! What is kept of a file beside its content: an entry of its own in the store.
//!
//! It counts only while it names the content that the key points to, so a crash between the two writes
//! leaves a file without metadata, never one with those of another content.

use stt_store::{Chamber, ContentId, Keep, StoreError};

use super::metadata::Metadata;
use crate::proto::v1::File;

/// Begins the names of records; no key may begin like this.
pub(crate) const PREFIX: &str = ".stt/file/";

/// What is kept, encoded with protobuf.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(bytes = "vec", tag = "1")]
    hash: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) media_type: String,
    #[prost(uint64, tag = "3")]
    pub(super) created_at_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(super) updated_at_ms: u64,
    #[prost(map = "string, string", tag = "5")]
    pub(super) metadata: Metadata,
}

impl Record {
    /// The record of `key`, if there is one of this content.
    pub(super) async fn load(
        chamber: &Chamber,
        key: &str,
        id: ContentId,
    ) -> Result<Option<Self>, StoreError> {
        let record = Self::any(chamber, key).await?;
        Ok(record.filter(|record| record.hash == id.as_bytes()))
    }

    /// The record of `key`, whatever its content.
    pub(super) async fn any(chamber: &Chamber, key: &str) -> Result<Option<Self>, StoreError> {
        match chamber.get_named(&name(key)).await {
            // Not ours, then.
            Ok(bytes) => Ok(prost::Message::decode(bytes).ok()),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps it for `key`, whose content is `id`.
    pub(super) async fn store(
        mut self,
        chamber: &Chamber,
        key: &str,
        id: ContentId,
    ) -> Result<Self, StoreError> {
        self.hash = id.as_bytes().to_vec();
        chamber.put_with(prost::Message::encode_to_vec(&self), Keep::Named(name(key))).await?;
        Ok(self)
    }

    /// Forgets it.
    pub(super) async fn remove(chamber: &Chamber, key: &str) -> Result<(), StoreError> {
        chamber.remove_name(&name(key)).await.map(drop)
    }

    /// What callers see.
    pub(super) fn describe(self, key: &str, id: ContentId, size: u64) -> File {
        File {
            key: key.to_owned(),
            size,
            hash: id.to_string(),
            r#type: self.media_type,
            created_at_ms: self.created_at_ms,
            updated_at_ms: self.updated_at_ms,
            metadata: self.metadata,
        }
    }
}

fn name(key: &str) -> String {
    format!("{PREFIX}{key}")
}
