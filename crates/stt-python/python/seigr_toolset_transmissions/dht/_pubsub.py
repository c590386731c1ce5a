"""Messages to all who subscribe."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import _across, _native
from ..errors import STTException, STTSwarmError, STTFrameTooLargeError
from ..events import STTEvents
from ..session import Buffer
from ._joined import call
from ._kademlia import DHTNode, KademliaDHT

__all__ = ["Message", "PubSubManager", "Subscription"]

_log = logging.getLogger("stt.dht")

#: Longest message that travels as it is. Longer ones travel as content, by their hash.
_MAX_SMALL = 60_000
#: Longest message, and seconds that fetching one may take.
_MAX_LARGE, _FETCH_WITHIN = 16 << 20, 60.0

Handler = Callable[[str, bytes, DHTNode], Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a topic."""

    #: The topic.
    topic: str
    #: What was published.
    data: bytes
    #: Who published it, proved by a signature.
    publisher: DHTNode
    #: Which of the publisher's messages it is: later ones are greater, also over restarts.
    sequence: tuple[int, int]


class Subscription:
    """The messages of a topic: ``async for message in subscription``. Waiting can be given up.

    Who is slow loses messages beyond 4 MiB that wait, which ``missed`` counts. It ends with
    :meth:`close`, with the swarm, and when nothing refers to it any more.
    """

    def __init__(self, dht: KademliaDHT, topic: str, native: _native.Subscription) -> None:
        self._dht, self._native = dht, native
        #: The topic.
        self.topic = topic
        #: Messages that were lost, because this was slow or because they could not be fetched.
        self.missed = 0
        self._waiting: deque[Any] = deque()
        self._completing: asyncio.Task[tuple[bytes | None, DHTNode]] | None = None
        self._turn = _across.Turn()
        self._topics: Any = dht._part().topics
        self._topics[topic] += 1

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        async with self._turn:
            message = await self._next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive_many(self, most: int = 100) -> list[Message]:
        """The next message and those that are there behind it, up to ``most``; empty once it ended.
        Given up, it has taken none."""
        if most < 1:
            raise ValueError(f"most is {most}; it is 1 or more")
        async with self._turn:
            message, found = await self._next(), list[Message]()
            while message is not None:
                found.append(message)
                message = self._ready() if len(found) < most else None
        return found

    def _ready(self) -> Message | None:
        """The first that waits, if nothing is missing of it."""
        if not self._waiting or self._completing is not None:
            return None
        first = self._waiting[0]
        if isinstance(first, int):
            return None
        data, publisher, sequence, large = first
        member = self._dht._known.get(publisher)
        if large or member is None:
            return None
        self._waiting.popleft()
        return Message(self.topic, data, member, sequence)

    async def _next(self) -> Message | None:
        while True:
            while not self._waiting:
                self._waiting.extend(came := await call(self._native.next))
                if not came:
                    return None
            if (ready := self._ready()) is not None:
                return ready
            first = self._waiting[0]
            if isinstance(first, int):
                _log.warning("%d messages on %r were lost: too slow", first, self.topic)
                self.missed += first
                self._waiting.popleft()
                continue
            data, publisher, sequence, large = first
            begun, loop = self._completing, asyncio.get_running_loop()
            if begun is not None and begun.get_loop() is not loop:
                # Another loop waited for it and gave up.
                _across.cancel(begun)
                begun = None
            if begun is None:
                begun = loop.create_task(self._complete(data, publisher, large))
                self._completing = begun
            # Giving up waiting neither takes it out nor begins it anew.
            whole, member = await asyncio.shield(begun)
            self._completing = None
            self._waiting.popleft()
            if whole is None:
                self.missed += 1
                continue
            return Message(self.topic, whole, member, sequence)

    async def _complete(
        self, data: bytes, publisher: bytes, large: bool
    ) -> tuple[bytes | None, DHTNode]:
        member = await self._dht._member(publisher)
        return (await self._fetch(data, publisher) if large else data), member

    async def _fetch(self, reference: bytes, publisher: bytes) -> bytes | None:
        """The message that travels as content; None, and an event, if it does not arrive."""
        try:
            joined = self._dht._part()
            if len(reference) != 32:
                raise STTSwarmError("it is no hash of a content", code="swarm.too_large")
            async with asyncio.timeout(_FETCH_WITHIN):
                if publisher != joined.node.node_id:
                    await self._dht.connect(publisher)
                content = await joined.content()
                found: bytes = await call(
                    lambda loop: content.retrieve(loop, reference, 3, _MAX_LARGE, [], None, 0.0)
                )
                return found
        except (STTException, TimeoutError) as error:
            _log.warning("a message on %r did not arrive: %s", self.topic, error)
            code = getattr(error, "code", "") or "swarm.timeout"
            events = self._dht.node.events
            await events.emit(STTEvents.ERROR, error_type=code, details=str(error))
            return None

    def close(self) -> None:
        """Ends it, also for who waits. A second time does nothing."""
        self._native.close()
        topics, self._topics = self._topics, None
        if topics is not None:
            topics[self.topic] -= 1

    def __del__(self) -> None:
        if getattr(self, "_topics", None) is not None and not _native.is_forked():
            self.close()


