"""A node's part in a swarm, shared by all that use it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from .. import _native
from .._across import Turn
from .._bridge import Op, here
from ..node import STTNode

#: Bytes, and number, of large messages of this node that others can still fetch.
_LARGE_BYTES, _LARGE_COUNT = 64 << 20, 64


async def call(begin: Callable[[_native.Reactor], Any]) -> Any:
    """What comes of a native call."""
    answer = begin((loop := here()).native)
    return await loop.wait(answer) if type(answer) is Op else answer


class Joined:
    """What the swarm of one node is, as long as somebody uses it."""

    def __init__(self, node: STTNode, name: str, persist: bool) -> None:
        self.node = node
        self.name = name
        self.persist = persist
        self.users = 0
        #: Own subscribers by topic.
        self.topics: Counter[str] = Counter()
        #: Contents that the application published, and those that are large messages.
        self.published: set[bytes] = set()
        self._large: OrderedDict[bytes, int] = OrderedDict()
        self._swarm: _native.Swarm | None = None
        self._content: _native.Content | None = None
        self._turn = Turn()

    async def swarm(self) -> _native.Swarm:
        """The swarm, begun by the first call."""
        found = self._swarm
        if found is None:
            async with self._turn:
                found = self._swarm
                if found is None:
                    native = self.node._running()
                    found = self._swarm = await call(
                        lambda loop: _native.start_swarm(
                            loop, native, self.name, 256, self.persist
                        )
                    )
        return found

    async def content(self) -> _native.Content:
        """What the node publishes, begun by the first call."""
        found = self._content
        if found is None:
            async with self._turn:
                found = self._content
                if found is None:
                    native = self.node._running()
                    found = self._content = await call(
                        lambda loop: _native.start_content(loop, native)
                    )
        return found

    async def publish_large(self, data: bytes) -> bytes:
        """Publishes a message as content, for as long as not too many newer ones are."""
        content = await self.content()
        found: bytes = await call(lambda loop: content.publish(loop, data, None))
        self._large[found] = len(data)
        self._large.move_to_end(found)
        while len(self._large) > _LARGE_COUNT or sum(self._large.values()) > _LARGE_BYTES:
            oldest, _ = self._large.popitem(last=False)
            if oldest not in self.published:
                content.unpublish(oldest)
        return found

    def unpublish(self, content_id: bytes) -> bool:
        """Publishes a content no longer, unless it is a message that is still fetched."""
        was = content_id in self.published
        self.published.discard(content_id)
        if self._content is not None and content_id not in self._large:
            self._content.unpublish(content_id)
        return was

    def leave(self) -> None:
        """One user less; with the last one the swarm ends."""
        self.users -= 1
        if self.users == 0:
            self._swarm = self._content = None
            self._large.clear()
            self.published.clear()
            if self.node._joined is self:
                self.node._joined = None


def join(node: STTNode, name: str, persist: bool) -> Joined:
    """The node's part in the swarm, with one user more."""
    joined: Joined | None = node._joined
    if joined is None:
        joined = node._joined = Joined(node, name, persist)
    elif joined.name != name:
        raise ValueError(f"this node takes part in the swarm {joined.name!r}, and in one at a time")
    elif persist and not joined.persist:
        raise ValueError("this node's part in the swarm began without persist=True, and goes on so")
    joined.users += 1
    return joined
