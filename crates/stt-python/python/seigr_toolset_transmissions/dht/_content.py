"""Content by its hash."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _native
from ..errors import STTContentNotFoundError, STTSettingError
from ..session import Buffer
from ._joined import call
from ._kademlia import DHTNode, KademliaDHT, _id
from ._pubsub import Handler, PubSubManager

__all__ = ["ContentDistribution", "ContentTicket", "FetchedContent", "SharedContent"]

#: Topics on which it is said that a content was published.
_TOPIC = "stt.content/"

Callback = Callable[[bytes, DHTNode], Any]


@dataclass(frozen=True, slots=True)
class SharedContent:
    """A file or folder that is offered."""

    #: Its id, 32 bytes; of a folder, that of its manifest.
    content_id: bytes
    #: The name of the file or folder.
    name: str
    #: Bytes of the file, or of all files of the folder.
    size: int
    #: How many files it is.
    files: int
    #: Whether it is a folder.
    is_folder: bool

    @classmethod
    def _of(cls, parts: tuple[bytes, int, str, tuple[int, int] | None]) -> SharedContent:
        content_id, size, name, folder = parts
        files, size = (1, size) if folder is None else folder
        return cls(content_id, name, size, files, folder is not None)


@dataclass(frozen=True, slots=True)
class ContentTicket:
    """What a ticket says: ``ContentTicket.parse(text)``. The text is what is handed on."""

    #: The content's id, 32 bytes.
    content_id: bytes
    #: Its length in bytes (of a folder: that of its manifest), as whoever made the ticket says.
    size: int
    #: Its name, as whoever made the ticket says.
    name: str
    #: Whether it is a folder.
    is_folder: bool
    #: Who has it.
    providers: tuple[DHTNode, ...]
    #: The ticket itself.
    text: str

    @classmethod
    def parse(cls, text: str) -> ContentTicket:
        """Reads a ticket. Raises ``STTContentError``."""
        content_id, size, name, is_folder, found = _native.read_ticket(text)
        providers = tuple(
            DHTNode(node_id, host, port) for node_id, places in found for host, port in places
        )
        return cls(content_id, size, name, is_folder, providers, text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class FetchedContent:
    """A file or folder that was fetched."""

    #: Where it is now.
    path: Path
    #: Its name here, made safe.
    name: str
    #: Its bytes; of a folder, those of all files.
    size: int
    #: How many files it is.
    files: int
    #: Bytes that were there from earlier attempts.
    resumed: int
    #: Seconds from the call to the end.
    elapsed: float
    #: Verified bytes by provider.
    providers: Mapping[bytes, int]


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

    # --- files, folders, tickets ---

    async def share(self, path: str | os.PathLike[str]) -> SharedContent:
        """Offers a file, or all files of a folder, from now on, and says so in the DHT. They stay
        where they are and must not change. :meth:`unpublish_content` ends it."""
        part, swarm = self._dht._part(), await self._dht._swarm()
        content, place = await part.content(), os.fspath(path)
        parts = await call(lambda loop: _native.share_path(loop, content, place, swarm))
        shared = SharedContent._of(parts)
        part.published.add(shared.content_id)
        return shared

    async def shared(self) -> list[SharedContent]:
        """All that is published and shared."""
        content = await self._dht._part().content()
        return [SharedContent._of(parts) for parts in _native.shared_contents(content)]

    async def ticket(
        self, content_id: Buffer, addresses: Iterable[tuple[str, int]] = ()
    ) -> str:
        """A ticket for something that is published or shared here: a text by which others that hold
        the seed :meth:`fetch` it.

        ``addresses``: where they reach this node, by default where it listens; a node that listens
        on all addresses has to say. Raises ``STTNotFoundError`` (a KeyError).
        """
        part, wanted = self._dht._part(), _content_id(content_id)
        places = list(addresses) or [part.node.local_address]
        if any(host in ("0.0.0.0", "::") for host, _port in places):
            raise STTSettingError(
                "this node listens on all addresses: name one that others reach, addresses=[...]",
                code="dht.setting",
            )
        text = _native.make_ticket(await part.content(), wanted, places)
        if text is None:
            raise STTContentNotFoundError("it is not published here", code="content.not_found")
        return text

    async def fetch(
        self,
        ticket: str | ContentTicket,
        directory: str | os.PathLike[str],
        *,
        name: str | None = None,
        progress: Callable[[str, int, int], Any] | None = None,
        timeout: float = 10.0,
    ) -> FetchedContent:
        """Fetches what a ticket is for into a directory, which is made if it is not there: from the providers that it names, and
        those that the DHT names within ``timeout`` seconds, from several at once, and verified. What
        arrived before a failure, or before it was given up, is not fetched again.

        ``name``: of the file or folder, instead of that in the ticket. ``progress(phase, done,
        total)`` is told the newest state now and then, in the event loop: ``checking``, ``moving``
        or ``done``, and bytes. Raises ``STTContentError``.
        """
        part, swarm = self._dht._part(), await self._dht._swarm()
        native, text, place = part.node._running(), str(ticket), os.fspath(directory)
        Path(place).mkdir(parents=True, exist_ok=True)
        state = None if progress is None else _native.Progress()
        telling = None
        if state is not None and progress is not None:
            telling = asyncio.get_running_loop().create_task(_tell(state, progress))
        try:
            done = await call(
                lambda loop: _native.fetch_ticket(
                    loop, native, text, place, name, state, swarm, timeout
                )
            )
        except BaseException:
            if telling is not None:
                telling.cancel()
            raise
        if telling is not None:
            await telling
        return FetchedContent(**{**done, "path": Path(done["path"])})

    # --- news ---

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


async def _tell(state: _native.Progress, progress: Callable[[str, int, int], Any]) -> None:
    while (step := await call(state.next)) is not None:
        progress(*step)


def _content_id(value: Buffer) -> bytes:
    found = bytes(value)
    if len(found) != 32:
        raise ValueError(f"a content id has 32 bytes, this has {len(found)}")
    return found
