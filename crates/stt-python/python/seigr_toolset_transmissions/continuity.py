"""Sessions that survive the loss of what carries them: each message once and in order."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _native
from ._bridge import Op, here
from .errors import STTException, STTStoppedError
from .session import Buffer, STTSession

if TYPE_CHECKING:
    from .node import STTNode

__all__ = ["ResumableSession", "ResumedMessage", "SessionContinuity"]


@dataclass(frozen=True, slots=True)
class ResumedMessage:
    """A message of a resumable session."""

    #: Its number among all that its sender sent, from 0.
    position: int
    #: The number of a stream, as the sender said; it survives every cut.
    stream_id: int
    #: What was sent.
    data: bytes


class ResumableSession:
    """A session that goes on over the next sealed session when one is cut.

    One that is kept in memory is given up when it is dropped: close it, or keep it. One that a
    directory keeps goes on when that is opened again.
    """

    __slots__ = ("__weakref__", "_native", "peer_node_id", "session_id")

    def __init__(self, native: _native.Resumable) -> None:
        self._native = native
        #: 8 bytes, the same on both sides and after every cut.
        self.session_id: bytes = native.session_id
        #: 32 bytes: who the peer proved to be.
        self.peer_node_id: bytes = native.peer_node_id

    @property
    def state(self) -> str:
        """``connected``, ``suspended`` or ``ended``. A node's events ``session_suspended`` and
        ``session_resumed`` tell of changes."""
        return self._native.state

    @property
    def session(self) -> STTSession | None:
        """The sealed session that carries it at the moment."""
        native = self._native.session()
        return None if native is None else STTSession(native)

    async def send(self, data: Buffer, stream_id: int = 0) -> int:
        """Keeps a message for the peer, connected or not, until the peer's application committed
        it; gives its position. Waits while too much is not committed.

        Raises ``STTResumeError``.
        """
        position = self._native.send((loop := here()).native, data, stream_id)
        found: int = await loop.wait(position) if type(position) is Op else position
        return found

    def try_send(self, data: Buffer, stream_id: int = 0) -> int:
        """As :meth:`send`, or ``STTBackpressureError`` at once."""
        return self._native.try_send(data, stream_id)

    async def acknowledged(self, position: int) -> None:
        """Waits until the peer's application committed this message and all before."""
        done = self._native.acknowledged((loop := here()).native, position)
        if type(done) is Op:
            await loop.wait(done)

    async def durable(self, position: int) -> None:
        """Waits until this message and all before outlive the process and a loss of power: they are
        synced to the disk. Raises ``STTResumeError`` when no directory keeps the session."""
        done = self._native.durable((loop := here()).native, position)
        if type(done) is Op:
            await loop.wait(done)

    async def committed(self, position: int) -> None:
        """Waits until the :meth:`commit` of this message is synced to the disk: whatever happens to
        this process, it does not come again. Raises as :meth:`durable`."""
        done = self._native.committed((loop := here()).native, position)
        if type(done) is Op:
            await loop.wait(done)

    @property
    def next_sent(self) -> int:
        """The position that the next message gets. After a restart: how many the disk has, those
        included that the peer has committed."""
        return self._native.next_sent

    @property
    def next_received(self) -> int:
        """The position of the message that comes next. After a restart: the one behind the last
        commit that was synced."""
        return self._native.next_received

    def dial_at(self, peer_addr: str | tuple[str, int]) -> None:
        """Dials the peer there from the next attempt on, also after a restart: for a peer that is
        elsewhere now. Raises ``STTResumeError`` when it is the peer that dials."""
        self._native.dial_at(_address(peer_addr))

    async def give_up(self) -> None:
        """Gives the session up, on the disk as well, with all that the peer has not committed. A
        peer that is connected is told; another one learns it when it comes back."""
        done = self._native.give_up((loop := here()).native)
        if type(done) is Op:
            await loop.wait(done)

    async def receive(self) -> ResumedMessage | None:
        """The next message, in order and once; None when the peer closed its end."""
        taken = self._native.receive((loop := here()).native)
        if type(taken) is Op:
            taken = await loop.wait(taken)
        return None if taken is None else ResumedMessage(*taken)

    def __aiter__(self) -> AsyncIterator[ResumedMessage]:
        return self

    async def __anext__(self) -> ResumedMessage:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    def commit(self, position: int) -> None:
        """The application has dealt with this message and all before: they never come again, and
        the peer forgets them. Without it the peer's ``send`` waits in the end."""
        self._native.commit(position)

    async def close(self) -> None:
        """Says that nothing follows, and waits until the peer committed all that was sent."""
        done = self._native.close((loop := here()).native)
        if type(done) is Op:
            await loop.wait(done)

    aclose = close

    async def ended(self) -> STTException:
        """Waits for the end, and gives why; the code of the good one is ``resume.finished``."""
        why = self._native.ended((loop := here()).native)
        found: STTException = await loop.wait(why) if type(why) is Op else why
        return found

    def take_unacknowledged(self) -> list[ResumedMessage] | None:
        """What the peer has not committed, once the session is over; None before. Once only. A
        directory keeps it until :meth:`give_up`."""
        kept: list[Any] | None = self._native.take_unacknowledged()
        return None if kept is None else [ResumedMessage(*one) for one in kept]

    async def __aenter__(self) -> ResumableSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()

    def __repr__(self) -> str:
        peer = self.peer_node_id.hex()[:16]
        return f"<ResumableSession {self.session_id.hex()} with {peer}, {self.state}>"


