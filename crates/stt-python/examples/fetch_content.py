"""Fetches what a ticket of share_content.py is for. Interrupted? Run it again: it goes on."""

import argparse
import asyncio
import sys
from pathlib import Path

from seigr_toolset_transmissions import STTException, STTNode
from seigr_toolset_transmissions.dht import (
    ContentDistribution,
    ContentTicket,
    FetchedContent,
    KademliaDHT,
)


def show(phase: str, done: int, total: int) -> None:
    """Progress on one line."""
    print(f"\r{phase}: {100 * done / max(total, 1):.0f}%", end="", file=sys.stderr, flush=True)


async def fetch(seed: str, ticket: str, directory: Path) -> FetchedContent:
    """The content, from all that have it."""
    async with STTNode(shared_seed=seed, host="127.0.0.1") as node, KademliaDHT(node=node) as dht:
        members = ContentTicket.parse(ticket).providers
        await dht.bootstrap(members)
        return await ContentDistribution(dht).fetch(ticket, directory, progress=show)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=Path, help="a file with the shared seed")
    parser.add_argument("ticket")
    parser.add_argument("directory", type=Path, help="where to put it")
    given = parser.parse_args()
    secret = given.seed.read_text().strip()
    try:
        fetched = asyncio.run(fetch(secret, given.ticket, given.directory))
    except STTException as error:
        sys.exit(f"{error} ({error.code}): {error.hint}")
    print(f"\n{fetched.path}: {fetched.size} bytes in {fetched.elapsed:.1f} s")
