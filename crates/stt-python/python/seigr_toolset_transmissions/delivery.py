"""How sure messages arrive and how urgent they are, and whom to ask for a content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _native
from .errors import STTException

if TYPE_CHECKING:
    from .dht import KademliaDHT
    from .node import STTNode
    from .session import STTSession

__all__ = [
    "AdaptivePriorityManager",
    "ContentAffinityPool",
    "Delivery",
    "PoolMissError",
]

Buffer = bytes | bytearray | memoryview


def _content(value: Buffer) -> bytes:
    found = bytes(value)
    if len(found) != 32:
        raise ValueError(f"a content's hash has 32 bytes, this has {len(found)}")
    return found


@dataclass(frozen=True)
class Delivery:
    """How sure the messages of one direction of a stream arrive: ``open_stream(delivery=...)``."""

    #: ``"reliable"``, ``"deadline"``, ``"probabilistic"``, ``"entropy"`` or ``"datagram"``.
    mode: str = "reliable"
    #: Seconds of a deadline, the probability, or the density up to which data is redundant.
    value: float = 0.0
    #: The density from which on data is dense.
    dense: float = 0.0

    @classmethod
    def reliable(cls) -> Delivery:
        """Every message arrives, in order, as long as the session lives. The default."""
        return cls()

    @classmethod
    def deadline(cls, seconds: float) -> Delivery:
        """A message that is not acknowledged within this time is given up. Messages arrive whole or
        not at all, and may overtake each other."""
        return cls("deadline", seconds)

    @classmethod
    def probabilistic(cls, probability: float) -> Delivery:
        """Each message arrives with at least this probability (0.5 to 0.99999) without being sent
        again: repair packets are sized from the loss that is measured on the path."""
        return cls("probabilistic", probability)

    @classmethod
    def entropy(cls, redundant: float = 0.5, dense: float = 0.9) -> Delivery:
        """As :meth:`probabilistic`, with the probability picked for each message from its own
        density. **Who counts datagrams then learns which messages are dense.**"""
        return cls("entropy", redundant, dense)

    @classmethod
    def datagram(cls) -> Delivery:
        """One datagram, sent once. A longer message is a ``ValueError``."""
        return cls("datagram")

    def _parts(self) -> tuple[str, float, float]:
        return self.mode, self.value, self.dense


class PoolMissError(STTException, LookupError):
    """No session is there that could be asked."""


class ContentAffinityPool:
    """Picks the session whose peer most likely holds a content, among those of a node.

    Peers are ranked by rendezvous hashing, so all nodes that know the same peers agree without
    talking; what was :meth:`report` ed goes before what is computed. ``node``: an ``STTNode``, or a
    started ``KademliaDHT``, whose node's sessions are meant.
    """

    def __init__(self, node: STTNode | KademliaDHT) -> None:
        from .node import STTNode

        of = node if isinstance(node, STTNode) else node._part().node
        self._node = of
        self._native = _native.Pool(of._running())

    def get_session_for_content(self, content: Buffer) -> STTSession:
        """The session to ask for the content with this hash. Raises :class:`PoolMissError` when the
        node has none."""
        from .session import STTSession

        found = self._native.pick(_content(content))
        if found is None:
            raise PoolMissError("the node has no session", code="pool.miss", retry_helps=True)
        return STTSession(found)

    def rank(self, content: Buffer, count: int = 3) -> list[STTSession]:
        """The sessions to ask, best first: for a second try, or for copies. One for each peer."""
        from .session import STTSession

        return [STTSession(one) for one in self._native.rank(_content(content), count)]

    def report(self, content: Buffer, session: STTSession, held: bool) -> None:
        """Says whether the peer of a session held a content: it is asked first from now on, or no
        longer. It also feeds the session's adaptive priorities."""
        self._native.report(_content(content), session.session_id, held)

    def get_stats(self) -> dict[str, int]:
        """``picked_by_knowledge``, ``picked_by_hash``, ``hits``, ``misses``."""
        return self._native.stats()

    def __repr__(self) -> str:
        return f"<ContentAffinityPool of {self._node!r}>"


@dataclass(frozen=True)
class Priority:
    """A priority and where it came from; the parts are 0 to 1."""

    #: The result, 0 to 1,000.
    priority: int
    #: 1 for a content never sent before, 1/n when it is sent for the n-th time.
    uniqueness: float
    #: 1 for a content accessed right now, halved with each half-life.
    recency: float
    #: As given.
    congestion: float
    #: As given.
    affinity: float
    #: 1 for a content that nobody else provides, 1/(n+1) with n others; None without a DHT.
    rarity: float | None = None


class AdaptivePriorityManager:
    """Makes priorities from how new, how lately accessed, how wanted and how rare a content is.

    A stream that is opened with ``adaptive_priority=True`` does so by itself, but for the rarity.
    ``dht``: a started ``KademliaDHT``; with one, half of the priority is the rarity of the content
    in the swarm. ``half_life``: seconds after which an access counts half.
    """

    def __init__(
        self, dht: KademliaDHT | None = None, *, half_life: float | None = None
    ) -> None:
        self._dht = dht
        self._native = _native.AdaptivePriority(half_life)

    def accessed(self, content: Buffer) -> None:
        """Somebody asked for the content with this hash."""
        self._native.accessed(_content(content))

    async def assess(
        self,
        content: Buffer,
        *,
        congestion: float = 0.0,
        affinity: float = 0.0,
        timeout: float = 2.0,
    ) -> Priority:
        """The priority of the content with this hash (``stc.content_hash``), which is about to be sent.

        ``congestion``: how full the path is, ``affinity``: how likely the peer wants it, both 0 to
        1. ``timeout``: seconds for which the swarm is asked who provides it.
        """
        wanted = _content(content)
        parts: dict[str, Any] = self._native.assess(wanted, congestion, affinity)
        if self._dht is None:
            return Priority(**parts)
        found = await self._dht.find_content(wanted, timeout=timeout)
        others = {one.node_id for one in _others(found, self._dht.node_id)}
        rarity = 1 / (len(others) + 1)
        parts["priority"] = round(parts["priority"] / 2 + 500 * rarity)
        return Priority(**parts, rarity=rarity)


def _others(found: Iterable[Any], own: bytes | None) -> Iterable[Any]:
    return (one for one in found if one.node_id != own)
