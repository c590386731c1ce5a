//! What happened.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::EventError;
use crate::{
    CloseReason, NodeId, Route, SessionId,
    value::{Fields, Value, weight_of},
};

/// Something that happened: one of the built-in events of a node, or one of the application's own.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A session is ready: both sides are proven and streams can be opened.
    SessionCreated {
        /// The session.
        session_id: SessionId,
        /// The node at its other end.
        peer: NodeId,
    },
    /// A session ended, for whatever reason. Exactly one follows each `SessionCreated`, for one
    /// that began a resumable session only when that is over ([`resume`](crate::resume)).
    SessionClosed {
        /// The session.
        session_id: SessionId,
        /// The node at its other end.
        peer: NodeId,
        /// Why.
        reason: CloseReason,
    },
    /// The first session with a peer is ready; comes before its `SessionCreated`.
    PeerConnected {
        /// The peer.
        peer: NodeId,
    },
    /// The last session with a peer ended; comes after its `SessionClosed`, unless it is resumable.
    PeerDisconnected {
        /// The peer.
        peer: NodeId,
    },
    /// Datagrams of a session travel over another route, or to another address, from now on.
    RouteChanged {
        /// The session.
        session_id: SessionId,
        /// The node at its other end.
        peer: NodeId,
        /// The route before.
        from: Route,
        /// The route now.
        to: Route,
    },
    /// Nothing arrived from the peer although it was asked for a sign of life. If it stays so the
    /// session ends with [`CloseReason::Timeout`]. Comes again for each further heartbeat.
    HeartbeatMissed {
        /// The session.
        session_id: SessionId,
        /// The node at its other end.
        peer: NodeId,
        /// How many heartbeats in a row were missed, this one included.
        missed: u32,
        /// Nothing arrived for at least so long.
        silence: Duration,
    },
    /// A message arrived on a stream that nobody has claimed.
    ///
    /// As long as [`Node::receive`](crate::Node::receive) was never called, handlers of this event
    /// are those who get such messages: one after the other, the next when all handlers are done
    /// with the one before, so that slow ones make the peers wait and nothing is lost. From the first
    /// call on messages are for `receive`: they wait there, and handlers are told of each as it
    /// joins the queue, which holds 1,024. Handlers of all events are told, too, but a message does
    /// not leave its stream for them alone.
    DataReceived {
        /// The session that it came through.
        session_id: SessionId,
        /// The stream.
        stream_id: u32,
        /// The message, shared and not copied.
        data: Bytes,
    },
    /// Something failed that no call of the application could report.
    Error {
        /// The error's stable code ([`stc::Coded::code`]).
        code: &'static str,
        /// What happened, in words.
        details: String,
    },
    /// Something needs attention but nothing failed yet: a slow handler, a full queue, a seed that
    /// can be guessed.
    Warning {
        /// A stable word for it, in the manner of error codes.
        code: &'static str,
        /// What happened, in words.
        details: String,
    },
    /// An event of the application's own.
    Custom(CustomEvent),
}

/// Which of the built-in events, or that it is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// [`Event::SessionCreated`], `session_created`.
    SessionCreated,
    /// [`Event::SessionClosed`], `session_closed`.
    SessionClosed,
    /// [`Event::PeerConnected`], `peer_connected`.
    PeerConnected,
    /// [`Event::PeerDisconnected`], `peer_disconnected`.
    PeerDisconnected,
    /// [`Event::RouteChanged`], `route_changed`.
    RouteChanged,
    /// [`Event::HeartbeatMissed`], `heartbeat_missed`.
    HeartbeatMissed,
    /// [`Event::DataReceived`], `data_received`.
    DataReceived,
    /// [`Event::Error`], `error`.
    Error,
    /// [`Event::Warning`], `warning`.
    Warning,
    /// [`Event::Custom`], any other name.
    Custom,
}

impl EventKind {
    /// The built-in events.
    pub const BUILT_IN: [Self; 9] = [
        Self::SessionCreated,
        Self::SessionClosed,
        Self::PeerConnected,
        Self::PeerDisconnected,
        Self::RouteChanged,
        Self::HeartbeatMissed,
        Self::DataReceived,
        Self::Error,
        Self::Warning,
    ];

    /// The name under which handlers are registered, if it is a built-in event.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SessionCreated => "session_created",
            Self::SessionClosed => "session_closed",
            Self::PeerConnected => "peer_connected",
            Self::PeerDisconnected => "peer_disconnected",
            Self::RouteChanged => "route_changed",
            Self::HeartbeatMissed => "heartbeat_missed",
            Self::DataReceived => "data_received",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Custom => return None,
        })
    }

    /// The kind of the event with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self::BUILT_IN.into_iter().find(|kind| kind.name() == Some(name)).unwrap_or(Self::Custom)
    }
}

/// An event of the application's own: a name, and named values.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomEvent {
    name: Arc<str>,
    fields: Fields,
}

impl CustomEvent {
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 128;

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its values.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }
}

