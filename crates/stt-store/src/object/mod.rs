//! The object-storage backend (`docs/storage.md`, "On object storage").

mod path;
mod provider;
mod reader;
mod writer;

pub use provider::ObjectProvider;

/// What failed at the service, in this crate's words.
fn failed(item: impl Into<String>, error: object_store::Error) -> crate::StoreError {
    use object_store::Error;

    use crate::{Damage, StoreError};
    let item = item.into();
    match error {
        Error::NotFound { .. } => StoreError::NotFound { item },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            StoreError::Permission { item }
        }
        Error::Precondition { .. } => StoreError::damaged(item, Damage::Replaced),
        error => StoreError::Service { item, cause: error.into() },
    }
}

#[cfg(test)]
mod fault_tests;
