//! What can go wrong when a handler is registered or an event of one's own is made.

/// Why a handler was not registered, or an event not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Handlers run as tasks, and there is no tokio runtime to run them on.
    #[error("there is no tokio runtime to run event handlers on")]
    NoRuntime,
    /// The name is empty, too long, or reserved.
    #[error("an event's name has 1 to {max} bytes and is not `*`, this one has {got} bytes")]
    Name {
        /// Bytes of the name.
        got: usize,
        /// Most bytes that it may have.
        max: usize,
    },
    /// No built-in event has this name, but one has nearly the same.
    #[error("there is no such event; did you mean `{nearest}`?")]
    Misspelt {
        /// The built-in event with the nearest name.
        nearest: &'static str,
    },
    /// The event has as many handlers as it may.
    #[error("the event already has {limit} handlers, as many as one may have")]
    TooManyHandlers {
        /// Most handlers of one event.
        limit: usize,
    },
    /// As many names have handlers as may.
    #[error("{limit} event names already have handlers, as many as may")]
    TooManyNames {
        /// Most names with handlers.
        limit: usize,
    },
    /// A setting is out of its range.
    #[error("{what} must be {min} to {max}, not {got}")]
    OutOfRange {
        /// Which setting.
        what: &'static str,
        /// Smallest value.
        min: usize,
        /// Largest value.
        max: usize,
        /// The value that was given.
        got: usize,
    },
}

impl stc::Coded for EventError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoRuntime => "events.no_runtime",
            Self::Name { .. } => "events.name",
            Self::Misspelt { .. } => "events.misspelt",
            Self::TooManyHandlers { .. } => "events.too_many_handlers",
            Self::TooManyNames { .. } => "events.too_many_names",
            Self::OutOfRange { .. } => "events.out_of_range",
        }
    }

    fn retry_helps(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoRuntime => "call it from inside the runtime, or give one with `with_runtime`",
            Self::Name { .. } => "use a shorter name; `*` stands for all events when registering",
            Self::Misspelt { .. } => {
                "correct the name; `EventFilter::Custom` is for an event of your own with such a name"
            }
            Self::TooManyHandlers { .. } | Self::TooManyNames { .. } => {
                "remove handlers that are no longer needed"
            }
            Self::OutOfRange { .. } => "choose a value inside the range",
        })
    }
}
