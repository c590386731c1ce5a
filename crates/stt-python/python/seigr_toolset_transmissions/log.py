"""Durable logs: records in order, encrypted, in a directory; and consumers that acknowledge them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import _native
from ._bridge import Op, here
from .crypto import STCWrapper

__all__ = ["Consumer", "ConsumerInfo", "DeadLetter", "Delivered", "DurableLog", "Position", "Record"]

Buffer = bytes | bytearray | memoryview

_PURPOSE = "stt durable log"


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a record. It stays good over restarts; after an older copy of the directory was
    put back it is refused, ``log.epoch_changed``, instead of skipping what is now in its place."""

    #: In which opening of the log, a random number.
    epoch: int = 0
    #: Records before this one, those included that retention removed.
    offset: int = 0

    def _parts(self) -> tuple[int, int]:
        return self.epoch, self.offset


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a log."""

    #: Where it stands.
    position: Position
    #: When it was appended, in milliseconds since 1970 by the clock of the machine.
    time: int
    #: What was appended.
    data: bytes

    @classmethod
    def _of(cls, parts: tuple[int, int, int, bytes]) -> Record:
        epoch, offset, time, data = parts
        return cls(Position(epoch, offset), time, data)

    @property
    def next(self) -> Position:
        """From where the next record is read."""
        return Position(self.position.epoch, self.position.offset + 1)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was delivered too often, or that a handler rejected."""

    #: Name of the consumer.
    consumer: str
    #: Where the record stood in the log.
    position: Position
    #: When it was appended, in milliseconds since 1970.
    time: int
    #: How often it was delivered.
    deliveries: int
    #: What was wrong the last time, at most 1,024 bytes of UTF-8.
    reason: str
    #: The record.
    data: bytes

    @classmethod
    def from_record(cls, record: Record) -> DeadLetter:
        """Reads a record of :meth:`DurableLog.dead_letters`. Raises ``STTStorageError`` when it is
        none."""
        consumer, at, time, deliveries, reason, data = _native.dead_letter(
            record.position._parts(), record.time, record.data
        )
        return cls(consumer, Position(*at), time, deliveries, reason, data)


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer of a log, open or not."""

    #: Its name.
    name: str
    #: The position behind the last record that was delivered.
    next: Position
    #: Records before it that are not settled.
    unsettled: int
    #: Whether this process has it open.
    is_open: bool


class Delivered:
    """One delivery of a record: handle it, then :meth:`ack`. Dropped without a word it is delivered
    again at once."""

    __slots__ = ("__weakref__", "_native", "deliveries", "record")

    def __init__(self, native: _native.Delivery) -> None:
        self._native = native
        #: What was appended.
        self.record: Record = Record._of(native.record())
        #: How often it was delivered, this time included.
        self.deliveries: int = native.deliveries

    @property
    def data(self) -> bytes:
        """The record's bytes."""
        return self.record.data

    async def ack(self) -> None:
        """It is handled, and never comes again; durable when this returns. Raises
        ``STTLeaseEndedError`` when it was given to somebody else meanwhile."""
        await _wait(self._native.ack(here().native))

    def ack_soon(self) -> None:
        """As :meth:`ack`, durable with the next one or with ``Consumer.close``."""
        self._native.ack_soon()

    def retry(self, pause: float = 0.0, reason: str = "") -> None:
        """It could not be handled now: it comes again after ``pause`` seconds, or becomes a dead
        letter with this reason if that was its last delivery."""
        self._native.retry(pause, reason)

    async def reject(self, reason: str) -> None:
        """It can never be handled: it becomes a dead letter. Durable when this returns."""
        await _wait(self._native.reject(here().native, reason))

    def detach(self) -> bytes:
        """16 bytes for a handler elsewhere, which the consumer's ``ack``, ``extend``, ``retry`` and
        ``reject`` take; the lease is not extended by itself any more."""
        return self._native.detach()

    def __repr__(self) -> str:
        return f"<Delivered {self.record.position.offset}, {self.deliveries} times>"


