"""Prints the readings that sensor_publisher.py publishes, and who proved to have sent them."""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from seigr_toolset_transmissions import STTException, STTNode
from seigr_toolset_transmissions.dht import KademliaDHT, PubSubManager


async def listen(seed: str, host: str, port: int, count: int | None) -> None:
    """Prints `count` readings, or all until it is cancelled."""
    node = STTNode(shared_seed=seed, host="127.0.0.1")
    await node.start(server_mode=True)
    async with node, KademliaDHT(node=node) as dht:
        await dht.bootstrap([(host, port)])
        number = 0
        async for message in await PubSubManager(dht).subscribe("sensors/temperature"):
            number += 1
            sender = message.publisher.node_id.hex()[:16]
            print(f"{float(message.data):.1f} degrees from {sender}", flush=True)
            if number == count:
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("--host", default="127.0.0.1", help="where any member is")
    parser.add_argument("--port", type=int, default=9337)
    parser.add_argument("--count", type=int, default=None, help="end after so many readings")
    given = parser.parse_args()
    secret = given.seed.read_text().strip()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(listen(secret, given.host, given.port, given.count))
    except STTException as error:
        sys.exit(f"{error} ({error.code}): {error.hint}")
