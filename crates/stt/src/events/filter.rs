//! Which events a handler is called for.

use super::{EventEmitter, EventError, EventKind, event::check_name};

/// The key of handlers of all events of applications. No event has an empty name.
pub(super) const CUSTOM: &str = "";

/// Which events are listened to. A kind, or a name as the documents write it, becomes one by
/// itself.
///
/// A name that looks like a built-in event's but is none, `sesion_created`, is refused
/// ([`EventError::Misspelt`]), since nothing would ever be heard. An application that has such a
/// name for an event of its own says so with [`Self::Custom`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventFilter<'a> {
    /// All events.
    All,
    /// A built-in event, or with [`EventKind::Custom`] all of the application's own.
    Kind(EventKind),
    /// Events of this name, built in or not; `*` stands for all.
    Named(&'a str),
    /// Events of this name, whatever it looks like.
    Custom(&'a str),
}

impl<'a> EventFilter<'a> {
    /// Where its handlers are kept.
    pub(super) fn key(self) -> &'a str {
        match self {
            Self::All => EventEmitter::ANY,
            Self::Kind(kind) => kind.name().unwrap_or(CUSTOM),
            Self::Named(name) | Self::Custom(name) => name,
        }
    }

    /// The same, if there may be such events.
    pub(super) fn checked_key(self) -> Result<&'a str, EventError> {
        let key = self.key();
        match self {
            Self::All | Self::Kind(_) | Self::Named(EventEmitter::ANY) => {}
            Self::Custom(name) => check_name(name)?,
            Self::Named(name) => {
                check_name(name)?;
                if let Some(nearest) = misspelt(name) {
                    return Err(EventError::Misspelt { nearest });
                }
            }
        }
        Ok(key)
    }
}

impl From<EventKind> for EventFilter<'_> {
    fn from(kind: EventKind) -> Self {
        Self::Kind(kind)
    }
}

impl<'a> From<&'a str> for EventFilter<'a> {
    fn from(name: &'a str) -> Self {
        Self::Named(name)
    }
}

impl<'a> From<&'a String> for EventFilter<'a> {
    fn from(name: &'a String) -> Self {
        Self::Named(name)
    }
}

/// The built-in event that was probably meant by a name that is none.
fn misspelt(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    EventKind::BUILT_IN
        .into_iter()
        .filter_map(EventKind::name)
        .map(|known| (strsim::osa_distance(&lower, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 4).min(2) && *known != name)
        .min()
        .map(|(_, known)| known)
        .filter(|_| EventKind::of_name(name) == EventKind::Custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_built_in_are_told_what_was_meant() {
        for (name, nearest) in [
            ("sesion_created", "session_created"),
            ("SessionClosed", "session_closed"),
            ("peer-connected", "peer_connected"),
            ("Warning", "warning"),
            ("erorr", "error"),
        ] {
            let refused = EventFilter::from(name).checked_key();
            assert_eq!(refused, Err(EventError::Misspelt { nearest }), "{name}");
            assert_eq!(EventFilter::Custom(name).checked_key(), Ok(name));
        }
        for kind in EventKind::BUILT_IN {
            let name = kind.name().unwrap();
            assert_eq!(EventFilter::from(name).checked_key(), Ok(name));
            assert_eq!(EventFilter::from(kind).checked_key(), Ok(name));
        }
        for name in ["a", "event", "my_event", "session_suspended", "session_resumed", "*"] {
            assert_eq!(EventFilter::from(name).checked_key(), Ok(name), "{name}");
        }
    }
}
