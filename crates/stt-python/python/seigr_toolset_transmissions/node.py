"""The node: one UDP port, one identity, any number of sessions."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from . import _native, _seeds
from ._bridge import Op, here
from .crypto import STCWrapper
from .errors import STTException, STTStoppedError
from .events import EventEmitter, STTEvents
from .protocols import Protocol, ProtocolStream
from .session import Buffer, STTSession
from .storage import Chamber

__all__ = ["ReceivedPacket", "STTNode", "SendReport", "verify_signature"]

_log = logging.getLogger("stt")

#: Nodes that were started, for those that join the process's node.
_started: weakref.WeakSet[STTNode] = weakref.WeakSet()

#: Handlers of events that run at once before the next event waits for one of them.
_HANDLERS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    """A message that came through some session."""

    #: The session that brought it.
    session_id: bytes
    #: The stream's number.
    stream_id: int
    #: The message.
    data: bytes


@dataclass(frozen=True)
class SendReport:
    """What became of a message to several sessions."""

    #: Sessions whose queue took it.
    sent: int
    #: Why others did not, by session id.
    failed: Mapping[bytes, STTException] = field(default_factory=dict)
    #: Sessions that were left out because their peer does not read.
    full: tuple[bytes, ...] = ()

    @classmethod
    def _of(cls, parts: tuple[int, list[tuple[bytes, STTException]], list[bytes]]) -> SendReport:
        sent, failed, full = parts
        return cls(sent, dict(failed), tuple(full))


class SessionManager:
    """The live sessions of a node."""

    __slots__ = ("_node",)

    def __init__(self, node: STTNode) -> None:
        self._node = node

    def get_session(self, session_id: bytes) -> STTSession | None:
        """The live session with this id, or None."""
        return self._node.get_session(session_id)

    def get_active_sessions(self) -> list[STTSession]:
        """All live sessions."""
        return self._node.get_sessions()

    def get_sessions_with(self, peer_node_id: bytes) -> list[STTSession]:
        """The live sessions with this peer."""
        return [one for one in self._node.get_sessions() if one.peer_node_id == peer_node_id]

    async def close_session(self, session_id: bytes, reason: str = "") -> bool:
        """Closes a session; whether it was there."""
        session = self.get_session(session_id)
        if session is None:
            return False
        await session.close(reason)
        return True

    def __len__(self) -> int:
        return len(self.get_active_sessions())

    def __iter__(self) -> Iterator[STTSession]:
        return iter(self.get_active_sessions())


class HandshakeManager:
    """Handshakes that are not finished."""

    __slots__ = ("_dialling", "_node")

    def __init__(self, node: STTNode) -> None:
        self._node = node
        self._dialling: dict[int, str] = {}

    @property
    def active_handshakes(self) -> list[tuple[str, str | None]]:
        """``("outgoing", address)`` for each that this node began, ``("incoming", None)`` for each
        that a peer began: who it is shows at the end."""
        stats = self._node.get_stats()
        incoming = stats["limits"]["half_open"] if stats["running"] else 0
        outgoing = [("outgoing", address) for address in self._dialling.values()]
        return [*outgoing, *[("incoming", None)] * incoming]


class Keyring:
    """The seeds by which a running node knows its peers: the current one, with which it connects,
    and others that it accepts.

    So a group moves to another seed without a pause: everybody adds the next one, then everybody
    makes it the current one, then everybody retires the first.
    """

    __slots__ = ("_node",)

    def __init__(self, node: STTNode) -> None:
        self._node = node

    def _native(self) -> _native.Keyring:
        return _native.Keyring(self._node._running())

    async def add(self, seed: str | Buffer, *, strict_seed: bool = False) -> str:
        """Accepts a seed from now on, and does not use it yet; gives its id, which tells nothing
        about it. Raises ``STTSeedError`` when there are four."""
        _seeds.check(seed, strict=strict_seed, what="seed")
        found = self._native().add((loop := here()).native, seed)
        name: str = await loop.wait(found) if type(found) is Op else found
        return name

    def make_current(self, seed_id: str) -> None:
        """Connects with this seed from now on; the one before stays accepted."""
        self._native().make_current(seed_id)

    def retire(self, seed_id: str) -> None:
        """Forgets a seed; sessions that were made with it go on. The last one stays."""
        self._native().retire(seed_id)

    def seeds(self) -> list[str]:
        """Ids of all seeds, the current one first."""
        return self._native().seeds()

    def __repr__(self) -> str:
        return f"<Keyring of {self._node!r}>"


class UDPTransport:
    """What goes over UDP."""

    __slots__ = ("_node",)

    def __init__(self, node: STTNode) -> None:
        self._node = node

    @property
    def local_address(self) -> tuple[str, int]:
        """Host and port."""
        return self._node.local_address

    def get_stats(self) -> dict[str, Any]:
        """The figures that ``STTNode.get_stats()`` has under ``udp_transport``."""
        found: dict[str, Any] = self._node.get_stats()["udp_transport"]
        return found


class _Seeds:
    """Secrets until the start. Nothing shows them."""

    __slots__ = ("identity", "node", "shared")

    def __init__(
        self, shared: str | Buffer, node: str | Buffer | None, identity: Buffer | None
    ) -> None:
        self.identity = None if identity is None else bytes(identity)
        self.shared = shared if isinstance(shared, str) else bytes(shared)
        self.node = node if node is None or isinstance(node, str) else bytes(node)


class _Received:
    """Messages of a node, for ``async for``. Leaving the loop loses nothing."""

    __slots__ = ("_node",)

    def __init__(self, node: STTNode) -> None:
        self._node = node

    def __aiter__(self) -> AsyncIterator[ReceivedPacket]:
        return self

    async def __anext__(self) -> ReceivedPacket:
        packet = self._node._running().receive((loop := here()).native)
        if type(packet) is Op:
            packet = await loop.wait(packet)
        if packet is None:
            raise StopAsyncIteration
        return ReceivedPacket(*packet)


class STTNode:
    """A node of all those that share a seed.

    Making one costs nothing; :meth:`start` opens its port. Used with ``async with`` it is started,
    in client mode unless it was started before, and stopped at the end.

    ``node_seed``: this node's own secret. ``chamber`` is encrypted with it, and with
    ``persistent_identity`` the node id follows from it; otherwise the node is somebody new at every
    start. ``shared_seed``: what all peers share, bytes or text, or a key from ``stt seed new``.
    Seeds shorter than 32 bytes are accepted with a ``UserWarning``; with ``strict_seed`` they are
    refused. ``host``: where to listen, ``0.0.0.0`` for all of IPv4, ``::`` for all of IPv6.
    ``port``: 0 for any. ``chamber_path``: where ``chamber`` is, by default ``~/.seigr/chambers/``
    and a name that belongs to the node seed. ``events``: the emitter of the node's events.
    ``identity_key``: 32 random bytes, kept secret by the application, that the node id follows from
    instead.
    ``websocket``: address and port (``"0.0.0.0:9337"``) where WebSockets are listened for as well.
    ``heartbeat``, ``idle_timeout``: seconds of silence before a sign of life is sent (30), and
    before a session is given up (90). ``max_sessions``, ``max_streams`` (of a session),
    ``max_frame_size`` (bytes of a message): limits. ``low_memory``: all limits for a device with
    little memory. ``knock_log``: a file that keeps first packets from being replayed after a
    restart.
    """

    def __init__(
        self,
        node_seed: str | Buffer | None = None,
        shared_seed: str | Buffer = b"",
        host: str = "0.0.0.0",
        port: int = 0,
        chamber_path: str | os.PathLike[str] | None = None,
        *,
        events: EventEmitter | None = None,
        websocket: str | None = None,
        persistent_identity: bool = False,
        identity_key: Buffer | None = None,
        strict_seed: bool = False,
        heartbeat: float | None = None,
        idle_timeout: float | None = None,
        max_sessions: int | None = None,
        max_streams: int | None = None,
        max_frame_size: int | None = None,
        low_memory: bool = False,
        knock_log: str | os.PathLike[str] | None = None,
    ) -> None:
        if not shared_seed:
            raise ValueError("shared_seed is needed: the secret that all peers share")
        _seeds.check(shared_seed, strict=strict_seed, what="shared_seed")
        if node_seed is not None:
            _seeds.check(node_seed, strict=strict_seed, what="node_seed")
        if identity_key is not None and len(bytes(identity_key)) != 32:
            raise ValueError("identity_key is 32 random bytes, kept secret")
        self._secret: _Seeds | None = _Seeds(shared_seed, node_seed, identity_key)
        self._host, self._port = host, port
        self._chamber_path = None if chamber_path is None else os.fspath(chamber_path)
        self._settings = (
            websocket,
            persistent_identity,
            strict_seed,
            heartbeat,
            idle_timeout,
            max_sessions,
            max_streams,
            max_frame_size,
            low_memory,
            None if knock_log is None else os.fspath(knock_log),
        )
        self._native: _native.Node | None = None
        #: Its part in a swarm, if it takes part.
        self._joined: Any = None
        self._starting = False
        self._told: Callable[[str], object] | None = None
        #: Where the node's events are listened to.
        self.events = EventEmitter() if events is None else events
        #: The live sessions.
        self.session_manager = SessionManager(self)
        #: Handshakes that are not finished.
        self.handshake_manager = HandshakeManager(self)
        #: The seeds by which it knows its peers.
        self.keyring = Keyring(self)
        #: What goes over UDP.
        self.udp_transport = UDPTransport(self)
        #: Cryptography under the shared seed.
        self.stc = STCWrapper._checked(shared_seed)
        #: Encrypted storage under the node seed, opened by its first use and closed by ``stop()``.
        self.chamber = Chamber._of_node(self._running)

    # --- start and stop ---

    async def start(self, server_mode: bool = False) -> tuple[str, int]:
        """Opens the port; gives host and port.

        ``server_mode``: whether peers that hold the seed may connect. Takes a few tenths of a
        second, off the loop, to stretch a seed that is a phrase.

        Raises ``STTPortInUseError`` (an OSError), ``STTSeedError``, ``STTSettingError``.
        """
        secret = self._secret
        if secret is None or self._starting:
            raise STTStoppedError("the node was started before; make another one")
        self._starting = True
        try:
            native = _native.start_node(
                (loop := here()).native,
                secret.shared,
                secret.node,
                secret.identity,
                self._host,
                self._port,
                server_mode,
                self._chamber_path,
                *self._settings,
            )
            if type(native) is Op:
                native = await loop.wait(native)
        finally:
            self._starting = False
        self._native = native
        self._secret = None
        _started.add(self)
        # The engine's events, which wait in the loop, hold the emitter; it must not hold the node.
        this = weakref.WeakMethod(self._events_changed)
        self._told = lambda name: (changed := this()) is not None and changed(name)
        self.events._changed.append(self._told)
        self._events_changed(STTEvents.DATA_RECEIVED)
        _pump(_Pump(self))
        return self.local_address

    async def stop(self, timeout: float = 5.0) -> None:
        """Takes no more sessions, delivers what was sent for at most ``timeout`` seconds, closes
        every session, the port and ``chamber``. ``receive()`` comes to its end. A second time does
        nothing."""
        if self._native is None:
            return
        self._joined = None
        done = self._native.stop((loop := here()).native, timeout)
        if type(done) is Op:
            await loop.wait(done)
        self.chamber._let_go()
        if self._told is not None and self._told in self.events._changed:
            self.events._changed.remove(self._told)

    async def __aenter__(self) -> STTNode:
        if self._native is None:
            await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and not _native.is_forked() and native.is_running:
            warnings.warn(f"{self!r} was not stopped", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        if self._native is None:
            return f"<STTNode {self._host}:{self._port}, not started>"
        host, port = self._native.local_address
        state = "running" if self._native.is_running else "stopped"
        return f"<STTNode {self._native.node_id.hex()[:16]} at {host}:{port}, {state}>"

    def _running(self) -> _native.Node:
        if self._native is None:
            raise STTStoppedError("the node was not started: await node.start()")
        return self._native

    # --- what it is ---

    @property
    def node_id(self) -> bytes:
        """32 bytes: who the node is, once it is started."""
        return self._running().node_id

    @property
    def local_address(self) -> tuple[str, int]:
        """Host and port, once it is started."""
        return self._running().local_address

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._native is not None and self._native.is_running

    def enable_accept_connections(self) -> None:
        """Lets peers that hold the seed connect from now on."""
        self._running().set_accepting(True)

    def disable_accept_connections(self) -> None:
        """Refuses peers from now on; sessions that exist go on."""
        self._running().set_accepting(False)

    def set_admission(
        self, only: Iterable[bytes] | None = None, deny: Iterable[bytes] = ()
    ) -> None:
        """Which nodes may have sessions, of those that hold the seed; who may not any more loses
        its session at once."""
        self._running().set_admission(None if only is None else list(only), list(deny))

    def get_stats(self) -> dict[str, Any]:
        """Figures from the start until now: ``node_id`` (hexadecimal), ``running``,
        ``server_mode``, ``accepting_connections``, ``udp_transport``, ``sessions``,
        ``websocket_connections``, ``limits``."""
        return self._running().stats()

    @property
    def ws_connections(self) -> dict[bytes, STTSession]:
        """Sessions that travel over a WebSocket at the moment, by their id."""
        return {one.session_id: one for one in self.get_sessions() if one.route.kind != "udp"}

    def sign(self, context: str, message: Buffer) -> bytes:
        """A signature of the node over a message, for a purpose: it is worth nothing for another.
        :func:`verify_signature` checks it against the node id."""
        return self._running().sign(context, message)

    def rebind(self, host: str, port: int = 0) -> tuple[str, int]:
        """Moves to another address of this machine while sessions go on; gives host and port."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return self._running().rebind(address)

    # --- sessions ---

    async def connect_udp(
        self,
        peer_host: str,
        peer_port: int,
        *,
        expect: bytes | None = None,
        timeout: float = 10.0,
    ) -> STTSession:
        """Connects over UDP to a name or an address, for at most ``timeout`` seconds.

        ``expect``: the node id that the peer must prove to have.

        Raises ``ConnectionTimeoutError`` (also a TimeoutError) when nobody answers: a wrong seed
        looks like that too, since strangers are not answered; ``ConnectionRefusedError``,
        ``STTDeniedError`` (a PermissionError), ``STTHandshakeError``.
        """
        address = f"{peer_host}:{peer_port}"
        return await self._connect(address, peer_host, peer_port, expect, timeout)

    async def connect(
        self,
        peer_addr: str | tuple[str, int],
        peer_id: bytes | None = None,
        timeout: float = 10.0,
    ) -> STTSession:
        """Connects to ``(host, port)``, or to ``"HOST:PORT"`` (UDP, and after a second of silence a
        WebSocket as well), ``"udp://HOST:PORT"``, ``"ws://HOST:PORT/PATH"``, ``"wss://HOST/PATH"``.

        ``peer_id``: the node id that the peer must prove to have. Raises as :meth:`connect_udp`.
        """
        if isinstance(peer_addr, str):
            return await self._connect(peer_addr, None, 0, peer_id, timeout)
        host, port = peer_addr
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return await self._connect(address, None, 0, peer_id, timeout)

    async def _connect(
        self, address: str, host: str | None, port: int, expect: bytes | None, timeout: float
    ) -> STTSession:
        native, loop = self._running(), here()
        dialling = self.handshake_manager._dialling
        if host is None:
            made = native.connect(loop.native, address, expect, timeout)
        else:
            made = native.connect_udp(loop.native, host, port, expect, timeout)
        if type(made) is Op:
            number = made.id
            dialling[number] = address
            try:
                made = await loop.wait(made)
            finally:
                dialling.pop(number, None)
        return STTSession(made)

    async def accept(self) -> STTSession:
        """The next session that a peer began; each is given out once.

        Raises ``STTStoppedError`` once the node stopped.
        """
        session = self._running().accept((loop := here()).native)
        if type(session) is Op:
            session = await loop.wait(session)
        if session is None:
            raise STTStoppedError("the node was stopped")
        return STTSession(session)

    def get_session(self, session_id: bytes) -> STTSession | None:
        """The live session with this id, or None."""
        native = self._running().session(session_id)
        return None if native is None else STTSession(native)

    def get_sessions(self) -> list[STTSession]:
        """All live sessions, in no particular order."""
        return [STTSession(native) for native in self._running().sessions()]

    # --- messages ---

    async def send_to_all(self, data: Buffer, stream_id: int = 0) -> SendReport:
        """Sends a message on this stream of every session; returns when the queue of each has taken
        it or failed. Nobody being there is a warning in the log, and an event."""
        report = self._running().send_to_all((loop := here()).native, data, stream_id)
        done = SendReport._of(await loop.wait(report) if type(report) is Op else report)
        if not done.sent and not done.failed:
            _log.warning("No active sessions: a message was sent to nobody")
        return done

    def try_send_to_all(self, data: Buffer, stream_id: int = 0) -> SendReport:
        """As :meth:`send_to_all`, but waits for nobody: sessions whose queue is full are left out
        and reported."""
        return SendReport._of(self._running().try_send_to_all(data, stream_id))

    async def send_to_sessions(
        self, session_ids: Iterable[bytes], data: Buffer, stream_id: int = 0
    ) -> SendReport:
        """Sends a message on this stream of the sessions with these ids. Those that are over are
        reported as failed, not raised."""
        native, loop = self._running(), here()
        report = native.send_to_sessions(loop.native, list(session_ids), data, stream_id)
        return SendReport._of(await loop.wait(report) if type(report) is Op else report)

    def receive(self) -> AsyncIterator[ReceivedPacket]:
        """Messages from any session, on streams that nobody opened here: ``async for packet in
        node.receive()``. Ends when the node stops. Leaving the loop loses nothing."""
        self._running()
        return _Received(self)

    # --- protocols ---

    def handle_protocol(
        self,
        label: str | bytes,
        handler: Callable[[ProtocolStream], Awaitable[object]] | None = None,
    ) -> Protocol:
        """Takes the streams that peers open for the protocol ``label``, 1 to 64 bytes: gives each
        to ``handler``, a coroutine function, in a task of its own, or to ``async for``. Until what
        is returned is closed, or the node stops.

        Raises ``STTProtocolError`` when the label has a handler already.
        """
        return Protocol(_native.handle_protocol(self._running(), label), handler)

    # --- events ---

    def on_session_closed(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Calls ``handler(session_id, reason)`` in the event loop for every session that ends; it
        may be a coroutine function. ``reason`` is a word: ``closed``, ``shutdown``, ``refused``,
        ``auth_failure``, ``timeout`` or ``protocol``."""
        self.events.register(STTEvents.SESSION_CLOSED, handler)
        return handler

    def _events_changed(self, name: str) -> None:
        if name == STTEvents.DATA_RECEIVED and self._native is not None:
            self._native.want_data(bool(self.events.get_handlers(name)))


def verify_signature(node_id: bytes, context: str, message: Buffer, signature: Buffer) -> bool:
    """Whether the node with this id signed this message for this purpose."""
    return _native.verify_signature(node_id, context, message, bytes(signature))


def running_nodes() -> list[STTNode]:
    """The nodes of this process that run."""
    return [node for node in _started if node.is_running]


class _Pump:
    """Hands events of the engine on. While it waits it is neither a task nor does it hold the node,
    so that neither has to be ended."""

    def __init__(self, node: STTNode) -> None:
        self.native = node._running().events()
        self.events = node.events
        self.tasks: set[asyncio.Task[Any]] = set()
        self.op: Op | None = None
        self.open: set[bytes] = set()
        self.early: dict[bytes, dict[str, Any]] = {}
        self.paused = False

    def hand_on(self, name: str, fields: dict[str, Any]) -> None:
        """Each session's end comes after its beginning, in whatever order the engine told them."""
        session = fields.get("session_id", b"")
        if name == STTEvents.SESSION_CLOSED:
            if session not in self.open:
                self.early[session] = fields
                return
            self.open.discard(session)
        self.emit(name, fields)
        if name == STTEvents.SESSION_CREATED:
            self.open.add(session)
            if early := self.early.pop(session, None):
                self.open.discard(session)
                self.emit(STTEvents.SESSION_CLOSED, early)

    def emit(self, name: str, fields: dict[str, Any]) -> None:
        if not self.events.get_handlers(name):
            return
        task = asyncio.get_running_loop().create_task(self.events.emit(name, **fields))
        self.tasks.add(task)
        task.add_done_callback(self.done)

    def done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("emitting an event failed", exc_info=error)
        if self.paused and len(self.tasks) < _HANDLERS_AT_ONCE:
            self.paused = False
            _pump(self)


def _pump(pump: _Pump) -> None:
    loop = here()
    while True:
        if len(pump.tasks) >= _HANDLERS_AT_ONCE:
            pump.paused = True
            return
        if pump.op is None:
            events = pump.native.next(loop.native)
        else:
            events = pump.op.poll()
        if type(events) is Op:
            pump.op = events
            loop.call(events, lambda: _pump(pump))
            return
        pump.op = None
        if not events:
            return
        for name, fields in events:
            pump.hand_on(name, fields)
