"""Byte streams cut into sealed segments, for carriers that may reorder, repeat or lose them."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Union

from . import _native
from ._across import Bell, Turn
from .crypto import STCWrapper

__all__ = ["BinaryStreamDecoder", "BinaryStreamEncoder", "StreamDecoder", "StreamEncoder"]

Buffer = Union[bytes, bytearray, memoryview]
#: What seals: a wrapper, or 32 bytes that both sides have.
Secret = Union[STCWrapper, bytes]

_PURPOSE = "stt stream segments"


def _session(session_id: Buffer) -> bytes:
    """8 bytes as they are; an id of another length by its hash."""
    data = bytes(session_id)
    return data if len(data) == 8 else hashlib.sha256(b"stt session id" + data).digest()[:8]


def _check(secret: Secret) -> Secret:
    if isinstance(secret, STCWrapper) or (isinstance(secret, bytes) and len(secret) == 32):
        return secret
    raise TypeError("the secret is an STCWrapper, or a key of 32 bytes")


def _root(secret: Secret) -> bytes:
    return secret.derive_key(_PURPOSE) if isinstance(secret, STCWrapper) else secret


class StreamEncoder:
    """Seals a stream of bytes as segments.

    ``stc``: an :class:`STCWrapper`, or a key of 32 bytes. ``session_id``: bytes, and ``stream_id``,
    0 to 2**32-1: what the segments are bound to; the decoder needs the same three. ``mode``:
    ``'live'``, where what is given becomes segments at once, or ``'bounded'`` with the stream's
    ``length`` in bytes. ``segment_size``: 16 to 1,048,576 bytes. ``role``: ``'initiator'`` or
    ``'responder'`` on both sides, so that segments cannot be sent back.

    With ``flow_control=True`` it runs at most ``window`` segments ahead of the decoder's credit:
    ``encoder.grant(decoder.credit)``; ``send`` waits for it. Raises ``STTCryptoError``.
    """

    def __init__(
        self,
        stc: Secret,
        session_id: Buffer,
        stream_id: int,
        mode: str = "live",
        *,
        length: int | None = None,
        segment_size: int = 65_536,
        window: int = 64,
        role: str | None = None,
        flow_control: bool = False,
    ) -> None:
        if mode not in ("live", "bounded"):
            raise ValueError("mode is 'live' or 'bounded'")
        if (mode == "bounded") != (length is not None):
            raise ValueError("mode 'bounded' needs a length, and mode 'live' has none")
        self._secret: Secret | None = _check(stc)
        self._settings = (
            _session(session_id),
            stream_id,
            length,
            segment_size,
            window,
            role,
            flow_control,
        )
        self._native: _native.Encoder | None = None
        #: Segments that were made and not given yet.
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._turn = Turn()
        self._granted = Bell()
        #: Another number after each change of credit.
        self._grants, self._numbers = 0, itertools.count(1)

    async def _ready(self) -> _native.Encoder:
        if self._native is None:
            assert self._secret is not None
            if isinstance(self._secret, STCWrapper):
                await self._secret.ready()
            if self._native is None:
                root = _root(self._secret)
                self._native = _native.Encoder(root, *self._settings)
                self._secret = None
        return self._native

    async def send(self, data: Buffer) -> AsyncIterator[tuple[int, bytes]]:
        """Takes bytes and gives segments: numbers from 0, and what goes over the carrier.

        One ``send`` after the other: a second one waits until the first is through.
        """
        async with self._turn:
            native = await self._ready()
            async for one in self._through(lambda: native.send(data), native.ready):
                yield one

    async def finish(self) -> AsyncIterator[tuple[int, bytes]]:
        """Ends the stream; the last segment says so."""
        async with self._turn:
            native = await self._ready()
            async for one in self._through(native.finish, native.finish):
                yield one

    async def _through(
        self,
        first: Callable[[], tuple[list[tuple[int, bytes]], bool]],
        more: Callable[[], tuple[list[tuple[int, bytes]], bool]],
    ) -> AsyncIterator[tuple[int, bytes]]:
        seen = self._grants
        segments, blocked = first()
        while True:
            self._unsent.extend(segments)
            # A loop that was left early gets the rest at the next call: the decoder waits for them.
            while (one := self._next_unsent()) is not None:
                yield one
            if not blocked:
                return
            await self._granted.wait_until(lambda: self._grants != seen)
            seen = self._grants
            segments, blocked = more()

    def _next_unsent(self) -> tuple[int, bytes] | None:
        try:
            return self._unsent.popleft()
        except IndexError:
            return None

    def grant(self, credit: tuple[int, int]) -> None:
        """Takes the decoder's ``credit``. An old one does no harm."""
        if self._native is not None:
            self._native.grant(*credit)
            self._changed()

    def reset(self) -> None:
        """Begins anew: numbers start at 0 under another key; the decoder notices by itself."""
        if self._native is not None:
            self._native.reset()
            self._unsent.clear()
            self._changed()

    def _changed(self) -> None:
        self._grants = next(self._numbers)
        self._granted.ring()

    @property
    def is_finished(self) -> bool:
        """Whether the last segment was made."""
        return self._native is not None and self._native.is_finished

    def get_stats(self) -> dict[str, int]:
        """``segments``, ``bytes``, ``waiting`` (bytes without credit) and ``resets``."""
        if self._native is None:
            return {"segments": 0, "bytes": 0, "waiting": 0, "resets": 0}
        return self._native.stats()


