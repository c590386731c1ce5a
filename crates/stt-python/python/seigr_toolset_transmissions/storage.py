"""Encrypted storage addressed by hash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Union

from . import _bridge, _native
from .crypto import STCWrapper
from .errors import STTStoppedError

__all__ = ["BinaryStorage", "Chamber", "StorageProblem", "StoredContent"]

Buffer = Union[bytes, bytearray, memoryview]
Path = Union[str, "os.PathLike[str]"]

_PURPOSE = "stt chamber"


def _address(value: Buffer) -> bytes:
    data = bytes(value)
    if len(data) != 32:
        raise ValueError(f"an address has 32 bytes, this has {len(data)}")
    return data


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A value in a chamber."""

    #: Its address, 32 bytes.
    address: bytes
    #: Its length in bytes.
    length: int
    #: Bytes it takes, encrypted and padded.
    stored: int
    #: Whether it is pinned.
    pinned: bool
    #: Names that point to it, 64 at most.
    names: list[str]


@dataclass(frozen=True, slots=True)
class StorageProblem:
    """Something in a chamber that is not as it was stored."""

    #: What is wrong.
    text: str
    #: The address of the value, if that is still known.
    address: bytes | None
    #: Names that point to it, 64 at most.
    names: list[str]
    #: What ``Chamber.remove_unreadable`` takes.
    blob: str | None


