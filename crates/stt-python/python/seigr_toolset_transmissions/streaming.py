"""Managed streams: messages that survive their transport, with retries, backpressure, flow control,
health, and events to many.

>>> manager = StreamManager()
>>> stream = manager.create_stream("my-stream-id")       # inside this process
>>> await stream.send_message("Hello, World!")
>>> await stream.receive_message()
b'Hello, World!'
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Union

from . import _native
from ._bridge import Op, here
from .errors import STTException, STTStreamClosedError
from .node import STTNode
from .session import STTStream

__all__ = [
    "BidirectionalStream",
    "Event",
    "Events",
    "FlowController",
    "Stream",
    "StreamConfig",
    "StreamEvent",
    "StreamEvents",
    "StreamManager",
    "StreamMultiplexer",
    "StreamingService",
]

#: Bytes, or a text that is sent as UTF-8.
Payload = Union[bytes, bytearray, memoryview, str]


async def _call(begin: Callable[[_native.Reactor], Any]) -> Any:
    answer = begin((loop := here()).native)
    return await loop.wait(answer) if type(answer) is Op else answer


def _bytes(message: Payload) -> bytes | bytearray | memoryview:
    return message.encode() if isinstance(message, str) else message


@dataclass(frozen=True)
class StreamConfig:
    """Settings of managed streams; both sides should have the same."""

    #: Messages that the stream holds for its peer, and the first window. 1 to 1,000,000.
    buffer_size: int = 1000
    #: Retries of one failed operation. 0 to 100.
    max_retries: int = 3
    #: Seconds: ceiling of the first wait before a retry, doubled each time up to 30.
    retry_delay: float = 1.0
    #: Messages that may wait before there is backpressure, which ends below half.
    backpressure_limit: int = 100
    #: Seconds between heartbeats. 0.01 to 3,600.
    heartbeat_interval: float = 30.0
    #: Seconds without a message after which the stream ends; heartbeats do not count.
    timeout: float = 300.0
    #: Bytes that the stream may hold, half for each direction. 1 KiB to 4 GiB.
    memory_limit: int = 16 << 20
    #: Longest message in bytes.
    max_message_size: int = 1 << 20
    #: Whether receiving acknowledges. Otherwise :meth:`BidirectionalStream.acknowledge` does.
    auto_acknowledge: bool = True
    #: Whether old messages that wait are dropped for new ones under backpressure.
    lossy: bool = False


@dataclass(frozen=True)
class FlowController:
    """The window as it was when it was asked for."""

    #: Messages that may be under way at once.
    window_size: int
    #: Messages that may still be sent.
    current_window: int


class Stream:
    """A stream of messages that outlives its transports. Made by a :class:`StreamManager`, which it
    keeps; dropping it closes nothing.

    Messages arrive once and in order while both processes live, unless the stream is ``lossy``.
    Waiting can be given up: nothing is lost and nothing is sent twice.
    """

    __slots__ = ("_manager", "_native", "id")

    def __init__(self, native: _native.Managed, manager: StreamManager) -> None:
        self._native, self._manager = native, manager
        #: Its id, the same on both sides.
        self.id: str = native.id

    # --- sending ---

    async def send_message(self, message: Payload) -> None:
        """Queues a message; waits while there is backpressure.

        Raises ``STTFrameTooLargeError``, ``STTStreamClosedError``, or what ended the stream.
        """
        data = _bytes(message)
        await _call(lambda loop: self._native.send(loop, data))

    def try_send_message(self, message: Payload) -> None:
        """As :meth:`send_message`, but never waits: raises ``STTBackpressureError`` (an
        ``asyncio.QueueFull``)."""
        self._native.try_send(_bytes(message))

    async def send_batch(self, messages: Iterable[Payload]) -> None:
        """Queues all of them, in order; waits while there is backpressure. Given up, the first few
        were queued."""
        data = [_bytes(message) for message in messages]
        await _call(lambda loop: self._native.send_batch(loop, data))

    def try_send_batch(self, messages: Iterable[Payload]) -> int:
        """Queues as many as there is room for, and gives their number. Raises
        ``STTBackpressureError`` if that is none."""
        return self._native.try_send_batch([_bytes(message) for message in messages])

    async def send_error(self, text: str) -> None:
        """Sends an error in a message's place, up to 1,024 bytes of text: the peer's receive raises
        ``STTPeerError``, once, and the stream goes on."""
        await _call(lambda loop: self._native.send_error(loop, text))

    # --- receiving ---

    async def receive_message(self) -> bytes:
        """The next message.

        Raises ``STTPeerError``, ``STTStreamClosedError`` at the end, or what ended the stream.
        """
        message: bytes = await _call(self._native.receive)
        return message

    def try_receive_message(self) -> bytes | None:
        """The next message, or None if none is there."""
        return self._native.try_receive()

    async def receive_many(self, most: int) -> list[bytes]:
        """Waits for a message, then takes up to ``most`` that are there."""
        messages: list[bytes] = await _call(
            lambda loop: self._native.receive_many(loop, most)
        )
        return messages

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive_message()
        except STTStreamClosedError:
            raise StopAsyncIteration from None

    # --- what it is, and its end ---

    def is_healthy(self) -> bool:
        """Whether it has not ended and its peer answers."""
        return self._native.is_healthy

    def get_stats(self) -> dict[str, Any]:
        """``id``, ``buffer_size`` (messages that wait), ``max_buffer``, ``retry_count``,
        ``last_activity`` (RFC 3339), ``backpressure``, ``healthy``, ``uptime`` (``5m30s``)."""
        return self._native.stats()

    def get_metrics(self) -> dict[str, Any]:
        """What it counts beyond that: messages, bytes held, errors by class, seconds in
        backpressure, the breaker."""
        return self._native.metrics()

    @property
    def flow_control(self) -> FlowController:
        """The window as it is now."""
        return FlowController(*self._native.window())

    @property
    def ended(self) -> STTException | None:
        """The exception that says why it ended, or None; ``STTStreamClosedError`` after an orderly
        close."""
        ended: STTException | None = self._native.ended()
        return ended

    async def close(self) -> None:
        """Closes both directions once the peer has everything that was sent, for at most 5 seconds;
        nothing more is received here. A second time does nothing."""
        await _call(self._native.close)

    aclose = close

    def abort(self) -> None:
        """Ends at once; what was sent may be lost."""
        self._native.abort()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()
        else:
            self.abort()

    def __repr__(self) -> str:
        ended = self.ended
        return f"<{type(self).__name__} {self.id!r}, {'open' if ended is None else ended}>"


class BidirectionalStream(Stream):
    """A managed stream with its window in view.

    The window starts at ``buffer_size``, shrinks with each message sent, and grows with each
    acknowledgement: receiving acknowledges, unless ``auto_acknowledge`` is off.
    """

    __slots__ = ()

    async def send(self, message: Payload) -> None:
        """As :meth:`Stream.send_message`."""
        await self.send_message(message)

    def try_send(self, message: Payload) -> None:
        """As :meth:`Stream.try_send_message`."""
        self.try_send_message(message)

    async def receive(self) -> bytes:
        """As :meth:`Stream.receive_message`."""
        return await self.receive_message()

    def acknowledge(self) -> bool:
        """Acknowledges the oldest message that was received and is not yet; whether there was one.
        An extra call lifts no window."""
        return self._native.acknowledge()


@dataclass(frozen=True)
class StreamEvent:
    """Something happened to a stream."""

    #: Its id.
    stream: str
    #: ``created``, ``connected``, ``disconnected``, ``retry``, ``breaker``, ``backpressure_on``,
    #: ``backpressure_off``, ``pace``, ``dropped``, ``heartbeat_missed``, ``health`` or ``ended``.
    kind: str
    #: What belongs to it.
    fields: dict[str, Any] = field(default_factory=dict)


class StreamEvents:
    """Everything that happens to the streams of a manager: ``async for event in
    manager.events()``. Who is 1,024 events behind loses the oldest, which ``missed`` counts."""

    __slots__ = ("_native", "_waiting", "missed")

    def __init__(self, native: _native.ManagedEvents) -> None:
        self._native = native
        self._waiting: deque[Any] = deque()
        #: Events that were lost.
        self.missed = 0

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        while True:
            while not self._waiting:
                self._waiting.extend(some := await _call(self._native.next))
                if not some:
                    raise StopAsyncIteration
            one = self._waiting.popleft()
            if isinstance(one, int):
                self.missed += one
                continue
            return StreamEvent(*one)


class StreamManager:
    """Creates, finds, watches and ends streams. They end when neither it nor one of them is
    referred to any more.

    ``max_streams``: 1 to 1,000,000. ``memory_limit``: bytes that all streams hold together, at
    least 1 MiB. Raises ``STTSettingError`` for a setting out of its range.
    """

    __slots__ = ("_native", "config")

    def __init__(
        self,
        config: StreamConfig | None = None,
        *,
        max_streams: int = 1024,
        memory_limit: int = 256 << 20,
    ) -> None:
        #: The settings of its streams.
        self.config = config = StreamConfig() if config is None else config
        self._native = _native.Manager(
            config.buffer_size,
            config.max_retries,
            config.retry_delay,
            config.backpressure_limit,
            config.heartbeat_interval,
            config.timeout,
            config.memory_limit,
            config.max_message_size,
            config.auto_acknowledge,
            config.lossy,
            max_streams,
            memory_limit,
        )

    def create_stream(self, stream_id: str, over: STTStream | None = None) -> Stream:
        """A stream inside this process, whose messages are received from itself; or over a stream
        of a session, which then carries nothing else, and with which it ends.

        Raises ``STTStreamExistsError`` while one of this id lives, ``STTSettingError`` for an id
        that is empty or longer than 256 bytes, ``STTStreamError`` beyond ``max_streams``.
        """
        native = self._native.create(stream_id, None if over is None else over._native)
        return Stream(native, self)

    def new_bidirectional_stream(
        self, stream_id: str, over: STTStream | None = None
    ) -> BidirectionalStream:
        """As :meth:`create_stream`, with the window in view, which stays full inside a process."""
        return BidirectionalStream(self.create_stream(stream_id, over)._native, self)

    def connect_stream(
        self, stream_id: str, node: STTNode, address: str | tuple[str, int]
    ) -> BidirectionalStream:
        """A stream that connects by itself, again and again: ``node`` to ``address``, as
        ``STTNode.connect`` takes it. The peer takes it in with :meth:`accept`."""
        if not isinstance(address, str):
            host, port = address
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        native = self._native.connect(stream_id, node._running(), address)
        return BidirectionalStream(native, self)

    async def accept(self, over: STTStream, prefix: str = "") -> BidirectionalStream | None:
        """Takes in a stream of a session from a peer that connected: a managed stream under the id
        that the peer says, or None if it goes on with one that is here.

        ``prefix``: what the ids of this peer must begin with, so that peers cannot take each
        other's.
        """
        native = await _call(lambda loop: self._native.accept(loop, over._native, prefix))
        return None if native is None else BidirectionalStream(native, self)

    def get_stream(self, stream_id: str) -> Stream:
        """The stream of this id; one that failed stays until it is closed. Raises
        ``STTStreamNotFoundError`` (a KeyError)."""
        return Stream(self._native.get(stream_id), self)

    def list_streams(self) -> list[Stream]:
        """All streams but those that were closed."""
        return [Stream(native, self) for native in self._native.list()]

    async def close_stream(self, stream_id: str) -> None:
        """Closes a stream and forgets it."""
        await _call(lambda loop: self._native.close_stream(loop, stream_id))

    async def close_all_streams(self) -> int:
        """Closes all at once; gives the number of those whose peer did not confirm."""
        left: int = await _call(self._native.close_all)
        return left

    async def shutdown(self, timeout: float = 5.0) -> bool:
        """Makes no more streams and closes those that are there, for at most ``timeout`` seconds;
        whether everything ended in order."""
        orderly: bool = await _call(lambda loop: self._native.shutdown(loop, timeout))
        return orderly

    def events(self) -> StreamEvents:
        """What happens to its streams from now on."""
        return StreamEvents(self._native.events())

    @property
    def memory(self) -> int:
        """Bytes that all streams hold now."""
        return self._native.memory

    async def __aenter__(self) -> StreamManager:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        return f"<StreamManager {len(self.list_streams())} streams>"


class StreamMultiplexer:
    """Streams under names, for messages to all of them."""

    __slots__ = ("_native", "_streams")

    def __init__(self) -> None:
        self._native = _native.Multiplexer()
        self._streams: dict[str, Stream] = {}

    def add_stream(self, name: str, stream: Stream) -> None:
        """Adds one. Raises ``STTStreamExistsError``."""
        self._native.add(name, stream._native)
        self._streams[name] = stream

    def remove_stream(self, name: str) -> Stream:
        """Gives one back, which is not closed. Raises ``STTStreamNotFoundError``."""
        self._native.remove(name)
        return self._streams.pop(name)

    def get_stream(self, name: str) -> Stream:
        """The stream of this name. Raises ``STTStreamNotFoundError``."""
        self._native.get(name)
        return self._streams[name]

    def broadcast_message(self, message: Payload) -> dict[str, STTException | None]:
        """Queues a message on every stream; gives, by name, None or the exception that says why it
        was not taken. Never waits: one in backpressure has that for its result."""
        return self._native.broadcast(_bytes(message))

    def get_stats(self) -> dict[str, dict[str, Any]]:
        """Each stream's statistics by its name."""
        return self._native.stats()


