"""Frames of protocols of one's own: a type from 0x80 to 0xff, and bytes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .errors import STTSettingError
from .session import Buffer

__all__ = ["FrameDispatcher"]


class FrameDispatcher:
    """Calls the handler of a frame's type.

    Types 0x80 to 0xff are the application's; a type has one handler, a coroutine function or a
    plain one, which gets the frame's bytes. :meth:`dispatch` waits for it, so a slow handler slows
    the carrier down instead of filling memory.
    """

    #: Smallest and largest type of an application.
    FIRST, LAST = 0x80, 0xFF

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[bytes], Any]] = {}
        self._handled = 0
        self._unknown = 0

    def register_handler(self, frame_type: int, handler: Callable[[bytes], Any]) -> None:
        """Registers the handler of a type.

        Raises ``STTSettingError`` (a ValueError) below 0x80, above 0xff, or when there is one
        already.
        """
        _check(frame_type)
        if not callable(handler):
            raise TypeError(f"a handler is a function, not {type(handler).__name__}")
        if frame_type in self._handlers:
            raise STTSettingError(
                f"frame type {frame_type:#04x} has a handler already",
                code="dispatch.taken",
                hint="unregister the old handler first",
            )
        self._handlers[frame_type] = handler

    def unregister_handler(self, frame_type: int) -> bool:
        """Removes the handler of a type; whether there was one."""
        return self._handlers.pop(frame_type, None) is not None

    def registered(self) -> list[int]:
        """The types that have a handler, in order."""
        return sorted(self._handlers)

    async def dispatch(self, frame_type: int, payload: Buffer = b"") -> bool:
        """Calls the handler of a type with the bytes of a frame, and waits for it; whether there is
        one. Frames without a handler are counted and dropped. What the handler raises reaches the
        caller.

        Raises ``STTSettingError`` (a ValueError) for a type that is not an application's.
        """
        _check(frame_type)
        handler = self._handlers.get(frame_type)
        if handler is None:
            self._unknown += 1
            return False
        self._handled += 1
        done = handler(bytes(payload))
        if inspect.isawaitable(done):
            await done
        return True

    async def dispatch_bytes(self, frame: Buffer) -> bool:
        """As :meth:`dispatch`, with a frame as one piece: its type in the first byte."""
        whole = bytes(frame)
        if not whole:
            raise STTSettingError("a frame has no byte, so no type", code="dispatch.empty")
        return await self.dispatch(whole[0], whole[1:])

    def get_stats(self) -> dict[str, int]:
        """``handled`` and ``unknown``: frames with and without a handler."""
        return {"handled": self._handled, "unknown": self._unknown}


def _check(frame_type: int) -> None:
    if not FrameDispatcher.FIRST <= frame_type <= FrameDispatcher.LAST:
        raise STTSettingError(
            f"frame type {frame_type:#04x} is not an application's",
            code="dispatch.reserved",
            hint="choose a type from 0x80 to 0xff",
        )