class StreamDecoder:
    """Opens segments in any order and gives their bytes in order.

    Arguments as for :class:`StreamEncoder`. It holds at most ``window`` segments. A segment that is
    forged, too far ahead or from before a reset raises ``STTCryptoError`` and changes nothing.
    """

    def __init__(
        self,
        stc: Secret,
        session_id: Buffer,
        stream_id: int,
        *,
        segment_size: int = 65_536,
        window: int = 64,
        role: str | None = None,
    ) -> None:
        self._secret: Secret | None = _check(stc)
        self._settings = (_session(session_id), stream_id, segment_size, window, role)
        self._made: _native.Decoder | None = None
        self._making = threading.Lock()
        self._arrived = Bell()
        #: Another number after each arrival.
        self._arrivals, self._numbers = 0, itertools.count(1)

    @property
    def _native(self) -> _native.Decoder:
        if self._made is None:
            with self._making:
                if self._made is None:
                    assert self._secret is not None
                    self._made = _native.Decoder(_root(self._secret), *self._settings)
                    self._secret = None
        return self._made

    async def ready(self) -> None:
        """Makes the key beside the event loop; the first segment would make it in the loop."""
        if isinstance(secret := self._secret, STCWrapper):
            await secret.ready()

    def receive_segment(self, segment: Buffer | int, sequence: int | Buffer | None = None) -> str:
        """Takes a segment; gives ``'new'``, ``'duplicate'`` or ``'reset'``.

        The number stands in the segment. Given beside it, before or after, it has to be the same,
        or ``ValueError`` is raised.
        """
        if isinstance(segment, int):
            segment, sequence = sequence, segment  # type: ignore[assignment]
        if segment is None or isinstance(segment, int) or isinstance(sequence, (bytes, bytearray)):
            raise TypeError("receive_segment takes a segment, and its number or none")
        if sequence is not None and int.from_bytes(bytes(segment[8:16]), "big") != sequence:
            raise ValueError(f"this segment has not the number {sequence}")
        received = self._native.receive_segment(segment)
        self._changed()
        return received

    def _changed(self) -> None:
        self._arrivals = next(self._numbers)
        self._arrived.ring()

    async def receive_all(self) -> bytes:
        """All bytes that are in order and were not taken yet; ``b""`` when there are none."""
        return self._native.receive_all()

    async def receive(self) -> bytes:
        """The next bytes, as soon as there are some; ``b""`` after the end."""
        while True:
            seen = self._arrivals
            data = self._native.next_bytes()
            if data or (data is None and self._native.is_finished):
                return data or b""
            if data is None:
                await self._arrived.wait_until(lambda: self._arrivals != seen)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._each()

    async def _each(self) -> AsyncIterator[bytes]:
        while data := await self.receive():
            yield data

    def skip_missing(self) -> int:
        """Gives up what is missing before the first segment that is there; how many that were."""
        skipped = self._native.skip_missing()
        self._changed()
        return skipped

    @property
    def credit(self) -> tuple[int, int]:
        """What the encoder's ``grant`` takes."""
        return self._native.credit()

    @property
    def is_finished(self) -> bool:
        """Whether the end was reached and everything before it taken."""
        return self._made is not None and self._made.is_finished

    def get_stats(self) -> dict[str, int]:
        """Segments and bytes that were right; duplicates, those out of order, refused, skipped,
        resets, and what is held now."""
        return self._native.stats()


BinaryStreamEncoder = StreamEncoder
BinaryStreamDecoder = StreamDecoder
