"""Any buffer goes in, bytes come out, and large ones are copied once on each side."""

from __future__ import annotations

import array
import asyncio
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import local
import pytest
from seigr_toolset_transmissions import BinaryStorage


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "array", "mmap"])
def test_any_buffer_goes_in(kind: str, tmp_path: Path) -> None:
    plain = bytes(range(256)) * 16
    path = tmp_path / "file"
    path.write_bytes(plain)

    async def main() -> None:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as map:
            made: dict[str, Any] = {
                "bytes": plain,
                "bytearray": bytearray(plain),
                "memoryview": memoryview(plain),
                "array": array.array("B", plain),
                "mmap": map,
            }
            data = made[kind]
            async with local.pair() as (_server, theirs, _client, ours):
                stream = ours.open_stream(7)
                await stream.send(data)
                await stream.send_many([data, data])
                there = theirs.get_stream(7)
                for _number in range(3):
                    message = await there.receive()
                    assert type(message) is bytes and message == plain
                raw = ours.open_stream(9)
                await raw.write(data)
                assert await theirs.get_stream(9).readexactly(len(plain)) == plain
            storage = BinaryStorage(bytes(32))
            assert await storage.retrieve(await storage.store(data)) == plain

    asyncio.run(asyncio.wait_for(main(), 100))


LARGE = """
import asyncio
from seigr_toolset_transmissions import STTNode, new_seed

SIZE = 64 << 20

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

async def main():
    seed = new_seed()
    server = STTNode(shared_seed=seed, host="127.0.0.1")
    await server.start(server_mode=True)
    async with server, STTNode(shared_seed=seed, host="127.0.0.1") as client:
        ours = (await client.connect_udp(*server.local_address)).open_stream(1, SIZE)
        theirs = (await server.accept()).open_stream(1, SIZE)
        await ours.send(bytes(1 << 20))
        await theirs.receive()
        before = peak()
        data = bytearray(SIZE)
        sending = asyncio.create_task(ours.send(data))
        message = await theirs.receive()
        await sending
        assert len(message) == SIZE
        print((peak() - before) >> 20)

asyncio.run(asyncio.wait_for(main(), 100))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_messages_are_copied_once_on_each_side() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, b"")
    # The caller's, one copy for the engine, the message that is put together, and Python's bytes.
    assert int(done.stdout) < 4 * 64 + 48, done.stdout
