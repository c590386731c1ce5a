"""Content by its hash."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import STTSettingError
from ..session import Buffer
from ._joined import call
from ._kademlia import DHTNode, KademliaDHT, _id
from ._pubsub import Handler, PubSubManager

__all__ = ["ContentDistribution"]

#: Topics on which it is said that a content was published.
_TOPIC = "stt.content/"

Callback = Callable[[bytes, DHTNode], Any]


class ContentDistribution:
    """Publishes content to the members of the swarm, and retrieves theirs by its id.

    An id is the content's BLAKE3 hash, 32 bytes, the same as ``stc.content_hash`` gives: whatever
    is retrieved was verified against it. Who holds the seed and knows an id can retrieve its
    content. ``dht``: a :class:`KademliaDHT`, started before the first call. ``node_id``: must be
    that of its node, and may be left out.
    """

    def __init__(self, dht: KademliaDHT, node_id: bytes | str | None = None) -> None:
        if node_id is not None and dht.node_id not in (None, _id(node_id)):
            raise STTSettingError("node_id is not that of the DHT's node", code="dht.setting")
        self._dht = dht
        self._news = PubSubManager(dht)
        self._callbacks: dict[tuple[bytes, Callback], Handler] = {}

    async def publish_content(self, data: Buffer, persist: bool = False) -> bytes:
        """Publishes bytes until :meth:`unpublish_content`, or the end of the swarm; gives their id.

        They are held in memory, and the DHT says who has them. ``persist``: keeps them in the
        node's chamber as well, encrypted, where :meth:`retrieve_content` finds them once the
        chamber is open, also after a restart; the node needs a node seed for that.
        """
        part, swarm = self._dht._part(), await self._dht._swarm()
        content = await part.content()
        if persist:
            await part.node.chamber.put(data)
        found: bytes = await call(lambda loop: content.publish(loop, data, swarm))
        part.published.add(found)
        await self._news.publish(_TOPIC + found.hex(), found, ready_timeout=0.0)
        return found

    async def unpublish_content(self, content_id: Buffer) -> bool:
        """Publishes a content no longer; whether it was published. What others know holds for 30
        minutes at most; the chamber keeps what is in it."""
        return self._dht._part().unpublish(_content_id(content_id))

    async def retrieve_content(
        self,
        content_id: Buffer,
        parallel_sources: int = 3,
        *,
        providers: Iterable[DHTNode] = (),
        max_size: int = 64 << 20,
        timeout: float = 10.0,
    ) -> bytes:
        """A content: from this node, from ``providers`` and connected members, or from whom the DHT
        names within ``timeout`` seconds; from several at once, and verified.

        ``max_size``: most bytes that are taken into memory. Raises ``STTNotFoundError`` (a
        KeyError) when nobody who was asked has it, ``STTContentError`` otherwise.
        """
        part, swarm = self._dht._part(), await self._dht._swarm()
        content, wanted = await part.content(), _content_id(content_id)
        chamber = part.node.chamber
        if chamber.place is not None and await chamber.exists(wanted):
            return await chamber.get(wanted)
        named = [(one.node_id, one.host, one.port) for one in providers]
        found: bytes = await call(
            lambda loop: content.retrieve(
                loop, wanted, parallel_sources, max_size, named, swarm, timeout
            )
        )
        return found

    async def subscribe(self, content_id: Buffer, callback: Callback) -> None:
        """Calls ``callback(content_id, publisher)``, plain or a coroutine function, in the event
        loop when a member publishes a content from now on; an exception in it is logged."""
        wanted = _content_id(content_id)
        if (wanted, callback) in self._callbacks:
            return

        async def told(_topic: str, _data: bytes, publisher: DHTNode) -> None:
            result = callback(wanted, publisher)
            if inspect.isawaitable(result):
                await result

        self._callbacks[wanted, callback] = told
        try:
            await self._news.subscribe(_TOPIC + wanted.hex(), told)
        except BaseException:
            del self._callbacks[wanted, callback]
            raise

    async def unsubscribe(self, content_id: Buffer, callback: Callback) -> bool:
        """Ends that; whether it was subscribed."""
        wanted = _content_id(content_id)
        told = self._callbacks.pop((wanted, callback), None)
        return told is not None and await self._news.unsubscribe(_TOPIC + wanted.hex(), told)

    async def get_stats(self) -> dict[str, int]:
        """``published`` contents, ``answers`` and ``bytes_served`` to members, ``retrieved``
        contents, ``bytes_retrieved``, and ``failed`` ones."""
        content = await self._dht._part().content()
        return content.stats()


def _content_id(value: Buffer) -> bytes:
    found = bytes(value)
    if len(found) != 32:
        raise ValueError(f"a content id has 32 bytes, this has {len(found)}")
    return found
