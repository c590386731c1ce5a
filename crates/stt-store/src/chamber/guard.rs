//! What is being written or read right now, so that nothing is removed under anybody's hands.
//!
//! Whoever makes a content kept *enters* it first, and leaves it when the change is durable.
//! Whoever removes a content *condemns* it first, which waits until nobody is in it, and keeps
//! others out until it is gone. Between the two, "it is there already" and "nobody keeps it" are
//! facts, not guesses. Whoever unpins a content *releases* it, which is the same, but lets others go
//! on reading it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::Notified};

use crate::BlobName;

#[derive(Default)]
pub(super) struct Guard {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    /// Somebody has to wait.
    #[cfg(test)]
    blocked: Notify,
}

#[derive(Default)]
struct State {
    /// How many calls are making it kept.
    entered: HashMap<BlobName, u32>,
    /// How many hold it against collection.
    protected: HashMap<BlobName, u32>,
    /// What somebody has for himself.
    taken: HashMap<BlobName, Taken>,
}

/// What for.
#[derive(Clone, Copy)]
enum Taken {
    /// To remove it.
    Condemned,
    /// To take its pin away.
    Released,
}

impl State {
    /// Whether nobody had it.
    fn take(&mut self, name: BlobName, what_for: Taken) -> bool {
        match self.taken.entry(name) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(what_for);
                true
            }
        }
    }
}

impl Inner {
    async fn wait(&self, changed: Notified<'_>) {
        #[cfg(test)]
        self.blocked.notify_waiters();
        changed.await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is a single insertion or removal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the two counts a [`Hold`] is in.
#[derive(Clone, Copy)]
enum Count {
    Entered,
    Protected,
}

/// A share in one of the counts.
struct Hold {
    inner: Arc<Inner>,
    name: BlobName,
    count: Count,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let counts = match self.count {
            Count::Entered => &mut state.entered,
            Count::Protected => &mut state.protected,
        };
        match counts.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.name);
            }
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }
}

/// A content is being made kept, as long as this lives.
pub(super) struct Entered {
    _hold: Hold,
}

/// Keeps a content from being collected, as long as this lives; removing it by hand goes on.
#[must_use = "the content is protected only as long as this lives"]
pub struct Protection {
    _hold: Hold,
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Protection")
    }
}

/// Contents are being removed, or unpinned, as long as this lives.
pub(super) struct Alone {
    inner: Arc<Inner>,
    names: Vec<BlobName>,
}

impl Alone {
    pub(super) fn names(&self) -> &[BlobName] {
        &self.names
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for name in &self.names {
            state.taken.remove(name);
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }
}

impl Guard {
    /// Resolves when somebody has to wait from now on.
    #[cfg(test)]
    pub(super) fn blocked(&self) -> Notified<'_> {
        self.inner.blocked.notified()
    }

    /// Waits until nobody is removing or unpinning `name`, and keeps both off.
    pub(super) async fn enter(&self, name: BlobName) -> Entered {
        Entered { _hold: self.hold(name, Count::Entered).await }
    }

    /// Waits until nobody is removing `name`, and keeps it from being collected.
    pub(super) async fn protect(&self, name: BlobName) -> Protection {
        Protection { _hold: self.hold(name, Count::Protected).await }
    }

    async fn hold(&self, name: BlobName, count: Count) -> Hold {
        loop {
            // Before looking, so that no change between the look and the wait is missed.
            let changed = self.inner.changed.notified();
            {
                let mut state = self.inner.state();
                if let (None, _) | (Some(Taken::Released), Count::Protected) =
                    (state.taken.get(&name), count)
                {
                    let counts = match count {
                        Count::Entered => &mut state.entered,
                        Count::Protected => &mut state.protected,
                    };
                    *counts.entry(name).or_insert(0) += 1;
                    return Hold { inner: self.inner.clone(), name, count };
                }
            }
            self.inner.wait(changed).await;
        }
    }

    /// Waits until nobody is in `name`, and keeps everybody out. Protections do not count.
    pub(super) async fn condemn(&self, name: BlobName) -> Alone {
        self.take(name, Taken::Condemned).await
    }

    /// Waits until nobody is in `name`, and keeps out whoever wants to make it kept.
    pub(super) async fn release(&self, name: BlobName) -> Alone {
        self.take(name, Taken::Released).await
    }

    async fn take(&self, name: BlobName, what_for: Taken) -> Alone {
        loop {
            let changed = self.inner.changed.notified();
            {
                let mut state = self.inner.state();
                if !state.entered.contains_key(&name) && state.take(name, what_for) {
                    return Alone { inner: self.inner.clone(), names: vec![name] };
                }
            }
            self.inner.wait(changed).await;
        }
    }

    /// Condemns those of `names` in which nobody is and which nobody protects.
    pub(super) fn condemn_free(&self, names: impl IntoIterator<Item = BlobName>) -> Alone {
        let mut state = self.inner.state();
        let names = names
            .into_iter()
            .filter(|name| {
                !state.entered.contains_key(name)
                    && !state.protected.contains_key(name)
                    && state.take(*name, Taken::Condemned)
            })
            .collect();
        Alone { inner: self.inner.clone(), names }
    }
}