@dataclass(frozen=True)
class Event:
    """An event about a file, a peer, the node or a component's health."""

    #: What happened: ``upload``, ``download``, ``delete``, ``update``; ``connected``,
    #: ``disconnected``, ``health_changed``; ``startup``, ``shutdown``, ``error``, ``warning``;
    #: ``healthy``, ``degraded``, ``unhealthy``, ``unknown``.
    kind: str
    #: Of which file, peer or component.
    subject: str
    #: One line for a person.
    message: str
    #: When, RFC 3339.
    timestamp: str


class Events:
    """Events of one subscriber: ``async for event in events``; ends when it is unsubscribed. Who is
    1,024 events behind loses the oldest, which ``missed`` counts."""

    __slots__ = ("_native", "missed")

    def __init__(self, native: _native.ServiceEvents) -> None:
        self._native = native
        #: Events that were lost.
        self.missed = 0

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        told = await _call(self._native.next)
        if told is None:
            raise StopAsyncIteration
        *parts, self.missed = told
        return Event(*parts)


class StreamingService:
    """Streams, four kinds of events, statistics and health under one roof. Without a ``manager`` it
    makes one."""

    __slots__ = ("_native", "manager")

    def __init__(self, manager: StreamManager | None = None) -> None:
        #: The manager of its streams.
        self.manager = StreamManager() if manager is None else manager
        self._native = _native.Service(self.manager._native)

    def subscribe_to_file_operation_events(self, subscriber_id: str) -> Events:
        """Events about files from now on. Raises ``STTStreamExistsError`` for an id that is
        taken."""
        return Events(self._native.subscribe("file_operation", subscriber_id))

    def unsubscribe_from_file_operation_events(self, subscriber_id: str) -> None:
        """Ends that. Raises ``STTStreamNotFoundError`` for an id that is unknown."""
        self._native.unsubscribe("file_operation", subscriber_id)

    def emit_file_operation(self, kind: str, subject: str, message: str = "") -> int:
        """Tells all subscribers; gives their number."""
        return self._native.emit("file_operation", kind, subject, message)

    def subscribe_to_peer_events(self, subscriber_id: str) -> Events:
        """Events about peers from now on."""
        return Events(self._native.subscribe("peer", subscriber_id))

    def unsubscribe_from_peer_events(self, subscriber_id: str) -> None:
        """Ends that."""
        self._native.unsubscribe("peer", subscriber_id)

    def emit_peer(self, kind: str, subject: str, message: str = "") -> int:
        """Tells all subscribers; gives their number."""
        return self._native.emit("peer", kind, subject, message)

    def subscribe_to_system_events(self, subscriber_id: str) -> Events:
        """Events about this node from now on."""
        return Events(self._native.subscribe("system", subscriber_id))

    def unsubscribe_from_system_events(self, subscriber_id: str) -> None:
        """Ends that."""
        self._native.unsubscribe("system", subscriber_id)

    def emit_system(self, kind: str, subject: str, message: str = "") -> int:
        """Tells all subscribers; gives their number."""
        return self._native.emit("system", kind, subject, message)

    def subscribe_to_health_events(self, subscriber_id: str) -> Events:
        """Events about health from now on."""
        return Events(self._native.subscribe("health", subscriber_id))

    def unsubscribe_from_health_events(self, subscriber_id: str) -> None:
        """Ends that."""
        self._native.unsubscribe("health", subscriber_id)

    def emit_health(self, kind: str, subject: str, message: str = "") -> int:
        """Tells all subscribers; gives their number."""
        return self._native.emit("health", kind, subject, message)

    def health_check(self) -> dict[str, Any]:
        """``status`` (``healthy`` from 9 of 10 streams, ``degraded`` from half, ``unhealthy``, or
        ``unknown`` after the end), ``total_streams``, ``healthy_streams``, ``subscribers``,
        ``timestamp``."""
        return self._native.health_check()

    def get_stream_stats(self) -> dict[str, Any]:
        """``active_streams``, ``subscribers``, and ``streams``: each one's statistics by its id."""
        return self._native.stream_stats()

    async def shutdown(self, timeout: float = 5.0) -> bool:
        """Says so to the subscribers, ends all subscriptions and shuts the manager down; whether
        everything ended in order."""
        orderly: bool = await _call(lambda loop: self._native.shutdown(loop, timeout))
        return orderly

    async def __aenter__(self) -> StreamingService:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()