class Chamber:
    """Values under their BLAKE3 hash or under a name, encrypted. ``STTNode.chamber`` is one.

    ``stc``: an :class:`STCWrapper`, or a key of 32 bytes. ``path``: its directory; without one it
    lives in memory and ends with this object. ``quota``: most bytes that may be stored, encrypted
    and padded. It is opened by the first call. A call that was begun is finished, also when nobody
    waits for it any more. All raise ``STTStorageError``.
    """

    def __init__(
        self, stc: STCWrapper | bytes, path: Path | None = None, *, quota: int | None = None
    ) -> None:
        if not isinstance(stc, STCWrapper) and not (isinstance(stc, bytes) and len(stc) == 32):
            raise TypeError("a chamber's secret is an STCWrapper, or a key of 32 bytes")
        place = None if path is None else os.fspath(path)

        async def key() -> bytes:
            if isinstance(stc, bytes):
                return stc
            await stc.ready()
            return stc.derive_key(_PURPOSE)

        async def opening() -> _native.Store:
            made = await key()
            opened: _native.Store = await _call(
                lambda native: _native.open_store(native, made, place, quota)
            )
            return opened

        self._begin(opening)

    def _begin(self, opening: Callable[[], Awaitable[_native.Store]]) -> None:
        self._opening = opening
        self._native: _native.Store | None = None
        self._gone = False
        # Not asyncio's, which belongs to one loop.
        self._turn = threading.Lock()

    @classmethod
    def _of_node(cls, node: Callable[[], _native.Node]) -> Chamber:
        """The chamber of a node, which knows where it is."""
        self = cls.__new__(cls)

        async def opening() -> _native.Store:
            opened: _native.Store = await _call(
                lambda native: _native.open_chamber(native, node())
            )
            return opened

        self._begin(opening)
        return self

    def _let_go(self) -> None:
        """Of a node that was stopped: closes it as soon as nothing is under way in it."""
        self._gone, self._native = True, None

    async def _store(self) -> _native.Store:
        if self._gone:
            raise STTStoppedError("the node was stopped, and its chamber closed with it")
        opened = self._native
        if opened is None:
            while not self._turn.acquire(blocking=False):
                await asyncio.sleep(0.002)
            try:
                opened = self._native
                if opened is None:
                    opened = await self._opening()
                    # One that was stopped meanwhile is used by this call alone.
                    self._native = None if self._gone else opened
            finally:
                self._turn.release()
        return opened

    async def put(
        self, *arguments: Any, name: str | None = None, cached: bool = False
    ) -> bytes:
        """``put(data)`` stores bytes and gives their address, 32 bytes; ``put(name, data)`` also
        gives them a name, in place of what had it. They stay until they are removed; ``cached``
        ones without a name until the next :meth:`collect`, unless something else keeps them."""
        if len(arguments) == 2 and name is None:
            name, data = arguments
        elif len(arguments) == 1:
            [data] = arguments
        else:
            raise TypeError("put(data), put(name, data) or put(data, name=name)")
        if name is not None and not isinstance(name, str):
            raise TypeError("a name is a str: put(name, data); an address follows from the value")
        if isinstance(data, str):
            raise TypeError("a value is bytes: encode the text")
        store = await self._store()
        return bytes(await _call(lambda native: store.put(native, data, name, cached)))

    async def put_file(
        self, path: Path, *, name: str | None = None, cached: bool = False
    ) -> bytes:
        """Stores a file in constant memory; gives its address."""
        store, place = await self._store(), os.fspath(path)
        return bytes(await _call(lambda native: store.put_file(native, place, name, cached)))

    async def put_pieces(
        self,
        pieces: Iterable[Buffer] | AsyncIterable[Buffer],
        *,
        name: str | None = None,
        cached: bool = False,
    ) -> bytes:
        """Stores what an iterable or an asynchronous one gives, in constant memory; gives the
        address. An exception in it, or giving up, stores nothing."""
        writer = (await self._store()).writer(name, cached)
        try:
            if isinstance(pieces, AsyncIterable):
                async for piece in pieces:
                    await _call(lambda native: writer.feed(native, piece))
            else:
                for piece in pieces:
                    await _call(lambda native: writer.feed(native, piece))
        except BaseException:
            # One that is being fed now is given up when it is dropped.
            with contextlib.suppress(RuntimeError):
                writer.abort()
            raise
        return bytes(await _call(writer.finish))

    async def pieces(self, key: Buffer | str, size: int = 1 << 20) -> AsyncIterator[bytes]:
        """The bytes at an address, or under a name, ``size`` at a time, each verified. What is read
        cannot be removed meanwhile."""
        store = await self._store()
        address = await self.resolve(key) if isinstance(key, str) else _address(key)
        reader: _native.StoreReader = await _call(lambda native: store.reader(native, address))
        for start in range(0, reader.length, size):
            end = min(start + size, reader.length)
            yield await _call(lambda native: reader.read_range(native, start, end))

    async def get(self, key: Buffer | str) -> bytes:
        """The bytes at an address, or under a name, verified. Raises ``STTNotFoundError``, a
        ``KeyError``."""
        store = await self._store()
        if isinstance(key, str):
            return bytes(await _call(lambda native: store.get_named(native, key)))
        address = _address(key)
        return bytes(await _call(lambda native: store.get(native, address)))

    async def get_range(self, key: Buffer, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end`` of the value at an address."""
        store, address = await self._store(), _address(key)
        return bytes(
            await _call(lambda native: store.get_range(native, address, start, end))
        )

    async def resolve(self, name: str) -> bytes:
        """The address under a name."""
        store = await self._store()
        return bytes(await _call(lambda native: store.resolve(native, name)))

    async def exists(self, key: Buffer | str) -> bool:
        """Whether there is a value at an address, or under a name."""
        store = await self._store()
        if isinstance(key, str):
            return key in await self.names()
        address = _address(key)
        return bool(await _call(lambda native: store.contains(native, address)))

    async def remove(self, key: Buffer | str) -> None:
        """Removes a value by its address, or a name and what only it kept."""
        store = await self._store()
        if isinstance(key, str):
            await _call(lambda native: store.remove_name(native, key))
            return
        address = _address(key)
        await _call(lambda native: store.remove(native, address))

    delete = remove

    async def names(self) -> dict[str, bytes]:
        """All names, and their addresses."""
        store = await self._store()
        names: dict[str, bytes] = await _call(store.names)
        return names

    async def contents(self) -> list[bytes]:
        """The addresses of all values."""
        return [one.address for one in await self.contents_info()]

    async def contents_info(self) -> list[StoredContent]:
        """All values."""
        store = await self._store()
        found = await _call(store.contents)
        return [StoredContent(*parts) for parts in found]

    # --- what stays ---

    async def set_name(self, name: str, key: Buffer) -> None:
        """Gives the value at an address this name, too, in place of what had it."""
        store, address = await self._store(), _address(key)
        await _call(lambda native: store.set_name(native, name, address))

    async def pin(self, key: Buffer) -> None:
        """Keeps the value at an address until it is unpinned or removed."""
        store, address = await self._store(), _address(key)
        await _call(lambda native: store.pin(native, address, True))

    async def unpin(self, key: Buffer) -> None:
        """Keeps it no longer, unless a name does: the next :meth:`collect` removes it."""
        store, address = await self._store(), _address(key)
        await _call(lambda native: store.pin(native, address, False))

    @contextlib.asynccontextmanager
    async def protect(self, key: Buffer) -> AsyncIterator[None]:
        """``async with chamber.protect(address)``: no :meth:`collect` removes it meanwhile."""
        store, address = await self._store(), _address(key)
        guard: _native.ContentGuard = await _call(lambda native: store.protect(native, address))
        try:
            yield
        finally:
            guard.close()

    async def collect(self, dry_run: bool = False) -> dict[str, int]:
        """Removes, or with ``dry_run`` only counts, every value that is neither pinned nor named,
        and what crashes left: ``contents``, ``bytes``, ``leftover_files``, ``leftover_bytes``."""
        store = await self._store()
        done: dict[str, int] = await _call(lambda native: store.collect(native, dry_run))
        return done

    async def verify(self) -> dict[str, Any]:
        """Reads and verifies everything: ``contents``, ``damaged``, ``bytes``, ``names``,
        ``problems_found`` and the first of the ``problems``, as :class:`StorageProblem`."""
        store = await self._store()
        report: dict[str, Any] = await _call(store.verify)
        report["problems"] = [StorageProblem(*parts) for parts in report["problems"]]
        return report

    async def remove_unreadable(self, blob: str) -> None:
        """Removes a damaged value by the ``blob`` of its :class:`StorageProblem`."""
        store = await self._store()
        await _call(lambda native: store.remove_unreadable(native, blob))

    async def set_quota(self, quota: int | None) -> None:
        """Most bytes that may be stored from now on, encrypted and padded; None for no bound."""
        (await self._store()).set_quota(quota)

    async def get_stats(self) -> dict[str, int]:
        """``contents``, ``content_bytes``, ``names``, ``stored_bytes``."""
        store = await self._store()
        stats: dict[str, int] = await _call(store.stats)
        return stats

    @property
    def place(self) -> str | None:
        """Where it is, once it was opened."""
        return None if self._native is None else self._native.place

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.place or 'not opened yet'}>"


class BinaryStorage(Chamber):
    """A chamber by the names of the documents: ``store(data)`` gives a hash, ``retrieve(hash)`` the
    bytes. Without a ``path`` it lives in memory."""

    async def store(self, data: Buffer) -> bytes:
        """Stores bytes; gives their address."""
        return await self.put(data)

    async def retrieve(self, address: Buffer) -> bytes:
        """The bytes at an address. Raises ``STTNotFoundError``, a ``KeyError``."""
        return await self.get(_address(address))


async def _call(begin: Callable[[_native.Reactor], Any]) -> Any:
    here = _bridge.here()
    answer = begin(here.native)
    return await here.wait(answer) if isinstance(answer, _bridge.Op) else answer
