//! What a text means that a person gives: an id, a name, or the blob of a problem.

use super::Chamber;
use crate::{ContentId, StoreError};

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Whether only a name was: the value stays until it is collected, unless something else keeps
    /// it.
    pub name_only: bool,
    /// Bytes that are free now; others that write meanwhile make it inexact.
    pub freed: u64,
}

impl Chamber {
    /// The value that `text` means: its id, or a name that points to it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if nothing has that name; errors of reading. An id is returned
    /// whether its value is here or not.
    pub async fn find(&self, text: &str) -> Result<ContentId, StoreError> {
        match self.find_id(text).await? {
            Some(id) => Ok(id),
            None => self.resolve(text).await,
        }
    }

    /// Removes what `text` means: a value by its id, a name, or a value by the
    /// [blob](super::Problem::blob) of a problem.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::StillNamed`] for a value to which a name points;
    /// errors of writing.
    pub async fn remove_item(&self, text: &str) -> Result<Removed, StoreError> {
        let before = self.stored_bytes().await?;
        let mut name_only = false;
        if let Some(id) = self.find_id(text).await? {
            self.remove(&id).await?;
        } else if self.remove_name(text).await? {
            name_only = true;
        } else if let Err(error) = self.remove_unreadable(text).await {
            return Err(match error {
                StoreError::NotFound { .. } => {
                    StoreError::NotFound { item: format!("the entry {text:?}") }
                }
                error => error,
            });
        }
        let freed = before.saturating_sub(self.stored_bytes().await?);
        Ok(Removed { name_only, freed })
    }

    /// `text` as an id. An id that is not here may be a name that an earlier version allowed.
    async fn find_id(&self, text: &str) -> Result<Option<ContentId>, StoreError> {
        let Ok(id) = text.parse() else { return Ok(None) };
        if self.contains(&id).await? {
            return Ok(Some(id));
        }
        match self.resolve(text).await {
            Err(StoreError::NotFound { .. }) => Ok(Some(id)),
            _ => Ok(None),
        }
    }
}
