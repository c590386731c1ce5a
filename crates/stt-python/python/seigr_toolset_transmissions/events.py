"""Events: named, with handlers of one's own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["EventEmitter", "STTEvents"]

_log = logging.getLogger("stt.events")

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)


class STTEvents:
    """Names of the events that a node emits, and what their handlers may take by name."""

    #: session_id, peer_node_id
    SESSION_CREATED = "session_created"
    #: session_id, peer_node_id, reason
    SESSION_CLOSED = "session_closed"
    #: peer_node_id
    PEER_CONNECTED = "peer_connected"
    #: peer_node_id
    PEER_DISCONNECTED = "peer_disconnected"
    #: session_id, peer_node_id, from_kind, from_address, kind, address
    ROUTE_CHANGED = "route_changed"
    #: session_id, peer_node_id, missed, silence: nothing came for ``silence`` seconds although the peer
    #: was asked; ``missed`` counts heartbeats in a row. If it stays so the session ends.
    HEARTBEAT_MISSED = "heartbeat_missed"
    #: session_id, peer: a resumable session lost what carried it, and has it again
    SESSION_SUSPENDED = "session_suspended"
    SESSION_RESUMED = "session_resumed"
    #: session_id, peer, code: a resumable session is over, and why
    SESSION_GIVEN_UP = "session_given_up"
    #: session_id, stream_id, data: of each message that joins the queue of ``receive()``, once that
    #: was called.
    DATA_RECEIVED = "data_received"
    #: error_type, details
    ERROR = "error"
    #: error_type, details
    WARNING = "warning"


_BUILT_IN = frozenset(value for name, value in vars(STTEvents).items() if name.isupper())


class EventEmitter:
    """Calls handlers by the name of an event.

    Handlers are coroutine functions or plain ones. Those of one event run one after another, in the
    order in which they were registered. An exception of one is logged to ``stt.events``, and the
    next one runs.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        #: Called when the handlers of a name change.
        self._changed: list[Callable[[str], object]] = []

    # --- handlers ---

    def on(self, event_name: str) -> Callable[[H], H]:
        """Registers what it decorates."""

        def decorate(handler: H) -> H:
            self.register(event_name, handler)
            return handler

        return decorate

    def register(self, event_name: str, handler: Handler) -> None:
        """Registers a handler."""
        if not callable(handler):
            raise TypeError(f"a handler is a function, not {type(handler).__name__}")
        self._handlers.setdefault(event_name, []).append(handler)
        self._tell(event_name)

    def remove_handler(self, event_name: str, handler: Handler) -> bool:
        """Removes one; whether it was there."""
        handlers = self._handlers.get(event_name, [])
        if handler not in handlers:
            return False
        handlers.remove(handler)
        if not handlers:
            del self._handlers[event_name]
        self._tell(event_name)
        return True

    unregister = remove_handler

    def clear_event(self, event_name: str) -> None:
        """Removes all handlers of an event."""
        self._handlers.pop(event_name, None)
        self._tell(event_name)

    def clear_all(self) -> None:
        """Removes all handlers."""
        names = list(self._handlers)
        self._handlers.clear()
        for name in names:
            self._tell(name)

    def clear_handlers(self, event_name: str | None = None) -> None:
        """:meth:`clear_event`, or :meth:`clear_all` without a name."""
        if event_name is None:
            self.clear_all()
        else:
            self.clear_event(event_name)

    def get_handlers(self, event_name: str) -> list[Handler]:
        """The handlers of an event."""
        return list(self._handlers.get(event_name, ()))

    def get_events(self) -> list[str]:
        """The names that have handlers."""
        return list(self._handlers)

    def _tell(self, event_name: str) -> None:
        for changed in list(self._changed):
            changed(event_name)

    # --- emitting ---

    async def emit(self, event_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Calls the handlers of an event with these arguments; gives what they returned, with None
        for one that raised.

        With the name of an event of :class:`STTEvents`, each handler gets those of the named values
        that it has parameters for.
        """
        results: list[Any] = []
        for handler in self.get_handlers(event_name):
            named = kwargs
            if event_name in _BUILT_IN:
                named = {name: kwargs[name] for name in kwargs if _takes(handler, name)}
            try:
                result = handler(*args, **named)
                if inspect.isawaitable(result):
                    result = await result
            except Exception:
                _log.exception("a handler of %r failed: %r", event_name, handler)
                result = None
            results.append(result)
        return results

    def __repr__(self) -> str:
        return f"<EventEmitter {len(self._handlers)} events>"


def _takes(handler: Handler, name: str) -> bool:
    try:
        parameters = inspect.signature(handler).parameters
    except (TypeError, ValueError):
        return True
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return True
    found = parameters.get(name)
    return found is not None and found.kind is not inspect.Parameter.POSITIONAL_ONLY
