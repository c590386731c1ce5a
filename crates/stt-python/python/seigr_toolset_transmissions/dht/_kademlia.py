"""The distributed hash table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .. import _native
from ..errors import STTException, STTSettingError, STTStoppedError
from ..node import STTNode, running_nodes
from ..session import Buffer, STTSession
from ._joined import Joined, call, join

__all__ = ["DHTNode", "KademliaDHT"]

#: Nodes that keep a value, and that are asked at once: as the engine has them.
_K, _ALPHA = 20, 3


@dataclass(frozen=True, slots=True)
class DHTNode:
    """A member of the swarm. Without a host it can only be reached by sessions that it began."""

    #: 32 bytes.
    node_id: bytes
    #: Its IP address, or a name when it is one to begin with.
    host: str = ""
    #: Its port.
    port: int = 0

    @property
    def address(self) -> str:
        """Host and port in one text."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class KademliaDHT:
    """The part of the process's node in the swarm of all that hold its seed.

    It has neither a seed nor a port of its own: :meth:`start` joins it to the running node of this
    process that has the id ``node_id`` (32 bytes, or hexadecimal), to the only one there is without
    an id, or to ``node``. Several on one node are the same part. Alone in the swarm everything
    works at once; values and providers spread when others come.

    ``host``, ``port``: where that node must listen; an empty host and port 0 are any. ``k`` and
    ``alpha`` are 20 and 3. ``swarm``: a name that keeps swarms of one seed apart. ``persist``: keep
    in the node's chamber what was stored here and where members are, so that a node with a
    ``persistent_identity`` goes on there after a restart.
    """

    def __init__(
        self,
        node_id: bytes | str | None = None,
        host: str = "",
        port: int = 0,
        k: int = _K,
        alpha: int = _ALPHA,
        *,
        node: STTNode | None = None,
        swarm: str = "",
        persist: bool = False,
    ) -> None:
        if (k, alpha) != (_K, _ALPHA):
            text = f"k is {_K} and alpha is {_ALPHA} here: leave them out"
            raise STTSettingError(text, code="dht.setting")
        self._wanted = None if node_id is None else _id(node_id)
        self._host, self._port, self._name = host, port, swarm
        self._persist = persist
        self._node = node
        self._joined: Joined | None = None
        self._known: dict[bytes, DHTNode] = {}

    # --- start and stop ---

    async def start(self) -> None:
        """Joins the process's node. A second time does nothing.

        Raises ``STTStoppedError`` when no such node runs, ``STTSettingError`` when it listens
        elsewhere.
        """
        if self._joined is not None:
            return
        node = self._find()
        host, port = node.local_address
        if self._port not in (0, port) or self._host not in ("", "0.0.0.0", "::", host):
            raise STTSettingError(
                f"the node of this process listens on {host}:{port}, and its part in the swarm has "
                f"no port of its own: leave host and port out, or start the node with port="
                f"{self._port}",
                code="dht.port",
            )
        joined = join(node, self._name, self._persist)
        try:
            await joined.swarm()
        except BaseException:
            joined.leave()
            raise
        self._node, self._joined = node, joined

    def _find(self) -> STTNode:
        if self._node is not None:
            self._node._running()
            found = [self._node]
        else:
            found = running_nodes()
        if self._wanted is not None:
            found = [node for node in found if node.node_id == self._wanted]
        if len(found) == 1:
            return found[0]
        what = "with this id" if self._wanted is not None else "or more than one"
        raise STTStoppedError(
            f"there is no running node {what} in this process: start an STTNode first, and pass "
            "its node_id, or node=",
            code="dht.no_node",
        )

    async def stop(self) -> None:
        """Leaves the swarm, unless others of this process use it. The node and its sessions go on.
        A second time does nothing."""
        joined, self._joined = self._joined, None
        if joined is not None:
            joined.leave()

    async def __aenter__(self) -> KademliaDHT:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _part(self) -> Joined:
        if self._joined is None:
            raise STTStoppedError(
                "the DHT was not started, or was stopped: await dht.start()", code="dht.no_node"
            )
        return self._joined

    async def _swarm(self) -> _native.Swarm:
        return await self._part().swarm()

    @property
    def node(self) -> STTNode:
        """The node that it is joined to, once it is started."""
        return self._part().node

    @property
    def node_id(self) -> bytes | None:
        """The node's id: the one that was asked for until it is started, None if none was."""
        return self._wanted if self._joined is None else self._joined.node.node_id

    @property
    def is_running(self) -> bool:
        """Whether it was started and neither it nor its node was stopped."""
        return self._joined is not None and self._joined.node.is_running

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not running"
        node_id = self.node_id
        return f"<KademliaDHT {'' if node_id is None else node_id.hex()[:16] + ', '}{state}>"

    # --- members ---

    async def bootstrap(self, nodes: Iterable[DHTNode | tuple[str, int] | str]) -> int:
        """Joins by nodes that are there, 64 at most, all tried at once: it is enough that one
        answers. Gives how many members are known then.

        Each is a :class:`DHTNode`, ``(host, port)``, or an address as ``STTNode.connect`` takes it.
        Raises ``STTSwarmError`` ``swarm.no_bootstrap`` when none answers.
        """
        addresses = [_address(one) for one in nodes]
        swarm = await self._swarm()
        _, known = await call(lambda loop: swarm.bootstrap(loop, addresses))
        return int(known)

    async def ping(self, node: DHTNode | bytes | str) -> bool:
        """Whether a member answers, which is looked for if its address is not known."""
        try:
            await (await self.connect(node)).ping()
        except STTStoppedError:
            raise
        except STTException:
            return False
        return True

    async def connect(self, node: DHTNode | bytes | str) -> STTSession:
        """A session with a member, which is looked for by its id and has to prove it.

        Raises ``STTSwarmError`` ``swarm.unreachable``.
        """
        swarm, wanted = await self._swarm(), _id(node)
        return STTSession(await call(lambda loop: swarm.connect(loop, wanted)))

    async def find_node(self, node: DHTNode | bytes | str) -> list[DHTNode]:
        """Members whose ids are closest to this one, 20 at most."""
        swarm, wanted = await self._swarm(), _id(node)
        found = await call(lambda loop: swarm.find_node(loop, wanted))
        return [DHTNode(*parts[:3]) for parts in found]

    async def get_peers(self) -> list[DHTNode]:
        """Members that this node is linked with or knows how to reach."""
        swarm = await self._swarm()
        found = [DHTNode(*parts[:3]) for parts in await call(swarm.peers)]
        self._known = {one.node_id: one for one in found}
        return found

    async def _member(self, node_id: bytes) -> DHTNode:
        """A member by its id, with its address if that is known."""
        found = self._known.get(node_id)
        if found is None:
            await self.get_peers()
            host, port = self.node.local_address if node_id == self.node_id else ("", 0)
            found = self._known.setdefault(node_id, DHTNode(node_id, host, port))
        return found

    # --- values ---

    async def store(self, key: Buffer | str, value: Buffer) -> int:
        """Stores a value of at most 12,288 bytes for 24 hours, again and again while this runs, at
        the members closest to the key. Gives how many keep it, this node included.

        A key has one value: the first publisher's, until it expires or that publisher replaces it;
        for others that is ``STTSwarmError`` ``swarm.taken``.
        """
        swarm, name = await self._swarm(), _key(key)
        return 1 + int(await call(lambda loop: swarm.store(loop, name, value)))

    async def forget(self, key: Buffer | str) -> bool:
        """Publishes the value that this node stored no more: whether there was one. Copies at other
        members hold until they expire."""
        swarm, name = await self._swarm(), _key(key)
        return bool(await call(lambda loop: swarm.forget(loop, name)))

    async def find_value(
        self, key: Buffer | str, publisher: DHTNode | bytes | None = None
    ) -> bytes | None:
        """The value of a key, or None. Any member may have stored it: who must not be deceived
        names the ``publisher``."""
        swarm, name = await self._swarm(), _key(key)
        by = None if publisher is None else _id(publisher)
        found = await call(lambda loop: swarm.find_value(loop, name, by))
        return None if found is None else bytes(found[0])

    # --- providers ---

    async def announce_provider(self, key: Buffer | str) -> None:
        """Says that this node provides what the key stands for, again every 10 minutes."""
        swarm, name = await self._swarm(), _key(key)
        await call(lambda loop: swarm.provide(loop, name))

    provide = announce_provider

    async def stop_providing(self, key: Buffer | str) -> None:
        """Says so no more. What others know holds for 30 minutes at most."""
        swarm, name = await self._swarm(), _key(key)
        await call(lambda loop: swarm.stop_providing(loop, name))

    async def find_providers(
        self, key: Buffer | str, *, count: int = 20, timeout: float = 10.0
    ) -> list[DHTNode]:
        """Who provides a key and answers, ``count`` of them at most, looking for ``timeout``
        seconds at most."""
        swarm, name = await self._swarm(), _key(key)
        found = await call(lambda loop: swarm.find_providers(loop, name, count, timeout))
        return [DHTNode(*parts) for parts in found]

    async def find_content(self, content_id: Buffer, *, timeout: float = 10.0) -> list[DHTNode]:
        """Who provides a content, as ``ContentDistribution`` publishes it, looking for ``timeout``
        seconds at most."""
        wanted = bytes(content_id)
        if len(wanted) != 32:
            raise ValueError(f"a content id has 32 bytes, this has {len(wanted)}")
        swarm = await self._swarm()
        found = await call(lambda loop: _native.content_providers(loop, swarm, wanted, timeout))
        return [DHTNode(*parts) for parts in found]

    # --- figures ---

    async def get_stats(self) -> dict[str, Any]:
        """``node_id`` (hexadecimal), ``peers``, ``linked``: members that are known, and those with
        a link now."""
        swarm = await self._swarm()
        members = await call(swarm.peers)
        return {
            "node_id": self.node.node_id.hex(),
            "peers": len(members),
            "linked": sum(linked for *_, linked in members),
        }


def _id(node: DHTNode | bytes | str) -> bytes:
    if isinstance(node, DHTNode):
        return node.node_id
    return bytes.fromhex(node) if isinstance(node, str) else bytes(node)


def _key(key: Buffer | str) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


def _address(node: DHTNode | tuple[str, int] | str) -> str:
    if isinstance(node, str):
        return node
    host, port = (node.host, node.port) if isinstance(node, DHTNode) else node
    return DHTNode(b"", host, port).address
