"""One secret for nodes, encoders and storages."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Union

from . import _seeds

if TYPE_CHECKING:
    # That package imports this one.
    from stc import HashValue, Metadata, STCContext

__all__ = ["STCWrapper"]

Buffer = Union[bytes, bytearray, memoryview]


class STCWrapper:
    """A seed, and the :class:`stc.STCContext` made of it at the first use.

    Making a context takes some tenths of a second, so the constructor does not do it; coroutines of
    this package do it beside the event loop, and ``await wrapper.ready()`` does it when you like.

    ``seed``: text or bytes. One shorter than 32 bytes is accepted with a ``UserWarning``, with
    ``strict_seed=True`` it is refused with ``STTSeedError``. ``lattice_size`` and ``depth``: see
    :class:`stc.STCContext`.
    """

    __slots__ = ("__weakref__", "_context", "_lock", "_settings")

    def __init__(
        self,
        seed: str | Buffer,
        *,
        lattice_size: int = 128,
        depth: int = 6,
        strict_seed: bool = False,
    ) -> None:
        _seeds.check(seed, strict=strict_seed)
        self._begin(seed, lattice_size, depth)

    def _begin(self, seed: str | Buffer, lattice_size: int, depth: int) -> None:
        kept = seed if isinstance(seed, str) else bytes(seed)
        self._settings: tuple[str | bytes, int, int] | None = (kept, lattice_size, depth)
        self._context: STCContext | None = None
        self._lock = threading.Lock()

    @classmethod
    def _checked(cls, seed: str | Buffer) -> STCWrapper:
        """From a seed that was looked at before."""
        self = cls.__new__(cls)
        self._begin(seed, 128, 6)
        return self

    @property
    def context(self) -> STCContext:
        """The context. The first use stretches the seed in the calling thread."""
        with self._lock:
            if self._context is None:
                from stc import STCContext

                assert self._settings is not None
                seed, lattice_size, depth = self._settings
                self._context = STCContext._checked(seed, lattice_size, depth)
                # The seed is not needed any more.
                self._settings = None
            return self._context

    async def ready(self) -> STCContext:
        """The context, made beside the event loop if it is not there yet."""
        if self._context is not None:
            return self._context
        return await asyncio.to_thread(lambda: self.context)

    def encrypt(self, data: str | Buffer, **options: Any) -> tuple[bytes, Metadata]:
        """As :meth:`stc.STCContext.encrypt`."""
        return self.context.encrypt(data, **options)

    def decrypt(self, encrypted: Buffer, metadata: Metadata | Buffer, **options: Any) -> Any:
        """As :meth:`stc.STCContext.decrypt`."""
        return self.context.decrypt(encrypted, metadata, **options)

    def hash(self, data: str | Buffer, context_data: Any = None) -> HashValue:
        """As :meth:`stc.STCContext.hash`."""
        return self.context.hash(data, context_data)

    def derive_key(self, purpose: str, context_data: Any = None) -> bytes:
        """32 bytes for a purpose, the same every time."""
        return self.context.derive_key(purpose, context_data)

    def generate_node_id(self, identity: str | Buffer) -> bytes:
        """32 bytes that nobody without the seed can foresee, others at every call."""
        return bytes(self.context.hash(identity, {"drawn": os.urandom(16)}))

    def __reduce__(self) -> Any:
        raise TypeError("this holds a secret and is not pickled")

    def __repr__(self) -> str:
        return f"<STCWrapper {'not used yet' if self._context is None else 'in use'}>"