def _address(peer_addr: str | tuple[str, int]) -> str:
    if isinstance(peer_addr, str):
        return peer_addr
    host, port = peer_addr
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class SessionContinuity:
    """Resumable sessions over a running node; both sides have one.

    ``lifetime``: seconds that a suspended session waits for its peer. ``unacknowledged_bytes``: of
    messages that are kept until the peer committed them, ``unread_bytes``: of those that arrived and
    were not taken, each charged 128 more. ``max_message``: longest message. ``max_sessions``,
    ``max_sessions_per_peer``: that peers may have here. What survives is the loss of a connection;
    with :meth:`open` also the end of a process. A node has one until that is closed, or nothing
    refers to it or to a session of it.

    Raises ``STTResumeError`` out of range, or when the node has one already.
    """

    def __init__(
        self,
        node: STTNode,
        *,
        lifetime: float = 24 * 3600.0,
        unacknowledged_bytes: int = 8 << 20,
        unread_bytes: int = 1 << 20,
        max_message: int = 1 << 20,
        max_sessions: int = 256,
        max_sessions_per_peer: int = 16,
    ) -> None:
        settings = (
            lifetime,
            unacknowledged_bytes,
            unread_bytes,
            max_message,
            max_sessions,
            max_sessions_per_peer,
        )
        self._node = node
        self._native = _native.Continuity(node._running(), settings)

    @classmethod
    async def open(
        cls,
        node: STTNode,
        path: str | os.PathLike[str],
        *,
        lifetime: float = 24 * 3600.0,
        unacknowledged_bytes: int = 8 << 20,
        unread_bytes: int = 1 << 20,
        max_message: int = 1 << 20,
        max_sessions: int = 256,
        max_sessions_per_peer: int = 16,
    ) -> SessionContinuity:
        """Resumable sessions that the directory ``path`` keeps, encrypted with the node seed: they
        outlive this process, however it ends, and the machine's power. :meth:`restored` hands out
        those that a process before this one left. One process has a directory open at a time.

        Raises ``STTResumeError`` unless the node has a ``persistent_identity``, and when the
        directory cannot be read.
        """
        settings = (
            lifetime,
            unacknowledged_bytes,
            unread_bytes,
            max_message,
            max_sessions,
            max_sessions_per_peer,
        )
        opened = _native.open_continuity((loop := here()).native, node._running(), path, settings)
        self = cls.__new__(cls)
        self._node = node
        self._native = await loop.wait(opened) if type(opened) is Op else opened
        return self

    def restored(self) -> list[ResumableSession]:
        """The sessions that a process before this one left, in the order in which they began; once.
        Those that this side began are being resumed already."""
        return [ResumableSession(one) for one in self._native.restored()]

    async def close(self) -> None:
        """Takes no more sessions, and ends those that there are: the node may have another one.
        Sessions that a directory keeps are let go of, once all that they had is synced, and the
        next :meth:`open` goes on with them. Those in memory that are not through are given up:
        ``await session.close()`` before delivers what they have."""
        done = self._native.close((loop := here()).native)
        if type(done) is Op:
            await loop.wait(done)

    aclose = close

    async def __aenter__(self) -> SessionContinuity:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(
        self, peer_addr: str | tuple[str, int], peer_id: bytes
    ) -> ResumableSession:
        """Begins a resumable session with the node that has this id; cut, it dials there again.

        ``peer_addr``: ``(host, port)``, or a text as for ``STTNode.connect``.
        """
        made = self._native.connect((loop := here()).native, _address(peer_addr), peer_id)
        return ResumableSession(await loop.wait(made) if type(made) is Op else made)

    async def accept(self) -> ResumableSession:
        """The next that a peer began. Raises ``STTStoppedError`` once the node stopped or this was
        closed."""
        made = self._native.accept((loop := here()).native)
        if type(made) is Op:
            made = await loop.wait(made)
        if made is None:
            raise STTStoppedError("the node was stopped, or the SessionContinuity closed")
        return ResumableSession(made)

    def __repr__(self) -> str:
        return f"<SessionContinuity of {self._node!r}>"