class Consumer:
    """A named reader that remembers on disk what was acknowledged. Several of one name share its
    records, each of which is with one of them at a time."""

    def __init__(self, native: _native.Consumer, name: str) -> None:
        self._native = native
        #: Its name.
        self.name = name

    async def next(self) -> Delivered:
        """The next record; waits until there is one. Giving up takes nothing.

        Raises ``STTLogTrimmedError`` once when retention removed records that were not handled.
        """
        while True:
            for one in await self.next_batch(1):
                return one

    async def next_batch(self, most: int) -> list[Delivered]:
        """Up to ``most`` records that are there, at least one; waits until there is one."""
        given: list[Any] = await _wait(self._native.next_batch(here().native, most))
        return [Delivered(one) for one in given]

    def __aiter__(self) -> AsyncIterator[Delivered]:
        return self

    async def __anext__(self) -> Delivered:
        return await self.next()

    async def ack(self, lease: bytes) -> None:
        """Acknowledges a detached delivery; durable when this returns."""
        await _wait(self._native.ack(here().native, lease))

    def extend(self, lease: bytes) -> None:
        """Gives a detached delivery another ``ack_wait``."""
        self._native.extend(lease)

    def retry(self, lease: bytes, pause: float = 0.0, reason: str = "") -> None:
        """As ``Delivered.retry``, of a detached delivery."""
        self._native.retry(lease, pause, reason)

    async def reject(self, lease: bytes, reason: str) -> None:
        """As ``Delivered.reject``, of a detached delivery."""
        await _wait(self._native.reject(here().native, lease, reason))

    def get_stats(self) -> dict[str, Any]:
        """``settled_to`` and ``next`` (offsets), ``lag``, ``unsettled``, ``delivered``,
        ``redelivered``, ``acknowledged``, ``expired``, ``dead``, ``trimmed``."""
        stats: dict[str, Any] = self._native.stats()
        stats["next"] = Position(*stats["next"])
        return stats

    async def close(self) -> None:
        """Gives what it holds to the others; all acknowledgements are durable when it returns."""
        await _wait(self._native.close(here().native))

    aclose = close

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Consumer {self.name!r}>"


