//! What happened, kept for a while, for everybody who watches.
//!
//! Events stand in a ring per kind, and each watcher has only a position in it: memory does not grow
//! with watchers, and a slow one delays nobody.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    RequestError,
    answers::Answers,
    proto::v1::{
        EventHeader, FileEvent, HealthEvent, PeerEvent, Position, StreamEventsRequest, SystemEvent,
        event_service_server::EventService,
    },
    state::{Phase, Shared, now_ms},
    status::ToStatus,
};

/// Events of a kind that are kept.
const KEPT: usize = 1024;
/// Longest name of a subscriber, in bytes.
const NAME_MAX: usize = 64;

/// All kinds.
pub(crate) struct Events {
    pub(crate) files: Arc<Log<FileEvent>>,
    pub(crate) peers: Arc<Log<PeerEvent>>,
    pub(crate) system: Arc<Log<SystemEvent>>,
    pub(crate) health: Arc<Log<HealthEvent>>,
}

impl Events {
    /// Empty ones; `epoch` says which run of the node it is.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            files: Log::new(epoch),
            peers: Log::new(epoch),
            system: Log::new(epoch),
            health: Log::new(epoch),
        }
    }
}

impl Events {
    /// Open calls, of all kinds.
    pub(crate) fn subscribers(&self) -> usize {
        self.files.last.receiver_count()
            + self.peers.last.receiver_count()
            + self.system.last.receiver_count()
            + self.health.last.receiver_count()
    }
}

/// An event that says where it stands.
pub(crate) trait Headed: Clone + Send + Sync + 'static {
    fn header(&mut self) -> &mut Option<EventHeader>;
}

macro_rules! headed {
    ($($event:ty),*) => {$(
        impl Headed for $event {
            fn header(&mut self) -> &mut Option<EventHeader> {
                &mut self.header
            }
        }
    )*};
}

headed!(FileEvent, PeerEvent, SystemEvent, HealthEvent);

/// The events of one kind.
pub(crate) struct Log<E> {
    epoch: u64,
    kept: Mutex<VecDeque<E>>,
    /// Offset of the last event.
    last: watch::Sender<u64>,
    names: Mutex<HashSet<String>>,
}

impl<E: Headed> Log<E> {
    fn new(epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            kept: Mutex::default(),
            last: watch::Sender::new(0),
            names: Mutex::default(),
        })
    }

    /// Adds an event and wakes who watches.
    pub(crate) fn emit(&self, mut event: E) {
        let mut kept = lock(&self.kept);
        let offset = *self.last.borrow() + 1;
        let position = Position { epoch: self.epoch, offset };
        *event.header() = Some(EventHeader { position: Some(position), at_ms: now_ms() });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
        self.last.send_replace(offset);
    }

    /// The event after `after`; `None` while there is none.
    fn after(&self, after: u64) -> Result<Option<E>, RequestError> {
        let kept = lock(&self.kept);
        let last = *self.last.borrow();
        let first = last + 1 - kept.len() as u64;
        if after + 1 < first {
            return Err(RequestError::EventGap { after, first });
        }
        let index = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        Ok(kept.get(index).cloned())
    }

    fn begin(&self, request: &StreamEventsRequest) -> Result<u64, RequestError> {
        let last = *self.last.borrow();
        let Some(position) = request.after else { return Ok(last) };
        if position.epoch != self.epoch {
            let (given, current) = (position.epoch, self.epoch);
            return Err(RequestError::EventEpoch { given, current });
        }
        if position.offset > last {
            let what = format!("{} is past the last event, {last}", position.offset);
            return Err(RequestError::Invalid { field: "after", what });
        }
        Ok(position.offset)
    }

    fn subscribe(
        self: &Arc<Self>,
        state: &Shared,
        request: &StreamEventsRequest,
    ) -> Result<Answers<E>, RequestError> {
        let name = Name::take(self, &request.subscriber_id)?;
        let after = self.begin(request)?;
        let watching = Watching {
            news: self.last.subscribe(),
            log: Arc::clone(self),
            state: Arc::clone(state),
            after,
            over: false,
            _name: name,
        };
        Ok(Box::pin(stream::unfold(watching, Watching::next)))
    }
}

struct Watching<E: Headed> {
    log: Arc<Log<E>>,
    state: Shared,
    news: watch::Receiver<u64>,
    after: u64,
    over: bool,
    _name: Name<E>,
}

