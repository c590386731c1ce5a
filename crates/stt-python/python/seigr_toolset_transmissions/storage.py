"""Encrypted storage addressed by hash."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Union

from . import _bridge, _native
from .crypto import STCWrapper

__all__ = ["BinaryStorage", "Chamber"]

Buffer = Union[bytes, bytearray, memoryview]
Path = Union[str, "os.PathLike[str]"]

_PURPOSE = "stt chamber"


def _address(value: Buffer) -> bytes:
    data = bytes(value)
    if len(data) != 32:
        raise ValueError(f"an address has 32 bytes, this has {len(data)}")
    return data


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
        self._turn = asyncio.Lock()

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

    async def _store(self) -> _native.Store:
        opened = self._native
        if opened is None:
            async with self._turn:
                opened = self._native
                if opened is None:
                    opened = self._native = await self._opening()
        return opened

    async def put(self, *arguments: Any, name: str | None = None) -> bytes:
        """``put(data)`` stores bytes and gives their address, 32 bytes; ``put(name, data)`` also
        gives them a name, in place of what had it. They stay until they are removed."""
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
        return bytes(await _call(lambda native: store.put(native, data, name)))

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
        store = await self._store()
        contents: list[bytes] = await _call(store.contents)
        return contents

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
