"""Microseconds of an awaited call over our bridge and over pyo3-async-runtimes.

    benches/python/bridge/run [--rounds 7] [--calls 5000]

The sides run in turns; medians and quartiles of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import bridges
from seigr_toolset_transmissions._bridge import Here


def ours(call: Callable[[Any], Any]) -> Callable[[], Awaitable[int]]:
    """As the package calls its engine."""
    here = Here.__new__(Here)
    here.native, here.waiting = bridges.Reactor(), {}
    asyncio.get_running_loop().add_reader(here.native.fileno(), here._woken)

    async def one() -> int:
        answer = call(here.native)
        return await here.wait(answer) if type(answer) is bridges.Op else answer

    return one


def theirs(call: Callable[[], Any]) -> Callable[[], Awaitable[int]]:
    """A coroutine function around what is a Future, as an application sees it."""

    async def one() -> int:
        return await call()

    return one


async def single(one: Callable[[], Awaitable[int]], calls: int) -> float:
    """One after another."""
    begun = time.perf_counter()
    for _number in range(calls):
        await one()
    return (time.perf_counter() - begun) / calls


async def gathered(one: Callable[[], Awaitable[int]], calls: int) -> float:
    """A hundred at once."""
    begun = time.perf_counter()
    for _number in range(calls // 100):
        await asyncio.gather(*(one() for _ in range(100)))
    return (time.perf_counter() - begun) / calls


async def main(rounds: int, calls: int) -> None:
    """All kinds, in turns."""
    sides = {
        "ours, ready": ours(bridges.ours_ready),
        "pyo3-async-runtimes, ready": theirs(bridges.theirs_ready),
        "ours, by a task": ours(bridges.ours_elsewhere),
        "pyo3-async-runtimes, by a task": theirs(bridges.theirs_elsewhere),
    }
    for way in (single, gathered):
        took: dict[str, list[float]] = {name: [] for name in sides}
        for _round in range(rounds):
            for name, one in sides.items():
                took[name].append(1e6 * await way(one, calls))
        print(f"{way.__doc__} us a call:")
        for name, times in took.items():
            low, middle, high = statistics.quantiles(times, n=4)
            print(f"  {name:32} {middle:7.1f} [{low:.1f} to {high:.1f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=5000)
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.calls))
