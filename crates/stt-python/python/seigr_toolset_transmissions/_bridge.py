"""Awaiting the engine.

A native call gives its answer if that is ready, or an ``Op``; :func:`wait` waits for it. The
engine's threads never touch Python: they make a socket readable that the event loop watches.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from . import _native

Op = _native.Op

#: Stands among the numbers of operations for what the engine logged.
_LOGGED = 0

os.register_at_fork(after_in_child=_native.after_fork)


class Here:
    """What one event loop has of the engine."""

    __slots__ = ("__weakref__", "native", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.native = _native.Reactor()
        #: What goes on with each operation, by its number.
        self.waiting: dict[int, asyncio.Future[None] | Callable[[], None]] = {}
        loop.add_reader(self.native.fileno(), self._woken)

    def _woken(self) -> None:
        for number in self.native.drain():
            waiter = self.waiting.pop(number, None)
            if waiter is None:
                if number == _LOGGED:
                    _hand_on_logs()
                continue
            if not isinstance(waiter, asyncio.Future):
                waiter()
            elif not waiter.done():
                waiter.set_result(None)

    async def wait(self, op: Op) -> Any:
        """What comes of an operation. Giving up waiting gives up the operation."""
        number, waiting = op.id, self.waiting
        loop = asyncio.get_running_loop()
        answer: Any = op
        try:
            while answer is op:
                waiter = waiting[number] = loop.create_future()
                await waiter
                answer = op.poll()
            return answer
        finally:
            if answer is op:
                waiting.pop(number, None)
                op.cancel()

    def call(self, op: Op, then: Callable[[], None]) -> None:
        """Calls ``then`` once the operation can go on."""
        self.waiting[op.id] = then


def _hand_on_logs() -> None:
    records, dropped = _native.take_logs()
    for level, target, text in records:
        logging.getLogger("stt." + target.replace("::", ".")).log(level, "%s", text)
    if dropped:
        logging.getLogger("stt").warning("%d log records were dropped", dropped)


_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Here] = weakref.WeakKeyDictionary()


class _Last(threading.local):
    loop: Any = None
    here: Any = None


_last = _Last()


def here() -> Here:
    """What the running event loop has of the engine; made at the first call."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # A fork has not even its loop.
        _native.check_not_forked()
        raise
    cached = _last.loop
    if cached is not None and cached() is loop:
        found: Here = _last.here()
        return found
    made = _all.get(loop)
    if made is None:
        made = _all[loop] = Here(loop)
    _last.loop, _last.here = weakref.ref(loop), weakref.ref(made)
    return made
