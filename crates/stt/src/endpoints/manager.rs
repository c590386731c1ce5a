//! The table of endpoints, and what is done with them.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    task::Poll,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    EndpointAddress, EndpointError, EndpointId, EndpointInfo, EndpointSender, InboxLimits,
    InboxStats, Incoming, Outgoing, inbox::Inbox,
};
use crate::{
    Payload,
    value::{Fields, Value, weight_of},
};

/// Endpoints by id, and what is sent to and received from them. Cheap to clone; clones share
/// everything.
///
/// # Bounds and drop rules
/// - At most [`ManagerConfig::max_endpoints`] endpoints, with at most [`Self::MAX_METADATA`] bytes
///   of metadata each. One with three short fields costs about 600 bytes.
/// - Received messages wait in one queue per endpoint, bounded by [`InboxLimits`] in messages and
///   bytes, and all together in bytes. [`Self::deliver`] waits while its queue is full, and so
///   pushes back on whoever brings the bytes; [`Self::try_deliver`] drops the newest message and
///   counts it. What waits for an endpoint that is removed is dropped and counted.
/// - Sending has no queue of its own: it waits for what carries the bytes, for at most
///   [`ManagerConfig::send_timeout`]. Sending to several tries each at once, at most
///   [`Self::MAX_SENDING`] at the same time, so a slow endpoint delays no other.
///
/// Lookups are O(1), broadcast and listing O(n).
#[derive(Clone)]
pub struct EndpointManager {
    shared: Arc<Shared>,
}

struct Shared {
    table: RwLock<Table>,
    inbox: Mutex<Inbox>,
    sender: Option<Box<dyn EndpointSender>>,
    config: ManagerConfig,
}

#[derive(Default)]
struct Table {
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    /// Names from metadata, where they differ from the id.
    names: HashMap<Arc<str>, EndpointId>,
}

#[derive(Clone)]
struct Endpoint {
    address: EndpointAddress,
    /// Sorted by name. A list, because most endpoints have few fields and a map costs 600 bytes.
    metadata: Box<[(Arc<str>, Value)]>,
    connected_at: SystemTime,
}

/// Limits of an [`EndpointManager`]. [`EndpointManager::with_config`] tells what is out of its
/// range.
#[derive(Clone, Copy, Debug)]
pub struct ManagerConfig {
    max_endpoints: usize,
    send_timeout: Duration,
    inbox: InboxLimits,
}

/// What became of a message to several endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "some endpoints may not have taken the message"]
pub struct BroadcastReport {
    /// Endpoints whose carrier took it.
    pub sent: usize,
    /// Endpoints that did not get it, and why.
    pub failed: Vec<(EndpointId, EndpointError)>,
}

