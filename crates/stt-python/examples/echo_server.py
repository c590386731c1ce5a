"""The server of the documents' two nodes: echoes every message. Stop it with Ctrl-C.

    stt seed new > seed.txt
    python echo_server.py seed.txt --port 8080
    python echo_client.py seed.txt --port 8080      # in another terminal
"""

import argparse
import asyncio
import contextlib
from pathlib import Path

from seigr_toolset_transmissions import STTNode


async def serve(seed: str, host: str, port: int) -> None:
    """Echoes until it is cancelled."""
    server = STTNode(shared_seed=seed, host=host, port=port)
    host, port = await server.start(server_mode=True)
    print(f"Server {server.node_id.hex()[:16]} listens on {host}:{port}", flush=True)
    async with server:
        async for packet in server.receive():
            print(f"Server received: {packet.data!r}", flush=True)
            await server.send_to_sessions([packet.session_id], b"ECHO: " + packet.data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=8080, help="0 for any")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.seed.read_text().strip(), given.host, given.port))
