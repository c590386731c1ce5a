"""Receives a file, the other half of send_file.py.

    stt seed new > seed.txt
    python receive_file.py seed.txt arrived.bin --port 8080
    python send_file.py seed.txt movie.mp4 --port 8080      # in another terminal
"""

import argparse
import asyncio
import os
from pathlib import Path

from seigr_toolset_transmissions import STTNode


async def receive(seed: str, target: Path, host: str, port: int) -> int:
    """Writes what the first peer sends to `target`, which appears when all of it came."""
    node = STTNode(shared_seed=seed, host=host, port=port)
    host, port = await node.start(server_mode=True)
    print(f"Waiting on {host}:{port}", flush=True)
    part = target.with_name(target.name + ".part")
    async with node:
        session = await node.accept()
        stream = await session.accept_stream()
        received = 0
        with open(part, "wb") as file:
            # Ends when the sender closed the stream; if it went away, an exception ends it.
            async for chunk in stream:
                file.write(chunk)
                received += len(chunk)
        os.replace(part, target)
        # Stopping the node delivers this first; the sender leaves as soon as it has it.
        await stream.send(received.to_bytes(8, "big"))
    return received


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("target", type=Path, help="where to write it")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=8080, help="0 for any")
    given = parser.parse_args()
    secret = given.seed.read_text().strip()
    size = asyncio.run(receive(secret, given.target, given.host, given.port))
    print(f"Received {size} bytes")
