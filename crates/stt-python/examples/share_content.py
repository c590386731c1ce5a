"""Offers a file or a folder to all that hold the seed, and prints its ticket. Stop it with Ctrl-C.

    stt seed new > seed.txt
    python share_content.py seed.txt movie.mp4 --port 9337
    python fetch_content.py seed.txt TICKET inbox      # in another terminal
"""

import argparse
import asyncio
import contextlib
from pathlib import Path

from seigr_toolset_transmissions import STTNode
from seigr_toolset_transmissions.dht import ContentDistribution, KademliaDHT


async def share(seed: str, path: Path, host: str, port: int) -> None:
    """Offers it until it is cancelled."""
    node = STTNode(shared_seed=seed, host=host, port=port)
    await node.start(server_mode=True)
    async with node, KademliaDHT(node=node) as dht:
        content = ContentDistribution(dht)
        shared = await content.share(path)
        print(f"{shared.name}: {shared.files} files, {shared.size} bytes", flush=True)
        print(await content.ticket(shared.content_id), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("path", type=Path, help="the file or folder")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=9337, help="0 for any")
    given = parser.parse_args()
    secret = given.seed.read_text().strip()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(share(secret, given.path, given.host, given.port))