impl Event {
    /// An event of the application's own. It may carry the name of a built-in event, to simulate
    /// it; handlers of that name are called.
    ///
    /// # Errors
    /// [`EventError::Name`] when the name is empty, longer than [`CustomEvent::MAX_NAME`] bytes,
    /// or `*`.
    pub fn custom<K, V>(
        name: &str,
        fields: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, EventError>
    where
        K: Into<Arc<str>>,
        V: Into<Value>,
    {
        check_name(name)?;
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Ok(Self::Custom(CustomEvent { name: name.into(), fields }))
    }

    /// Which built-in event it is.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::SessionCreated { .. } => EventKind::SessionCreated,
            Self::SessionClosed { .. } => EventKind::SessionClosed,
            Self::PeerConnected { .. } => EventKind::PeerConnected,
            Self::PeerDisconnected { .. } => EventKind::PeerDisconnected,
            Self::RouteChanged { .. } => EventKind::RouteChanged,
            Self::HeartbeatMissed { .. } => EventKind::HeartbeatMissed,
            Self::DataReceived { .. } => EventKind::DataReceived,
            Self::Error { .. } => EventKind::Error,
            Self::Warning { .. } => EventKind::Warning,
            Self::Custom(_) => EventKind::Custom,
        }
    }

    /// The name under which its handlers are registered.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Custom(event) => &event.name,
            built_in => built_in.kind().name().unwrap_or_default(),
        }
    }

    /// What it carries, by name: for handlers that treat all events alike. Ids are bytes.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let session = |id: &SessionId| Value::Bytes(Bytes::copy_from_slice(id.as_bytes()));
        let node = |id: &NodeId| Value::Bytes(Bytes::copy_from_slice(id.as_bytes()));
        let pairs: Vec<(&str, Value)> = match self {
            Self::SessionCreated { session_id, peer } => {
                vec![("session_id", session(session_id)), ("peer_node_id", node(peer))]
            }
            Self::SessionClosed { session_id, peer, reason } => vec![
                ("session_id", session(session_id)),
                ("peer_node_id", node(peer)),
                ("reason", reason.as_str().into()),
            ],
            Self::PeerConnected { peer } | Self::PeerDisconnected { peer } => {
                vec![("peer_node_id", node(peer))]
            }
            Self::RouteChanged { session_id, peer, from, to } => vec![
                ("session_id", session(session_id)),
                ("peer_node_id", node(peer)),
                ("from_kind", from.kind.to_string().into()),
                ("from_address", from.remote.to_string().into()),
                ("kind", to.kind.to_string().into()),
                ("address", to.remote.to_string().into()),
            ],
            Self::HeartbeatMissed { session_id, peer, missed, silence } => vec![
                ("session_id", session(session_id)),
                ("peer_node_id", node(peer)),
                ("missed", (*missed).into()),
                ("silence", silence.as_secs_f64().into()),
            ],
            Self::DataReceived { session_id, stream_id, data } => vec![
                ("session_id", session(session_id)),
                ("stream_id", (*stream_id).into()),
                ("data", data.clone().into()),
            ],
            Self::Error { code, details } | Self::Warning { code, details } => {
                vec![("error_type", (*code).into()), ("details", details.as_str().into())]
            }
            Self::Custom(event) => return event.fields.clone(),
        };
        pairs.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// About how many bytes of memory it holds while it waits for a handler.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        let held = match self {
            Self::DataReceived { data, .. } => data.len(),
            Self::Error { details, .. } | Self::Warning { details, .. } => details.len(),
            Self::Custom(event) => event.name.len() + weight_of(&event.fields),
            _ => 0,
        };
        held.saturating_add(size_of::<Self>())
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("custom"))
    }
}

/// Whether an event may carry this name.
pub(super) const fn check_name(name: &str) -> Result<(), EventError> {
    let (got, max) = (name.len(), CustomEvent::MAX_NAME);
    if got == 0 || got > max || matches!(name.as_bytes(), b"*") {
        return Err(EventError::Name { got, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_built_in_event_is_found_by_its_name() {
        for kind in EventKind::BUILT_IN {
            assert_eq!(EventKind::of_name(kind.name().unwrap()), kind);
        }
        assert_eq!(EventKind::of_name("my_event"), EventKind::Custom);
    }

    #[test]
    fn names_are_checked() {
        let none: [(&str, Value); 0] = [];
        assert!(Event::custom("my_event", none.clone()).is_ok());
        for name in ["", "*", &"x".repeat(129)] {
            assert!(
                matches!(Event::custom(name, none.clone()), Err(EventError::Name { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn fields_name_what_an_event_carries() {
        let event = Event::DataReceived {
            session_id: SessionId::from_bytes([1; 8]),
            stream_id: 9,
            data: Bytes::from_static(b"hello"),
        };
        let fields = event.fields();
        assert_eq!(fields["session_id"].as_bytes().unwrap().as_ref(), [1; 8]);
        assert_eq!(fields["stream_id"].as_int(), Some(9));
        assert_eq!(fields["data"].as_bytes().unwrap().as_ref(), b"hello");
    }
}
