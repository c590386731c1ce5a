"""Nodes on this machine, for preludes and tests."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from seigr_toolset_transmissions import STTNode, STTSession

#: 32 bytes; stretched as any phrase is.
SHARED = b"the shared seed of the tests: 32"


def node(name: str = "node", **settings: Any) -> STTNode:
    """A node on this machine, not started."""
    seed = name.encode().ljust(32, b".")
    return STTNode(node_seed=seed, shared_seed=SHARED, host="127.0.0.1", **settings)


@contextlib.asynccontextmanager
async def started(name: str = "server", **settings: Any) -> AsyncIterator[STTNode]:
    """A node that peers can connect to."""
    made = node(name, **settings)
    await made.start(server_mode=True)
    async with made:
        yield made


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[STTNode, STTSession, STTNode, STTSession]]:
    """A server with its session, and a client with its own."""
    async with started() as server, node("client") as client:
        ours = await client.connect_udp(*server.local_address)
        theirs = await server.accept()
        yield server, theirs, client, ours


def directed(to: STTNode) -> type[STTNode]:
    """Nodes of this machine that meet `to`, whomever they call."""

    class Directed(STTNode):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "host": "127.0.0.1"})

        async def connect_udp(
            self, peer_host: str, peer_port: int, **settings: Any
        ) -> STTSession:
            assert peer_port == 8080 and "." in peer_host
            return await super().connect_udp(*to.local_address, **settings)

    return Directed


def at_home(**names: Any) -> type[STTNode]:
    """Nodes that listen on this machine only, at a port that is free; the last one is `.last`."""

    class AtHome(STTNode):
        last: STTNode

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "host": "127.0.0.1", "port": 0})
            AtHome.last = self

    return AtHome


def _is_free(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("0.0.0.0", number))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def port(number: int) -> Iterator[None]:
    """This UDP port for a program that names it. Runs on one machine take turns."""
    path = Path(tempfile.gettempdir()) / f"stt-python-port-{number}.lock"
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A node has its port as long as anything refers to it, and a swarm ends beside its owner.
        gc.collect()
        for _try in range(100):
            if _is_free(number):
                break
            time.sleep(0.02)
        else:
            pytest.skip(f"UDP port {number}, which the program names, is in use here")
        yield


class Relay(asyncio.DatagramProtocol):
    """Carries datagrams between one client and a node, until it falls silent."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.silent = False
        self._to = to
        self._client: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.address: tuple[str, int] = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.silent:
            return
        if addr != self._to:
            self._client = addr
        self._transport.sendto(data, self._client if addr == self._to else self._to)


@contextlib.asynccontextmanager
async def relay(to: tuple[str, int]) -> AsyncIterator[Relay]:
    """A relay on this machine."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Relay(to), local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol
    finally:
        transport.close()


async def until(true: Any) -> None:
    """Waits until a condition holds."""
    while not true():
        await asyncio.sleep(0.002)
