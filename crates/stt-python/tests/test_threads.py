"""Threads: logging never waits for the engine, and objects may be shared."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from interfaces.api.streaming_context import ChunkHeader, StreamingContext
from seigr_toolset_transmissions import (
    BinaryStorage,
    EndpointManager,
    FrameDispatcher,
)
from seigr_toolset_transmissions.streaming import StreamManager
from stc import STCContext

KEY = bytes(range(32))

LOGGING = """
import asyncio, logging, threading
from seigr_toolset_transmissions import STTNode, _native, new_seed

logging.basicConfig(level=logging.DEBUG, filename="log.txt")
seed, failed = new_seed(), []

async def talk():
    server = STTNode(shared_seed=seed, host="127.0.0.1")
    await server.start(server_mode=True)
    async with server, STTNode(shared_seed=seed, host="127.0.0.1") as client:
        session = await client.connect_udp(*server.local_address)
        _native.log_from_the_engine("from the engine", 200)
        await session.send(b"x", 7)
        assert await (await server.accept()).get_stream(7).receive() == b"x"

def run():
    try:
        asyncio.run(talk())
    except BaseException as error:
        failed.append(error)

threads = [threading.Thread(target=run) for _number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
"""


def test_eight_threads_that_log_do_not_wait_for_each_other(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, timeout=120, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "from the engine" in (tmp_path / "log.txt").read_text()


def at_once(work: Callable[[int], Any], threads: int = 16) -> list[Any]:
    """What comes of the same work in many threads that begin together."""
    begin = threading.Barrier(threads)

    def one(number: int) -> Any:
        begin.wait(60)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def test_sixteen_threads_share_a_context() -> None:
    context = STCContext(KEY, 16, 1)

    def work(number: int) -> bool:
        data = b"%d" % number * 1000
        sealed, metadata = context.encrypt(data)
        context.hash(data)
        context.cel.update()
        context.save_state()
        return bool(context.decrypt(sealed, metadata) == data)

    assert all(at_once(work))


def test_sixteen_threads_share_a_stream_of_frames() -> None:
    sender = StreamingContext(KEY)
    receiver = StreamingContext(KEY, metadata=sender.get_stream_metadata())
    sealed = at_once(lambda number: [sender.encrypt_chunk(b"%d" % number) for _n in range(50)])
    frames = [frame for some in sealed for frame in some]
    assert len({header.sequence for header, _frame in frames}) == 16 * 50

    def work(number: int) -> list[bytes]:
        mine = frames[number::16]
        return [
            receiver.decrypt_chunk(ChunkHeader.from_bytes(header.to_bytes()), frame)
            for header, frame in mine
        ]

    opened = [frame for some in at_once(work) for frame in some]
    assert sorted(opened) == sorted(b"%d" % number for number in range(16) for _n in range(50))


@pytest.mark.parametrize("kind", ["storage", "endpoints", "dispatcher", "streams"])
def test_sixteen_threads_share_an_object(kind: str) -> None:
    storage = BinaryStorage(KEY)
    endpoints = EndpointManager()
    dispatcher = FrameDispatcher()
    manager = StreamManager()

    async def use(number: int) -> bool:
        name = f"{number}"
        if kind == "storage":
            address = await storage.put(name, name.encode())
            return await storage.get(address) == name.encode()
        if kind == "endpoints":
            await endpoints.add_endpoint(name, ("127.0.0.1", 1 + number))
            await endpoints.deliver(name, b"x")
            return await endpoints.receive_from(name) == (b"x", name.encode())
        if kind == "dispatcher":
            dispatcher.register_handler(0x80 + number, lambda payload: payload)
            return dispatcher.get_stats() is not None
        stream = manager.create_stream(name)
        await stream.send_message(name)
        return await stream.receive_message() == name.encode()

    assert all(at_once(lambda number: asyncio.run(use(number))))