class DurableLog:
    """Records in order, encrypted, in a directory of its own, without a server.

    ``stc``: an :class:`STCWrapper`, or a key of 32 bytes. ``path``: the directory. One process has
    it open at a time. ``segment_bytes``: after which the next file is begun. ``record_max``: longest
    record in bytes, up to 16 MiB. ``keep_bytes``, ``keep_age`` (seconds): beyond which the oldest
    files are removed; by default everything is kept. Opened by ``async with``, or :meth:`open`.
    """

    def __init__(
        self,
        stc: STCWrapper | bytes,
        path: str | os.PathLike[str],
        *,
        segment_bytes: int = 64 << 20,
        record_max: int = 1 << 20,
        keep_bytes: int | None = None,
        keep_age: float | None = None,
    ) -> None:
        if not isinstance(stc, STCWrapper) and not (isinstance(stc, bytes) and len(stc) == 32):
            raise TypeError("a log's secret is an STCWrapper, or a key of 32 bytes")
        self._stc = stc
        self._settings = (os.fspath(path), segment_bytes, record_max, keep_bytes, keep_age)
        self._native: _native.Log | None = None

    async def open(self) -> DurableLog:
        """Opens it, and makes it if there is none. A second time does nothing.

        Raises ``STTStorageError`` when another process has it open, the secret is another one, or
        acknowledged records cannot be read.
        """
        if self._native is None:
            if isinstance(self._stc, bytes):
                key = self._stc
            else:
                await self._stc.ready()
                key = self._stc.derive_key(_PURPOSE)
            self._native = await _wait(_native.open_log(here().native, key, *self._settings))
        return self

    def _opened(self) -> _native.Log:
        if self._native is None:
            raise RuntimeError("the log is not open: async with DurableLog(...) as log")
        return self._native

    async def append(self, record: Buffer) -> Position:
        """Appends a record; it is synced when this returns. Calls that run at the same time share a
        sync. Giving up waiting does not take it back."""
        return await self.append_all([record])

    async def append_all(self, records: Iterable[Buffer]) -> Position:
        """Appends records in order and next to each other, all or none; gives the position of the
        first one when all are synced."""
        native = self._opened()
        return Position(*await _wait(native.append_all(here().native, list(records))))

    async def read(
        self, start: Position = Position(), max_records: int = 1000, max_bytes: int = 1 << 20
    ) -> list[Record]:
        """Up to ``max_records`` records from ``start`` on, until they have ``max_bytes``; at least
        one, unless there is none.

        Raises ``STTLogTrimmedError`` for what retention removed, ``STTLogError`` with the code
        ``log.epoch_changed`` for a position of another history.
        """
        native = self._opened()
        found = await _wait(
            native.read(here().native, start._parts(), max_records, max_bytes)
        )
        return [Record._of(parts) for parts in found]

    async def wait_for(self, position: Position) -> None:
        """Waits until there is a record at a position."""
        await _wait(self._opened().wait_for(here().native, position._parts()))

    async def follow(self, start: Position = Position()) -> AsyncIterator[Record]:
        """Every record from ``start`` on, also those that are appended later: endless."""
        while True:
            for record in await self.read(start):
                yield record
                start = record.next
            await self.wait_for(start)

    # --- consumers ---

    async def consumer(
        self,
        name: str,
        *,
        start: Position | None = None,
        from_end: bool = False,
        ack_wait: float = 30.0,
        handler_max: float | None = None,
        max_deliveries: int | None = 5,
        outstanding: int = 1024,
        outstanding_bytes: int = 8 << 20,
    ) -> Consumer:
        """Opens the consumer of this name, and makes it if there is none: then it begins with the
        oldest record, with ``start``, or with the next one that is appended (``from_end``).

        ``ack_wait``: seconds after which a detached delivery comes again. ``handler_max``: seconds
        for which others are extended by themselves. ``max_deliveries``: after which a record becomes
        a dead letter; None for never. ``outstanding``, ``outstanding_bytes``: of records that are
        read ahead, delivered or waiting; at the bound nothing new is read.
        """
        made = self._opened().consumer(
            here().native,
            name,
            None if start is None else start._parts(),
            from_end,
            ack_wait,
            handler_max,
            max_deliveries,
            outstanding,
            outstanding_bytes,
        )
        return Consumer(await _wait(made), name)

    async def consumers(self) -> list[ConsumerInfo]:
        """All consumers, open or not."""
        found = await _wait(self._opened().consumers(here().native))
        return [ConsumerInfo(name, Position(*at), *rest) for name, at, *rest in found]

    async def reset_consumer(self, name: str, to: Position) -> None:
        """Moves a consumer that is not open, and makes it if there is none of this name."""
        await _wait(self._opened().reset_consumer(here().native, name, to._parts()))

    async def remove_consumer(self, name: str) -> None:
        """Forgets a consumer that is not open."""
        await _wait(self._opened().remove_consumer(here().native, name))

    async def dead_letters(self) -> DurableLog:
        """The log of records that nobody could handle; :class:`DeadLetter` reads them."""
        made = DurableLog.__new__(DurableLog)
        made._stc, made._settings = self._stc, self._settings
        made._native = await _wait(self._opened().dead_letters(here().native))
        return made

    # --- figures, the end ---

    def get_stats(self) -> dict[str, Any]:
        """``start`` and ``end`` (positions of the oldest record and behind the last), ``segments``,
        ``bytes``."""
        stats: dict[str, Any] = self._opened().stats()
        stats["start"], stats["end"] = Position(*stats["start"]), Position(*stats["end"])
        return stats

    async def close(self) -> None:
        """Closes it, once no consumer has it open. A second time does nothing."""
        native, self._native = self._native, None
        if native is not None:
            await _wait(native.close(here().native))

    aclose = close

    async def __aenter__(self) -> DurableLog:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "open" if self._native is not None else "not open"
        return f"<DurableLog {self._settings[0]}, {state}>"


async def _wait(answer: Any) -> Any:
    return await here().wait(answer) if type(answer) is Op else answer
