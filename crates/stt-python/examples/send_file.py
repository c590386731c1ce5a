"""Sends a file with progress, as the documents' pattern does. See receive_file.py."""

import argparse
import asyncio
import sys
from pathlib import Path

from seigr_toolset_transmissions import STTException, STTNode, STTStream


async def send_file_with_progress(stream: STTStream, path: Path) -> None:
    """Sends messages of 1 MiB; waits while the peer does not keep up."""
    size, sent = path.stat().st_size, 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            await stream.send(chunk)
            sent += len(chunk)
            print(f"Progress: {100 * sent / size:.1f}%")
    await stream.close()


async def send(seed: str, path: Path, host: str, port: int) -> None:
    """Sends it and waits until the peer says that it has all."""
    async with STTNode(shared_seed=seed, host="127.0.0.1") as node:
        session = await node.connect_udp(host, port)
        stream = session.open_stream()
        await send_file_with_progress(stream, path)
        answer = await stream.receive()
        print(f"The peer has {int.from_bytes(answer, 'big')} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("path", type=Path, help="what to send")
    parser.add_argument("--host", default="127.0.0.1", help="where the receiver is")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    try:
        asyncio.run(send(given.seed.read_text().strip(), given.path, given.host, given.port))
    except STTException as error:
        sys.exit(f"{error} ({error.code}): {error.hint}")
