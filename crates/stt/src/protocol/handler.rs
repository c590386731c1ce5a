//! Who handles which protocol of a node.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{ProtocolError, ProtocolStream};
use crate::{Session, stream::label::Label};

/// Handlers of a node, at most.
const MAX: usize = 1_024;

/// Gets each stream of a label.
pub(crate) type Handler =
    Arc<dyn Fn(Session, ProtocolStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The handlers of a node, by label. Bounded.
#[derive(Default)]
pub(crate) struct Protocols(Mutex<Table>);

#[derive(Default)]
struct Table {
    handlers: HashMap<Label, (u64, Handler)>,
    /// Tells a handler from one that had its label before.
    next: u64,
}

impl Protocols {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, label: Label) -> Option<Handler> {
        self.lock().handlers.get(&label).map(|(_, handler)| Arc::clone(handler))
    }

    fn add(&self, label: Label, handler: Handler) -> Result<u64, ProtocolError> {
        let mut table = self.lock();
        if table.handlers.contains_key(&label) {
            return Err(ProtocolError::Taken { label: label.to_string() });
        }
        if table.handlers.len() >= MAX {
            return Err(ProtocolError::TooManyHandlers { max: MAX });
        }
        let id = table.next;
        table.next += 1;
        table.handlers.insert(label, (id, handler));
        Ok(id)
    }

    fn remove(&self, label: Label, id: u64) {
        let mut table = self.lock();
        if table.handlers.get(&label).is_some_and(|(known, _)| *known == id) {
            let removed = table.handlers.remove(&label);
            // What it holds may call back when it is dropped.
            drop(table);
            drop(removed);
        }
    }

    /// Forgets all of them, and so what they hold.
    pub(crate) fn clear(&self) {
        let handlers = std::mem::take(&mut self.lock().handlers);
        drop(handlers);
    }
}

/// Keeps a handler at work that [`Node::handle_protocol`](crate::Node::handle_protocol) took in:
/// dropped, new streams of its label are refused, and those handed out before go on.
#[must_use = "dropped, the handler is forgotten at once"]
pub struct ProtocolHandler {
    protocols: Weak<Protocols>,
    label: Label,
    id: u64,
}

impl ProtocolHandler {
    pub(crate) fn register<F, R>(
        protocols: &Arc<Protocols>,
        label: &[u8],
        handler: F,
    ) -> Result<Self, ProtocolError>
    where
        F: Fn(Session, ProtocolStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let label = Label::new(label).ok_or(ProtocolError::Label { len: label.len() })?;
        let handler: Handler = Arc::new(move |session, stream| Box::pin(handler(session, stream)));
        let id = protocols.add(label, handler)?;
        Ok(Self { protocols: Arc::downgrade(protocols), label, id })
    }

    /// The label whose streams it gets.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        self.label.as_bytes()
    }
}

impl Drop for ProtocolHandler {
    fn drop(&mut self) {
        if let Some(protocols) = self.protocols.upgrade() {
            protocols.remove(self.label, self.id);
        }
    }
}

impl std::fmt::Debug for ProtocolHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProtocolHandler").field("label", &self.label).finish_non_exhaustive()
    }
}
