"""Waiting for each other, whichever event loop each one runs in.

The locks and events of asyncio serve one loop. An object of this package may be shared by several,
each in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

_Waiter = asyncio.Future[None]


def _settle(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _wake(waiter: _Waiter) -> bool:
    """Lets it go on, in its own loop; False if that loop is over."""
    try:
        waiter.get_loop().call_soon_threadsafe(_settle, waiter)
    except RuntimeError:
        return False
    return True


class Bell:
    """Tells all who wait that something changed."""

    __slots__ = ("_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[_Waiter] = set()

    def ring(self) -> None:
        """Something changed. Everybody who waits looks again."""
        with self._lock:
            woken, self._waiting = self._waiting, set()
        for waiter in woken:
            _wake(waiter)

    async def wait_until(self, true: Callable[[], bool]) -> None:
        """Waits until a condition holds. A change that may make it hold has to :meth:`ring`."""
        while not true():
            waiter = asyncio.get_running_loop().create_future()
            with self._lock:
                self._waiting.add(waiter)
            try:
                # It may have changed before this waited.
                if not true():
                    await waiter
            finally:
                with self._lock:
                    self._waiting.discard(waiter)


class Turn:
    """One after another, in the order of asking: ``async with turn``."""

    __slots__ = ("_lock", "_queue", "_taken")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._queue: deque[_Waiter] = deque()

    async def __aenter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            waiter = asyncio.get_running_loop().create_future()
            self._queue.append(waiter)
        try:
            await waiter
        except BaseException:
            with self._lock:
                waits = waiter in self._queue
                if waits:
                    self._queue.remove(waiter)
            if not waits:
                # The turn was given to it at that moment.
                self._pass_on()
            raise

    async def __aexit__(self, *_error: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._taken = False
                    return
                waiter = self._queue.popleft()
            if _wake(waiter):
                return


def cancel(task: asyncio.Future[Any]) -> None:
    """Cancels a task of any loop."""
    loop = task.get_loop()
    if loop is asyncio.get_running_loop():
        task.cancel()
        return
    try:
        loop.call_soon_threadsafe(task.cancel)
    except RuntimeError:
        pass  # That loop is over, and the task with it.


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels tasks and waits for their end. Those of another loop end beside this one."""
    tasks = list(tasks)
    for task in tasks:
        cancel(task)
    here = asyncio.get_running_loop()
    own = (task for task in tasks if task.get_loop() is here)
    await asyncio.gather(*own, return_exceptions=True)
