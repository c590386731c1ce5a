//! Steps that the crash tests of all backends take.

use crate::{Chamber, ContentId, Keep, StoreError};

/// One step: the value by its seed and length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Put(u8, usize),
    Stream(u8, usize),
    Named(&'static str, u8, usize),
    Unname(&'static str),
    Unpin(u8, usize),
    Remove(u8, usize),
    Collect,
}

pub(crate) fn value(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

pub(crate) fn id(seed: u8, len: usize) -> ContentId {
    ContentId::of(&value(seed, len))
}

impl Step {
    pub(crate) async fn run(self, chamber: &Chamber) -> Result<(), StoreError> {
        match self {
            Self::Put(seed, len) => chamber.put(value(seed, len)).await.map(drop),
            Self::Stream(seed, len) => {
                chamber.put_reader(&value(seed, len)[..], Keep::Pinned).await.map(drop)
            }
            Self::Named(name, seed, len) => {
                chamber.put_named(name, value(seed, len)).await.map(drop)
            }
            Self::Unname(name) => chamber.remove_name(name).await.map(drop),
            Self::Unpin(seed, len) => chamber.unpin(&id(seed, len)).await,
            Self::Remove(seed, len) => chamber.remove(&id(seed, len)).await,
            Self::Collect => chamber.collect(false).await.map(drop),
        }
    }
}