class PubSubManager:
    """Publishes messages on topics, and subscribes to them.

    Messages reach those who subscribe at the time: there is no history, and no order beyond each
    message's ``sequence``. ``dht``: a :class:`KademliaDHT`, started before the first call.
    """

    def __init__(self, dht: KademliaDHT) -> None:
        self._dht = dht
        self._handlers: dict[str, list[tuple[Handler, Subscription, asyncio.Task[None]]]] = {}
        self._published = self._received = 0

    async def publish(
        self,
        topic: str,
        data: Buffer,
        *,
        ready_timeout: float = 5.0,
        require_subscribers: bool = False,
    ) -> int:
        """Publishes up to 16 MiB on a topic, a name of at most 240 bytes. Gives how many
        subscribers it went to: those of this process, and linked members that subscribe.

        With nobody it waits ``ready_timeout`` seconds for the first subscriber, then gives 0, or
        with ``require_subscribers`` raises ``STTSwarmError`` ``swarm.no_subscribers``. Messages of
        more than 60,000 bytes travel as content that each subscriber fetches and verifies; this
        node keeps the last 64 of them, of 64 MiB together. Longer than 16 MiB is
        ``STTFrameTooLargeError``, a ValueError.
        """
        part, swarm = self._dht._part(), await self._dht._swarm()
        message = bytes(data)
        if len(message) > _MAX_LARGE:
            raise STTFrameTooLargeError(
                f"a message of {len(message)} bytes is too long: {_MAX_LARGE} at most",
                code="swarm.too_large",
                hint="publish it as content, and send its id",
            )
        if large := len(message) > _MAX_SMALL:
            message = await part.publish_large(message)
        own = part.topics[topic]
        try:
            members = await call(
                lambda loop: swarm.publish(loop, topic, message, ready_timeout, large)
            )
        except STTSwarmError as error:
            if error.code != "swarm.no_subscribers" or require_subscribers:
                raise
            return 0
        self._published += 1
        return own + int(members)

    async def publish_many(
        self,
        topic: str,
        messages: Iterable[Buffer],
        *,
        ready_timeout: float = 5.0,
        require_subscribers: bool = False,
    ) -> list[int]:
        """Publishes messages in order, which costs less than one call for each; gives for each what
        :meth:`publish` does. With nobody it waits once; for subscribers that are slow up to 5
        seconds a message. Those before one that raises went out; once begun, all go out, also when
        nobody waits any more."""
        copies = [bytes(message) for message in messages]
        if any(len(message) > _MAX_SMALL for message in copies):
            return [
                await self.publish(
                    topic,
                    one,
                    ready_timeout=ready_timeout,
                    require_subscribers=require_subscribers,
                )
                for one in copies
            ]
        part, swarm = self._dht._part(), await self._dht._swarm()
        own = part.topics[topic]
        members: list[int | None] = await call(
            lambda loop: swarm.publish_many(
                loop, topic, copies, ready_timeout, require_subscribers
            )
        )
        counts = [0 if number is None else own + number for number in members]
        self._published += sum(number is not None for number in members)
        return counts

    async def subscribe(self, topic: str, handler: Handler | None = None) -> Subscription:
        """Subscribes to a topic: of at most 50, and 256 subscribers of each.

        With a ``handler``, plain or a coroutine function, ``handler(topic, data, publisher)`` is
        called in the event loop for each message, one after another; an exception in it is logged
        to ``stt.dht``. Without one, iterate over what this gives.
        """
        swarm = await self._dht._swarm()
        native = await call(lambda loop: swarm.subscribe(loop, topic))
        subscription = Subscription(self._dht, topic, native)
        if handler is not None:
            handling = self._handle(subscription, handler)
            task = asyncio.get_running_loop().create_task(handling)
            self._handlers.setdefault(topic, []).append((handler, subscription, task))
        return subscription

    async def _handle(self, subscription: Subscription, handler: Handler) -> None:
        async for message in subscription:
            self._received += 1
            try:
                result = handler(message.topic, message.data, message.publisher)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                _log.exception("a handler of the topic %r failed: %r", message.topic, handler)

    async def unsubscribe(self, topic: str, handler: Handler | None = None) -> bool:
        """Ends the subscriptions of this handler, or of all handlers, to a topic; whether there
        were any. Subscriptions without a handler are closed by themselves."""
        all_of_it = self._handlers.pop(topic, [])
        ended = [one for one in all_of_it if handler is None or one[0] == handler]
        kept = [one for one in all_of_it if one not in ended]
        if kept:
            self._handlers[topic] = kept
        for _, subscription, task in ended:
            subscription.close()
            # A handler may unsubscribe itself: it goes on to its end.
            if task is not asyncio.current_task():
                _across.cancel(task)
        return bool(ended)

    def get_stats(self) -> dict[str, int]:
        """``topics`` and ``total_subscribers`` of this node, ``published`` messages of this
        manager, and ``received`` ones that its handlers got."""
        counts = [count for count in self._dht._part().topics.values() if count > 0]
        return {
            "topics": len(counts),
            "total_subscribers": sum(counts),
            "published": self._published,
            "received": self._received,
        }