impl ManagerConfig {
    /// Most endpoints, when nothing else is said.
    pub const DEFAULT_MAX_ENDPOINTS: usize = 100_000;
    /// How long what carries the bytes may take, when nothing else is said.
    pub const DEFAULT_SEND_TIMEOUT: Duration = Duration::from_secs(10);

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_endpoints: Self::DEFAULT_MAX_ENDPOINTS,
            send_timeout: Self::DEFAULT_SEND_TIMEOUT,
            inbox: InboxLimits::new(),
        }
    }

    /// Most endpoints, 1 to 10,000,000. Default: [`Self::DEFAULT_MAX_ENDPOINTS`].
    #[must_use]
    pub const fn max_endpoints(mut self, endpoints: usize) -> Self {
        self.max_endpoints = endpoints;
        self
    }

    /// How long what carries the bytes may take for one message. Default:
    /// [`Self::DEFAULT_SEND_TIMEOUT`].
    #[must_use]
    pub const fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// How much may wait to be received.
    #[must_use]
    pub const fn inbox(mut self, inbox: InboxLimits) -> Self {
        self.inbox = inbox;
        self
    }

    fn check(&self) -> Result<(), EndpointError> {
        let (what, min, max, got) = ("max_endpoints", 1, 10_000_000, self.max_endpoints);
        if got < min || got > max {
            return Err(EndpointError::OutOfRange { what, min, max, got });
        }
        self.inbox.check()
    }
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl EndpointManager {
    /// Most bytes of one endpoint's metadata, about.
    pub const MAX_METADATA: usize = 16 << 10;
    /// Most sends of one call that wait at the same time.
    pub const MAX_SENDING: usize = 1_024;

    /// A manager that sends through `sender`, with the default limits.
    #[must_use]
    pub fn new(sender: impl EndpointSender) -> Self {
        Self::make(ManagerConfig::new(), Some(Box::new(sender)))
    }

    /// A manager with other limits. Without a sender it keeps the table and what is received, and
    /// sending fails.
    ///
    /// # Errors
    /// [`EndpointError::OutOfRange`].
    pub fn with_config(
        config: ManagerConfig,
        sender: Option<Box<dyn EndpointSender>>,
    ) -> Result<Self, EndpointError> {
        config.check()?;
        Ok(Self::make(config, sender))
    }

    fn make(config: ManagerConfig, sender: Option<Box<dyn EndpointSender>>) -> Self {
        let inbox = Mutex::new(Inbox::new(config.inbox));
        Self { shared: Arc::new(Shared { table: RwLock::default(), inbox, sender, config }) }
    }

    // --- the table ---

    /// Adds an endpoint. A metadata field `name` that is text is also a name for
    /// [`Self::route_to_endpoint`]. Ids and names are one set: neither may be another endpoint's id
    /// or name.
    ///
    /// # Errors
    /// [`EndpointError::Taken`], [`EndpointError::Full`], or [`EndpointError::OutOfRange`] when the
    /// metadata is too large.
    pub fn add_endpoint(
        &self,
        id: impl Into<EndpointId>,
        address: impl Into<EndpointAddress>,
        metadata: Fields,
    ) -> Result<(), EndpointError> {
        let id = id.into();
        fits(&metadata)?;
        let name = other_name(&id, &metadata);
        let endpoint = Arc::new(Endpoint {
            address: address.into(),
            metadata: metadata.into_iter().collect(),
            connected_at: SystemTime::now(),
        });
        let mut table = self.shared.table.write().unwrap_or_else(PoisonError::into_inner);
        let limit = self.shared.config.max_endpoints;
        let is_name = |id: &str| table.names.contains_key(id);
        if table.endpoints.contains_key(&id)
            || std::str::from_utf8(id.as_bytes()).is_ok_and(is_name)
        {
            return Err(EndpointError::Taken { id });
        }
        if let Some(name) = &name {
            table.is_free(name)?;
        }
        if table.endpoints.len() >= limit {
            return Err(EndpointError::Full { limit });
        }
        if let Some(name) = name {
            table.names.insert(name, id.clone());
        }
        table.endpoints.insert(id, endpoint);
        Ok(())
    }

    /// Changes where an endpoint is. What waits to be received from it stays, and so does the time
    /// since when it is there.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`].
    pub fn set_address(
        &self,
        id: &EndpointId,
        address: impl Into<EndpointAddress>,
    ) -> Result<(), EndpointError> {
        let address = address.into();
        self.change(id, |_, old| Ok(Endpoint { address, ..old }))
    }

    /// Changes all that is known of an endpoint beside its address; the rest as
    /// [`Self::set_address`].
    ///
    /// # Errors
    /// [`EndpointError::Unknown`], and as [`Self::add_endpoint`] for a new name and the size. Nothing
    /// has changed then.
    pub fn set_metadata(&self, id: &EndpointId, metadata: Fields) -> Result<(), EndpointError> {
        self.change(id, |table, old| table.described(id, old, metadata))
    }

    /// Changes one field of what is known of an endpoint, or removes it with `None`: for example when
    /// its health was last looked at.
    ///
    /// # Errors
    /// As [`Self::set_metadata`].
    pub fn set_field(
        &self,
        id: &EndpointId,
        field: &str,
        value: Option<Value>,
    ) -> Result<(), EndpointError> {
        self.change(id, |table, old| {
            let mut metadata: Fields = old.metadata.iter().cloned().collect();
            match value {
                Some(value) => metadata.insert(field.into(), value),
                None => metadata.remove(field),
            };
            table.described(id, old, metadata)
        })
    }

    fn change(
        &self,
        id: &EndpointId,
        change: impl FnOnce(&mut Table, Endpoint) -> Result<Endpoint, EndpointError>,
    ) -> Result<(), EndpointError> {
        let mut table = self.shared.table.write().unwrap_or_else(PoisonError::into_inner);
        let old =
            table.endpoints.get(id).ok_or_else(|| EndpointError::Unknown { id: id.clone() })?;
        let old = Endpoint::clone(old);
        let new = change(&mut table, old)?;
        table.endpoints.insert(id.clone(), Arc::new(new));
        Ok(())
    }

    /// Removes an endpoint and what waits to be received from it, and says whether it was there.
    pub fn remove_endpoint(&self, id: &EndpointId) -> bool {
        let mut table = self.shared.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(endpoint) = table.endpoints.remove(id) else { return false };
        if let Some(name) = endpoint.name()
            && table.names.get(name) == Some(id)
        {
            table.names.remove(name);
        }
        // Under the table's lock, so that nothing is delivered to it in between.
        self.inbox().remove(id);
        true
    }

    /// What is known of an endpoint.
    #[must_use]
    pub fn get_endpoint(&self, id: &EndpointId) -> Option<EndpointInfo> {
        let endpoint = self.find(id)?;
        Some(EndpointInfo {
            id: id.clone(),
            address: endpoint.address.clone(),
            metadata: endpoint.metadata.iter().cloned().collect(),
            connected_at: endpoint.connected_at,
        })
    }

    /// Whether there is such an endpoint.
    #[must_use]
    pub fn contains(&self, id: &EndpointId) -> bool {
        self.read().endpoints.contains_key(id)
    }

    /// All ids, in no particular order.
    #[must_use]
    pub fn list_endpoints(&self) -> Vec<EndpointId> {
        self.read().endpoints.keys().cloned().collect()
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().endpoints.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint that has this name: as its id, or as the field `name` of its metadata.
    #[must_use]
    pub fn find_by_name(&self, name: &str) -> Option<EndpointId> {
        let table = self.read();
        let by_id = EndpointId::try_from(name).ok().filter(|id| table.endpoints.contains_key(id));
        by_id.or_else(|| table.names.get(name).cloned())
    }

    // --- sending ---

    /// Sends to one endpoint, and waits until the bytes were taken.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`], [`EndpointError::NoSender`], [`EndpointError::Send`] or
    /// [`EndpointError::SendTimeout`].
    pub async fn send_to_endpoint(
        &self,
        id: &EndpointId,
        data: impl Payload,
    ) -> Result<(), EndpointError> {
        self.sending(id, data.into_bytes())?.await
    }

    /// Sends to the endpoint with this name; see [`Self::find_by_name`].
    ///
    /// # Errors
    /// As [`Self::send_to_endpoint`].
    pub async fn route_to_endpoint(
        &self,
        name: &str,
        data: impl Payload,
    ) -> Result<(), EndpointError> {
        let id = match self.find_by_name(name) {
            Some(id) => id,
            None => return Err(EndpointError::Unknown { id: EndpointId::try_from(name)? }),
        };
        self.send_to_endpoint(&id, data).await
    }

    /// Sends to several endpoints at once, and waits for all.
    pub async fn send_to_many(&self, ids: &[EndpointId], data: impl Payload) -> BroadcastReport {
        let data = data.into_bytes();
        let mut report = BroadcastReport::default();
        let mut waiting = JoinSet::new();
        for id in ids {
            match self.sending(id, data.clone()) {
                Ok(send) => {
                    let mut send = Box::pin(send);
                    // Most carriers take bytes at once: no task then.
                    match poll_fn(|context| Poll::Ready(send.as_mut().poll(context))).await {
                        Poll::Ready(sent) => report.add(id.clone(), sent),
                        Poll::Pending => {
                            let id = id.clone();
                            waiting.spawn(async move { (id, send.await) });
                        }
                    }
                }
                Err(error) => report.failed.push((id.clone(), error)),
            }
            if waiting.len() >= Self::MAX_SENDING
                && let Some(Ok((id, sent))) = waiting.join_next().await
            {
                report.add(id, sent);
            }
        }
        while let Some(sent) = waiting.join_next().await {
            if let Ok((id, sent)) = sent {
                report.add(id, sent);
            }
        }
        report
    }

    /// Sends to all endpoints at once, and waits for all.
    pub async fn broadcast(&self, data: impl Payload) -> BroadcastReport {
        self.send_to_many(&self.list_endpoints(), data).await
    }

    fn sending(
        &self,
        id: &EndpointId,
        data: Bytes,
    ) -> Result<impl Future<Output = Result<(), EndpointError>> + Send + use<>, EndpointError> {
        let endpoint = self.find(id).ok_or_else(|| EndpointError::Unknown { id: id.clone() })?;
        let sender = self.shared.sender.as_ref().ok_or(EndpointError::NoSender)?;
        let id = id.clone();
        let address = endpoint.address.clone();
        let sending = sender.send(Outgoing { id: id.clone(), address, data });
        let within = self.shared.config.send_timeout;
        Ok(async move {
            match tokio::time::timeout(within, sending).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(failure)) => Err(EndpointError::Send {
                    id,
                    retry_helps: failure.retry_helps,
                    cause: failure.cause,
                }),
                Err(_) => Err(EndpointError::SendTimeout { id, within }),
            }
        })
    }

    // --- receiving ---

    /// Hands over a message that came from an endpoint; waits while its queue is full. Called by
    /// what carries the bytes.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`], also when the endpoint is removed meanwhile.
    pub async fn deliver(&self, id: &EndpointId, data: impl Payload) -> Result<(), EndpointError> {
        let data = data.into_bytes();
        loop {
            let room = {
                let table = self.read();
                if !table.endpoints.contains_key(id) {
                    return Err(EndpointError::Unknown { id: id.clone() });
                }
                let mut inbox = self.inbox();
                if inbox.has_room(id, data.len()) {
                    inbox.push(id, data);
                    return Ok(());
                }
                // Registered before the lock is given back, so no wake-up is missed.
                inbox.room().notified_owned()
            };
            room.await;
        }
    }

    /// As [`Self::deliver`], but drops and counts the message when the queue is full.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`] or [`EndpointError::QueueFull`].
    pub fn try_deliver(&self, id: &EndpointId, data: impl Payload) -> Result<(), EndpointError> {
        let data = data.into_bytes();
        let table = self.read();
        if !table.endpoints.contains_key(id) {
            return Err(EndpointError::Unknown { id: id.clone() });
        }
        let mut inbox = self.inbox();
        if !inbox.has_room(id, data.len()) {
            inbox.count_dropped();
            return Err(EndpointError::QueueFull { id: id.clone() });
        }
        inbox.push(id, data);
        Ok(())
    }

    /// The next message from one endpoint.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`], also when the endpoint is removed while this waits.
    pub async fn receive_from(&self, id: &EndpointId) -> Result<Incoming, EndpointError> {
        loop {
            let arrived = {
                let table = self.read();
                if !table.endpoints.contains_key(id) {
                    return Err(EndpointError::Unknown { id: id.clone() });
                }
                let mut inbox = self.inbox();
                if let Some(next) = inbox.pop(id) {
                    return Ok(next);
                }
                inbox.arrival(id).notified_owned()
            };
            arrived.await;
        }
    }

    /// The next message from any endpoint, in the order of arrival.
    pub async fn receive_any(&self) -> Incoming {
        loop {
            let arrived = {
                let mut inbox = self.inbox();
                if let Some(next) = inbox.pop_any() {
                    if inbox.stats().waiting > 0 {
                        inbox.any().notify_one();
                    }
                    return next;
                }
                inbox.any().notified_owned()
            };
            arrived.await;
        }
    }

    /// What waits to be received, and what was lost.
    #[must_use]
    pub fn inbox_stats(&self) -> InboxStats {
        self.inbox().stats()
    }

    fn find(&self, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.read().endpoints.get(id).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.shared.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.shared.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether an endpoint may have this name.
    fn is_free(&self, name: &str) -> Result<(), EndpointError> {
        let id = EndpointId::try_from(name);
        let taken = self.names.contains_key(name)
            || id.as_ref().is_ok_and(|id| self.endpoints.contains_key(id));
        if taken { Err(EndpointError::Taken { id: id? }) } else { Ok(()) }
    }

    /// `old` with other metadata, and its name in the table instead of the one before.
    fn described(
        &mut self,
        id: &EndpointId,
        old: Endpoint,
        metadata: Fields,
    ) -> Result<Endpoint, EndpointError> {
        fits(&metadata)?;
        let before: Option<Arc<str>> =
            old.name().filter(|name| name.as_bytes() != id.as_bytes()).map(Arc::from);
        let now = other_name(id, &metadata);
        if before != now {
            if let Some(name) = &now {
                self.is_free(name)?;
            }
            if let Some(name) = before {
                self.names.remove(&name);
            }
            if let Some(name) = now {
                self.names.insert(name, id.clone());
            }
        }
        Ok(Endpoint { metadata: metadata.into_iter().collect(), ..old })
    }
}

/// Whether it is small enough.
fn fits(metadata: &Fields) -> Result<(), EndpointError> {
    let (got, max) = (weight_of(metadata), EndpointManager::MAX_METADATA);
    if got > max {
        return Err(EndpointError::OutOfRange { what: "bytes of metadata", min: 0, max, got });
    }
    Ok(())
}

/// The name that metadata gives an endpoint, unless that is its id.
fn other_name(id: &EndpointId, metadata: &Fields) -> Option<Arc<str>> {
    match metadata.get("name") {
        Some(Value::Text(name)) if name.as_bytes() != id.as_bytes() => Some(Arc::clone(name)),
        _ => None,
    }
}

impl Endpoint {
    fn name(&self) -> Option<&str> {
        self.metadata.iter().find(|(field, _)| &**field == "name")?.1.as_text()
    }
}

impl BroadcastReport {
    fn add(&mut self, id: EndpointId, sent: Result<(), EndpointError>) {
        match sent {
            Ok(()) => self.sent += 1,
            Err(error) => self.failed.push((id, error)),
        }
    }
}

impl std::fmt::Debug for EndpointManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointManager")
            .field("endpoints", &self.len())
            .field("inbox", &self.inbox_stats())
            .finish_non_exhaustive()
    }
}
