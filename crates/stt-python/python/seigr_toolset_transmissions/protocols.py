"""Streams with a label: protocols of one's own over the same sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType

from . import _across, _native
from ._bridge import Op, here
from .errors import STTStreamEndedError
from .session import Buffer, STTSession

__all__ = ["Protocol", "ProtocolStream"]

_log = logging.getLogger("stt")

#: Handlers of one protocol that run at once; of more streams the peers wait.
_HANDLERS_AT_ONCE = 256

#: What is said of a stream whose handler failed.
_FAILED = 0x100


class ProtocolStream:
    """A two-way stream of one protocol, from ``session.open_protocol`` or a :class:`Protocol`.

    It carries messages, or raw bytes, or the ones after the others, as the protocol says. Left
    without a word it is closed, and the peer told that nobody listens.
    """

    __slots__ = ("__weakref__", "_native", "label", "session", "stream_id")

    def __init__(self, native: _native.Labelled, session: STTSession) -> None:
        self._native = native
        #: The session it belongs to.
        self.session = session
        #: The protocol's label.
        self.label: bytes = native.label
        #: Its number among those of its label.
        self.stream_id: int = native.stream_id

    async def send(self, data: Buffer) -> None:
        """Queues one message; waits while the queue is full. Raises ``STTStreamError``, with the
        code ``protocol.unknown`` when the peer has no handler for the label."""
        done = self._native.send((loop := here()).native, data)
        if type(done) is Op:
            await loop.wait(done)

    async def receive(self) -> bytes:
        """The next message. Raises ``STTStreamEndedError`` (an EOFError) at the end."""
        message = await self._next()
        if message is None:
            text = "the peer closed the stream and all was received"
            raise STTStreamEndedError(text, code="stream.ended")
        return message

    async def _next(self) -> bytes | None:
        message = self._native.receive((loop := here()).native)
        if type(message) is Op:
            message = await loop.wait(message)
        found: bytes | None = message
        return found

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        message = await self._next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def read(self, n: int = 1 << 20) -> bytes:
        """At most ``n`` raw bytes as soon as there are any; ``b""`` at the end."""
        chunk = self._native.read((loop := here()).native, n)
        if type(chunk) is Op:
            chunk = await loop.wait(chunk)
        found: bytes = b"" if chunk is None else chunk
        return found

    async def write(self, data: Buffer) -> None:
        """Queues raw bytes, all or none of them; waits while the queue is full."""
        done = self._native.write((loop := here()).native, data)
        if type(done) is Op:
            await loop.wait(done)

    def set_priority(self, number: int) -> None:
        """How urgent this side's direction is, 0 to 1,000 (500)."""
        self._native.set_priority(number)

    async def close(self) -> None:
        """Ends this side's direction; returns once the peer's machine has all of it."""
        done = self._native.close((loop := here()).native)
        if type(done) is Op:
            await loop.wait(done)

    aclose = close

    def reset(self, code: int = _FAILED) -> None:
        """Gives this side's direction up: the peer's ``receive`` fails. ``code``: 256 or above."""
        self._native.reset(code)

    async def __aenter__(self) -> ProtocolStream:
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
            self.reset()

    def __repr__(self) -> str:
        return f"<ProtocolStream {self.stream_id} of {self.label!r}>"


class Protocol:
    """The streams that peers open for one label: ``async for stream in node.handle_protocol(label)``.

    With a ``handler`` each stream is given to it, in a task of its own. Used with ``async with``, or
    until :meth:`close`, or the end of the node.
    """

    def __init__(
        self,
        native: _native.Protocol,
        handler: Callable[[ProtocolStream], Awaitable[object]] | None,
    ) -> None:
        self._native = native
        self._room = asyncio.Semaphore(_HANDLERS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: asyncio.Task[None] | None = None
        if handler is not None:
            self._serving = asyncio.get_running_loop().create_task(self._serve(handler))

    async def _serve(self, handler: Callable[[ProtocolStream], Awaitable[object]]) -> None:
        async for stream in self:
            await self._room.acquire()
            task = asyncio.create_task(self._handle(handler, stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(
        self, handler: Callable[[ProtocolStream], Awaitable[object]], stream: ProtocolStream
    ) -> None:
        try:
            await handler(stream)
        except Exception:
            stream.reset()
            _log.exception("a handler of the protocol %r failed", stream.label)
        finally:
            self._room.release()

    def __aiter__(self) -> AsyncIterator[ProtocolStream]:
        return self

    async def __anext__(self) -> ProtocolStream:
        arrived = self._native.next((loop := here()).native)
        if type(arrived) is Op:
            arrived = await loop.wait(arrived)
        if arrived is None:
            raise StopAsyncIteration
        session, stream = arrived
        return ProtocolStream(stream, STTSession(session))

    async def close(self) -> None:
        """Takes no more streams; handlers that run are cancelled. A second time does nothing."""
        self._native.close()
        tasks = [*self._tasks, *([self._serving] if self._serving is not None else [])]
        self._serving = None
        await _across.end(tasks)

    aclose = close

    async def __aenter__(self) -> Protocol:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