impl<E: Headed> Watching<E> {
    async fn next(mut self) -> Option<(Result<E, Status>, Self)> {
        if self.over {
            return None;
        }
        loop {
            self.news.mark_unchanged();
            match self.log.after(self.after) {
                Ok(Some(event)) => {
                    self.after += 1;
                    return Some((Ok(event), self));
                }
                Ok(None) => {}
                Err(error) => {
                    self.over = true;
                    return Some((Err(error.to_status()), self));
                }
            }
            tokio::select! {
                biased;
                changed = self.news.changed() => changed.ok()?,
                () = self.state.reached(Phase::Draining) => return None,
            }
        }
    }
}

/// A subscriber's name, free again once the call ends.
struct Name<E: Headed> {
    log: Arc<Log<E>>,
    name: String,
}

impl<E: Headed> Name<E> {
    fn take(log: &Arc<Log<E>>, name: &str) -> Result<Self, RequestError> {
        if name.len() > NAME_MAX {
            let what = format!("it has {} bytes, and at most {NAME_MAX} are allowed", name.len());
            return Err(RequestError::Invalid { field: "subscriber_id", what });
        }
        if !name.is_empty() && !lock(&log.names).insert(name.to_owned()) {
            return Err(RequestError::SubscriberTaken { id: name.to_owned() });
        }
        Ok(Self { log: Arc::clone(log), name: name.to_owned() })
    }
}

impl<E: Headed> Drop for Name<E> {
    fn drop(&mut self) {
        lock(&self.log.names).remove(&self.name);
    }
}

/// What a panic interrupted is whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service.
pub(crate) struct EventsOver(pub(crate) Shared);

macro_rules! subscription {
    ($self:ident, $request:ident, $kind:ident) => {
        $self
            .0
            .events
            .$kind
            .subscribe(&$self.0, $request.get_ref())
            .map(Response::new)
            .map_err(|error| error.to_status())
    };
}

#[tonic::async_trait]
impl EventService for EventsOver {
    type StreamFileOperationsStream = Answers<FileEvent>;
    type StreamPeerEventsStream = Answers<PeerEvent>;
    type StreamSystemEventsStream = Answers<SystemEvent>;
    type StreamHealthEventsStream = Answers<HealthEvent>;

    async fn stream_file_operations(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamFileOperationsStream>, Status> {
        subscription!(self, request, files)
    }

    async fn stream_peer_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamPeerEventsStream>, Status> {
        subscription!(self, request, peers)
    }

    async fn stream_system_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamSystemEventsStream>, Status> {
        subscription!(self, request, system)
    }

    async fn stream_health_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamHealthEventsStream>, Status> {
        subscription!(self, request, health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u64) -> SystemEvent {
        SystemEvent { code: code.to_string(), ..Default::default() }
    }

    #[test]
    fn who_falls_behind_the_ring_is_told() {
        let log = Log::new(7);
        assert_eq!(log.after(0), Ok(None));
        for offset in 1..=KEPT as u64 + 2 {
            log.emit(event(offset));
        }
        assert_eq!(log.after(1), Err(RequestError::EventGap { after: 1, first: 3 }));
        let third = log.after(2).unwrap().unwrap();
        assert_eq!(third.code, "3");
        assert_eq!(third.header.unwrap().position, Some(Position { epoch: 7, offset: 3 }));
        assert_eq!(log.after(KEPT as u64 + 2), Ok(None));
    }

    #[test]
    fn positions_of_another_run_or_of_the_future_are_refused() {
        let log = Log::new(7);
        log.emit(event(1));
        let begin = |epoch, offset| {
            let after = Some(Position { epoch, offset });
            log.begin(&StreamEventsRequest { after, ..Default::default() })
        };
        assert_eq!(begin(7, 1), Ok(1));
        assert_eq!(begin(6, 1), Err(RequestError::EventEpoch { given: 6, current: 7 }));
        assert!(matches!(begin(7, u64::MAX), Err(RequestError::Invalid { .. })));
        assert_eq!(log.begin(&StreamEventsRequest::default()), Ok(1));
    }

    #[test]
    fn a_name_is_free_again_when_its_call_ends() {
        let log = Log::<SystemEvent>::new(7);
        let held = Name::take(&log, "a").unwrap();
        assert!(matches!(Name::take(&log, "a"), Err(RequestError::SubscriberTaken { .. })));
        drop(held);
        let _again = Name::take(&log, "a").unwrap();
        let _nameless = (Name::take(&log, "").unwrap(), Name::take(&log, "").unwrap());
    }
}
