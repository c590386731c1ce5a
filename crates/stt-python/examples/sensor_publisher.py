"""Publishes readings of a sensor to all that subscribe. Stop it with Ctrl-C.

    stt seed new > seed.txt
    python sensor_publisher.py seed.txt --port 9337
    python sensor_subscriber.py seed.txt --port 9337      # in another terminal, or in several
"""

import argparse
import asyncio
import contextlib
import random
from pathlib import Path

from seigr_toolset_transmissions import STTNode
from seigr_toolset_transmissions.dht import KademliaDHT, PubSubManager


async def publish(seed: str, host: str, port: int, pause: float) -> None:
    """A reading every `pause` seconds, until it is cancelled."""
    node = STTNode(shared_seed=seed, host=host, port=port)
    host, port = await node.start(server_mode=True)
    print(f"Publishing from {host}:{port}", flush=True)
    async with node, KademliaDHT(node=node) as dht:
        sensors = PubSubManager(dht)
        while True:
            reading = b"%.1f" % random.uniform(20, 25)
            # With nobody there it waits at most so long, and gives 0.
            reached = await sensors.publish("sensors/temperature", reading, ready_timeout=pause)
            if reached:
                print(f"{reading.decode()} reached {reached}", flush=True)
            await asyncio.sleep(pause)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=9337, help="0 for any")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between readings")
    given = parser.parse_args()
    secret = given.seed.read_text().strip()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(publish(secret, given.host, given.port, given.pause))
