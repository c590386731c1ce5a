"""Sessions with peers, and their streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _native
from ._bridge import Op, here
from .delivery import Delivery
from .errors import STTStreamEndedError

if TYPE_CHECKING:
    from .protocols import ProtocolStream

Buffer = bytes | bytearray | memoryview

__all__ = ["Route", "STTSession", "STTStream"]


@dataclass(frozen=True)
class Route:
    """How a session's datagrams travel."""

    #: The peer's IP address.
    host: str
    #: Its port.
    port: int
    #: ``"udp"`` or ``"websocket"``.
    kind: str


class STTSession:
    """A sealed session with one peer.

    It lives until one side closes it, its node stops, or nothing arrives for the idle timeout; the
    node keeps it, so dropping this object closes nothing. Used with ``async with`` it is closed at
    the end.
    """

    __slots__ = ("__weakref__", "_native", "peer_node_id", "session_id")

    def __init__(self, native: _native.Session) -> None:
        self._native = native
        #: 8 bytes that both sides derived and nobody sent.
        self.session_id: bytes = native.session_id
        #: 32 bytes: who the peer proved to be.
        self.peer_node_id: bytes = native.peer_node_id

    # --- streams ---

    def open_stream(
        self,
        stream_id: int | None = None,
        max_frame_size: int | None = None,
        *,
        priority: int | None = None,
        adaptive_priority: bool = False,
        delivery: Delivery | None = None,
        overhead_cap: float | None = None,
    ) -> STTStream:
        """Opens a stream. Its messages no longer flow into ``node.receive()``.

        ``stream_id``: 0 to 2**32-1, the same on both sides; by default the next free one, odd on
        the side that connected and even on the other. ``max_frame_size``: longest message in bytes
        (16 MiB). ``priority``: 0 to 1,000 (500), the higher goes first; ``adaptive_priority`` lets
        it follow each message. ``delivery``: how sure this side's messages arrive, reliable by
        default. ``overhead_cap``: most repair packets over data packets, 0 to 4 (1).

        Raises ``STTStreamError`` when there are too many, ``STTSessionError`` when the session is
        over.
        """
        mode = None if delivery is None else delivery._parts()
        native = self._native.open_stream(
            stream_id, max_frame_size, priority, adaptive_priority, mode, overhead_cap
        )
        return STTStream(native, self)

    def get_stream(self, stream_id: int) -> STTStream:
        """The stream with this number, whichever side used it first, or neither yet."""
        return self.open_stream(stream_id)

    def open_protocol(self, label: str | bytes) -> ProtocolStream:
        """Opens a stream of the protocol ``label``, 1 to 64 bytes, whose numbers are its own. The
        peer's ``node.handle_protocol`` gets it.

        It returns at once: that the peer has no handler is what sending and receiving then say.
        """
        from .protocols import ProtocolStream

        return ProtocolStream(self._native.open_protocol(label), self)

    async def accept_stream(self) -> STTStream:
        """The next stream on which the peer sent something and that nobody asked for by number."""
        native = self._native.accept_stream((loop := here()).native)
        return STTStream(await loop.wait(native) if type(native) is Op else native, self)

    # --- messages ---

    async def send(self, data: Buffer, stream_id: int = 0) -> None:
        """Queues one message on a stream, which is from then on received from with
        :meth:`get_stream`."""
        await self.get_stream(stream_id).send(data)

    async def ping(self) -> float:
        """Asks the peer for a sign of life; gives the seconds until it came."""
        time = self._native.ping((loop := here()).native)
        found: float = await loop.wait(time) if type(time) is Op else time
        return found

    # --- what it is ---

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self._native.close_reason is None

    @property
    def is_initiator(self) -> bool:
        """Whether this side connected."""
        return self._native.is_initiator

    @property
    def close_reason(self) -> str | None:
        """Why it ended: ``closed``, ``shutdown``, ``refused``, ``auth_failure``, ``timeout`` or
        ``protocol``; None while it lives."""
        reason = self._native.close_reason
        return None if reason is None else reason[0]

    @property
    def route(self) -> Route:
        """How its datagrams travel at the moment."""
        return Route(*self._native.route)

    @property
    def peer_address(self) -> tuple[str, int]:
        """Where the peer is at the moment."""
        host, port, _ = self._native.route
        return host, port

    async def move_to(self, target: str) -> Route:
        """Moves to another address of the peer while data flows: ``udp://HOST:PORT``,
        ``ws://HOST:PORT/PATH``. After an error it goes on as before."""
        route = self._native.move_to((loop := here()).native, target)
        return Route(*(await loop.wait(route) if type(route) is Op else route))

    def export(self, label: str) -> bytes:
        """32 bytes that only the two ends of this session know, equal on both, for ``label``."""
        return self._native.export(label)

    def get_stats(self) -> dict[str, Any]:
        """Figures: bytes and packets both ways and lost ones, times in seconds, ``path_mtu``."""
        return self._native.stats()

    # --- the end ---

    async def close(self, reason: str = "") -> None:
        """Delivers what was sent, for at most 5 seconds, then closes; the peer sees ``reason``.

        Closing a second time does nothing.
        """
        done = self._native.close((loop := here()).native, reason)
        if type(done) is Op:
            await loop.wait(done)

    aclose = close

    def abort(self, reason: str = "") -> None:
        """Closes at once: what has not arrived is lost."""
        self._native.abort(reason)

    async def wait_closed(self) -> str:
        """Waits for the end and gives :attr:`close_reason`."""
        reason = self._native.closed((loop := here()).native)
        word: str = (await loop.wait(reason) if type(reason) is Op else reason)[0]
        return word

    async def __aenter__(self) -> STTSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, STTSession):
            return NotImplemented
        return self.session_id == other.session_id and self.is_initiator == other.is_initiator

    def __hash__(self) -> int:
        return hash(self.session_id)

    def __repr__(self) -> str:
        state = self.close_reason or "active"
        peer = self.peer_node_id.hex()[:16]
        return f"<STTSession {self.session_id.hex()} with {peer}, {state}>"


