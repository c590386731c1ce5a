"""The client of the documents' two nodes: prints the echo of a message. See echo_server.py."""

import argparse
import asyncio
import sys
from pathlib import Path

from seigr_toolset_transmissions import STTException, STTNode


async def ask(seed: str, host: str, port: int, message: bytes, timeout: float) -> bytes:
    """The echo of a message."""
    async with STTNode(shared_seed=seed, host="127.0.0.1") as client:
        session = await client.connect_udp(host, port, timeout=timeout)
        print(f"Connected! Session: {session.session_id.hex()}")
        await client.send_to_sessions([session.session_id], message)
        async for packet in client.receive():
            return packet.data
    raise EOFError("the node was stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("--host", default="127.0.0.1", help="where the server is")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--message", default="Hello from client!")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for it")
    given = parser.parse_args()
    seed = given.seed.read_text().strip()
    try:
        message = given.message.encode()
        echo = asyncio.run(ask(seed, given.host, given.port, message, given.timeout))
    except STTException as error:
        sys.exit(f"{error} ({error.code}): {error.hint}")
    print(f"Client received: {echo!r}")