class STTStream:
    """One of the numbered streams of a session.

    A direction carries messages (:meth:`send`, :meth:`receive`, ``async for``) or raw bytes
    (:meth:`write`, :meth:`read`, :meth:`readexactly`), whichever came first. Each side closes its
    own direction. Waiting can be given up at any time: nothing is lost and nothing is sent twice.
    """

    __slots__ = ("__weakref__", "_left", "_native", "session", "stream_id")

    def __init__(self, native: _native.Stream, session: STTSession) -> None:
        self._native = native
        #: Raw bytes that were taken and not given out.
        self._left = bytearray()
        #: The session it belongs to.
        self.session = session
        #: Its number on both sides.
        self.stream_id: int = native.stream_id

    # --- messages ---

    async def send(self, data: Buffer) -> None:
        """Queues one message. Waits while the queue is full (1 MiB), because the peer does not read
        or the path is slow.

        Raises ``STTFrameTooLargeError`` (a ValueError), ``STTStreamClosedError`` (a
        BrokenPipeError), ``STTStreamResetError`` (a ConnectionResetError), ``STTSessionError``.
        """
        done = self._native.send((loop := here()).native, data)
        if type(done) is Op:
            await loop.wait(done)

    async def send_many(self, messages: Iterable[Buffer]) -> None:
        """Queues messages in order, which costs less than one call for each. Given up while it
        waits, those that there was room for are queued, each as a whole."""
        done = self._native.send_many((loop := here()).native, list(messages))
        if type(done) is Op:
            await loop.wait(done)

    async def receive_many(self, most: int = 100) -> list[bytes]:
        """The next message and those that are there behind it, up to ``most``; empty once the peer
        closed its direction and all was received. Raises as :meth:`receive` otherwise."""
        messages = self._native.receive_many((loop := here()).native, most)
        if type(messages) is Op:
            messages = await loop.wait(messages)
        found: list[bytes] = messages
        return found

    async def receive(self) -> bytes:
        """The next message.

        Raises ``STTStreamEndedError`` (an EOFError) once the peer closed its direction and all was
        received; otherwise as :meth:`send`.
        """
        message = self._native.receive((loop := here()).native)
        if type(message) is Op:
            message = await loop.wait(message)
        if message is None:
            raise _ended(self)
        found: bytes = message
        return found

    async def __anext__(self) -> bytes:
        message = self._native.receive((loop := here()).native)
        if type(message) is Op:
            message = await loop.wait(message)
        if message is None:
            raise StopAsyncIteration
        found: bytes = message
        return found

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    # --- raw bytes ---

    async def read(self, n: int = -1) -> bytes:
        """At most ``n`` raw bytes as soon as there are any, ``b""`` at the end; all until the end
        if ``n`` is negative."""
        if n < 0:
            return await self._read_all()
        if n == 0:
            return b""
        if self._left:
            return self._take(n)
        return await self._chunk(n)

    async def _read_all(self) -> bytes:
        # What was read stays here until the end is there, so that giving up loses nothing.
        while chunk := await self._chunk(1 << 20):
            self._left += chunk
        return self._take(len(self._left))

    async def readexactly(self, n: int) -> bytes:
        """``n`` raw bytes.

        Raises ``asyncio.IncompleteReadError`` (an EOFError) when the peer closed its direction
        before; its ``.partial`` has what came.
        """
        if n < 0:
            raise ValueError("n is 0 or more")
        while len(self._left) < n:
            chunk = await self._chunk(n - len(self._left))
            if not chunk:
                raise asyncio.IncompleteReadError(self._take(n), n)
            if not self._left and len(chunk) == n:
                return chunk
            self._left += chunk
        return self._take(n)

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fills a buffer with the raw bytes that are there; gives their number, 0 at the end."""
        view = memoryview(buffer).cast("B")
        chunk = await self.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def _take(self, n: int) -> bytes:
        taken = bytes(memoryview(self._left)[:n])
        del self._left[:n]
        return taken

    async def _chunk(self, n: int) -> bytes:
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

    async def drain(self) -> None:
        """Waits until all that was sent is on its way."""
        done = self._native.flush((loop := here()).native)
        if type(done) is Op:
            await loop.wait(done)

    flush = drain

    # --- what it is, and its end ---

    def is_closed(self) -> bool:
        """Whether this side can send no more, because it closed the stream or the session ended."""
        return self._native.is_closed

    @property
    def max_frame_size(self) -> int:
        """Longest message in bytes."""
        return self._native.max_frame_size

    @property
    def priority(self) -> int:
        """How urgent this side's direction is, 0 to 1,000."""
        return self._native.priority

    @priority.setter
    def priority(self, number: int) -> None:
        self._native.set_priority(number)

    @property
    def delivery(self) -> Delivery:
        """How sure this side's messages arrive."""
        return Delivery(*self._native.delivery)

    def get_stats(self) -> dict[str, int]:
        """Messages and bytes, sent and received."""
        return self._native.stats()

    def get_delivery_stats(self) -> dict[str, Any]:
        """What the delivery mode did: ``messages``, ``packets``, ``repair_packets``, ``shortfalls``
        (messages for which ``overhead_cap`` did not allow the probability), ``late`` ones that were
        given up, and ``last_probability``."""
        return self._native.delivery_stats()

    def get_priority_report(self) -> dict[str, Any] | None:
        """How the priority of the last message came about, if it is adaptive: ``priority``, and
        ``uniqueness``, ``recency``, ``congestion`` and ``affinity``, each 0 to 1."""
        return self._native.priority_report()

    async def close(self) -> None:
        """Closes this side's direction, after all that was sent; the peer's ``receive`` then comes
        to its end. Returns once the peer's machine has all of it. Receiving goes on.

        Closing a second time, or when the session is over, does nothing.
        """
        if self.is_closed() and not self.session.is_active:
            return
        done = self._native.close((loop := here()).native)
        if type(done) is Op:
            await loop.wait(done)

    aclose = close

    def reset(self, code: int = 0) -> None:
        """Gives this side's direction up: what is on its way may be lost, and the peer's
        ``receive`` fails with ``STTStreamResetError``."""
        self._native.reset(code)

    async def __aenter__(self) -> STTStream:
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
        state = "closed" if self.is_closed() else "open"
        return f"<STTStream {self.stream_id} of {self.session.session_id.hex()}, {state}>"


def _ended(stream: STTStream) -> STTStreamEndedError:
    return STTStreamEndedError(
        f"the peer closed stream {stream.stream_id} and all was received", code="stream.ended"
    )
