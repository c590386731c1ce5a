"""What Python costs, beside the documents' figures, Rust and plain asyncio.

    benches/python/run [frames|bulk|calls|memory|messages|each|pubsub|content|streams]...

Both sides of a comparison run in turns in the same run; the tables show medians and quartiles.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psutil
from interfaces.api.streaming_context import StreamingContext
from seigr_toolset_transmissions import STTNode, STTSession, STTStream, new_seed
from seigr_toolset_transmissions.dht import ContentDistribution, KademliaDHT, PubSubManager
from seigr_toolset_transmissions.streaming import StreamManager

PIECE = 1 << 20


def shown(samples: Iterable[float], digits: int = 0) -> str:
    """Median and quartiles."""
    values = sorted(samples)
    low, middle, high = (
        statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    )
    return f"{middle:,.{digits}f} [{low:,.{digits}f} to {high:,.{digits}f}]"


async def pair() -> tuple[STTNode, STTSession, STTNode, STTSession]:
    """A server with its session, and a client with its own."""
    seed = new_seed()
    server = STTNode(shared_seed=seed, host="127.0.0.1", max_sessions=1000)
    client = STTNode(shared_seed=seed, host="127.0.0.1", max_sessions=1000)
    await server.start(server_mode=True)
    await client.start()
    ours = await client.connect_udp(*server.local_address)
    return server, await server.accept(), client, ours


# --- frames ---


def frames(rounds: int) -> None:
    """Frames of 5 KB a second, sealed, and opened."""
    frame = os.urandom(5000)
    sealing, opening = [], []
    seed = new_seed()
    for _round in range(rounds):
        sender = StreamingContext(seed)
        receiver = StreamingContext(seed, metadata=sender.get_stream_metadata())
        count = 20_000
        begun = time.perf_counter()
        sealed = [sender.encrypt_chunk(frame) for _number in range(count)]
        sealing.append(count / (time.perf_counter() - begun))
        begun = time.perf_counter()
        for header, data in sealed:
            receiver.decrypt_chunk(header, data)
        opening.append(count / (time.perf_counter() - begun))
    print("frames of 5 KB (the document: 132.9 a second; target 100,000)")
    print(f"  sealed, 1/s:  {shown(sealing)}")
    print(f"  opened, 1/s:  {shown(opening)}")


# --- bulk ---


async def transfer(mebibytes: int) -> float:
    """MiB/s of raw bytes between two nodes of this process."""
    server, theirs, client, ours = await pair()
    sender, receiver = ours.get_stream(1), theirs.get_stream(1)
    piece = bytes(PIECE)

    async def send() -> None:
        for _number in range(mebibytes):
            await sender.write(piece)
        await sender.close()

    begun = time.perf_counter()
    sending = asyncio.create_task(send())
    left = mebibytes * PIECE
    while data := await receiver.read(PIECE):
        left -= len(data)
    await sending
    took = time.perf_counter() - begun
    assert left == 0
    await client.stop()
    await server.stop()
    return mebibytes / took


def bulk(rounds: int, mebibytes: int, rust: str) -> None:
    """Raw bytes between two nodes, here and in Rust."""
    here, there, ratio = [], [], []
    for _round in range(rounds):
        there.append(float(subprocess.check_output([rust, "bulk", str(mebibytes)])))
        here.append(asyncio.run(transfer(mebibytes)))
        ratio.append(here[-1] / there[-1])
    print(f"bulk between two nodes of one process, {mebibytes} MiB, pieces of 1 MiB (target 0.7)")
    print(f"  Python, MiB/s:  {shown(here)}")
    print(f"  Rust, MiB/s:    {shown(there)}")
    print(f"  ratio:          {shown(ratio, 2)}")


# --- calls ---


async def echo_stt(count: int) -> tuple[float, float]:
    """Seconds for one echo of 64 bytes, and for one message of many in a row."""
    server, theirs, client, ours = await pair()
    here, there = ours.get_stream(1), theirs.get_stream(1)

    async def answer() -> None:
        for _number in range(count):
            await there.send(await there.receive())

    async def ask() -> None:
        for _number in range(count):
            await here.send(bytes(64))
            await here.receive()

    echo = await timed(count, ask(), answer())

    async def take() -> None:
        for _number in range(count):
            await there.receive()

    async def give() -> None:
        for _number in range(count):
            await here.send(bytes(100))

    message = await timed(count, give(), take())
    await client.stop()
    await server.stop()
    return echo, message


async def echo_asyncio(count: int) -> tuple[float, float]:
    """The same over TCP with asyncio's streams, neither sealed nor framed but by length."""
    opened: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    opened = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *ends: opened.set_result(ends), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    far_reader, far_writer = await opened

    async def answer() -> None:
        for _number in range(count):
            far_writer.write(await far_reader.readexactly(64))
            await far_writer.drain()

    async def ask() -> None:
        for _number in range(count):
            writer.write(bytes(64))
            await writer.drain()
            await reader.readexactly(64)

    echo = await timed(count, ask(), answer())

    async def take() -> None:
        for _number in range(count):
            await far_reader.readexactly(100)

    async def give() -> None:
        for _number in range(count):
            writer.write(bytes(100))
            await writer.drain()

    message = await timed(count, give(), take())
    for end in (writer, far_writer):
        end.close()
    server.close()
    return echo, message


async def timed(count: int, *work: Awaitable[None]) -> float:
    """Seconds for each of `count`."""
    begun = time.perf_counter()
    await asyncio.gather(*work)
    return (time.perf_counter() - begun) / count


async def ready_call(count: int) -> float:
    """Seconds of an awaited call whose answer is there: the median of so many."""
    server, _theirs, client, ours = await pair()
    stream: STTStream = ours.get_stream(1)
    took, clock = [], time.perf_counter
    for _number in range(count):
        begun = clock()
        await stream.drain()
        took.append(clock() - begun)
    await client.stop()
    await server.stop()
    return statistics.median(took)


def calls(rounds: int, count: int) -> None:
    """What one call costs, beside asyncio's own streams."""
    results: dict[str, list[tuple[float, float]]] = {"STT": [], "asyncio": []}
    ready = []
    for number in range(rounds):
        sides: list[tuple[str, Callable[[int], Awaitable[tuple[float, float]]]]] = [
            ("STT", echo_stt),
            ("asyncio", echo_asyncio),
        ]
        for name, side in sides if number % 2 else reversed(sides):
            results[name].append(asyncio.run(side(count)))  # type: ignore[arg-type]
        ready.append(asyncio.run(ready_call(count)))
    print("calls, both ends in one loop; asyncio: TCP, not sealed")
    for name, pairs in results.items():
        print(f"  {name}, echo of 64 bytes, us:    {shown([1e6 * one for one, _ in pairs], 1)}")
        print(f"  {name}, message of 100 bytes, us: {shown([1e6 * one for _, one in pairs], 2)}")
    print("  a call whose answer is there (drain), the median of a round (target 25)")
    print(f"    us: {shown([1e6 * one for one in ready], 2)}")


# --- memory ---


async def sessions(count: int) -> None:
    """Resident memory of 100 sessions with 3 streams each, both ends in this process."""
    own = psutil.Process()
    begun = own.memory_info().rss
    server, _theirs, client, _ours = await pair()
    await asyncio.sleep(0.5)
    gc.collect()
    started = own.memory_info().rss
    kept = []
    for _number in range(count - 1):
        ours = await client.connect_udp(*server.local_address)
        theirs = await server.accept()
        for stream_id in (1, 3, 5):
            here, there = ours.get_stream(stream_id), theirs.get_stream(stream_id)
            await here.send(bytes(1000))
            await there.receive()
            kept.append((here, there))
    gc.collect()
    full = own.memory_info().rss
    mebi = 1 << 20
    print(f"memory of {count} sessions with 3 streams (the document: 35 MB for one end)")
    print(f"  the process before any node:            {begun / mebi:.1f} MiB")
    print(f"  two nodes and a session more:           {(started - begun) / mebi:.1f} MiB")
    print(f"  {count - 1} sessions more, both ends:           {(full - started) / mebi:.1f} MiB")
    print(f"  the same for one end:                   {(full - started) / mebi / 2:.1f} MiB")
    await client.stop()
    await server.stop()


# --- messages in batches, and the swarm ---

#: Bytes of a small message, and how many are handed over at once.
SMALL, BATCH = 100, 100


async def each(count: int) -> float:
    """As `messages`, but received with `async for`."""
    return await messages(count, one_by_one=True)


async def messages(count: int, one_by_one: bool = False) -> float:
    """Small messages a second over a stream of a session."""
    server, theirs, client, ours = await pair()
    sender, receiver = ours.get_stream(1), theirs.get_stream(1)
    batch = [bytes(SMALL)] * BATCH

    async def send() -> None:
        for _number in range(count // BATCH):
            await sender.send_many(batch)
        await sender.close()

    begun = time.perf_counter()
    sending = asyncio.create_task(send())
    came = 0
    if one_by_one:
        async for _message in receiver:
            came += 1
    else:
        while some := await receiver.receive_many(BATCH):
            came += len(some)
    await sending
    took = time.perf_counter() - begun
    assert came == count // BATCH * BATCH
    await client.stop()
    await server.stop()
    return came / took


async def members() -> tuple[STTNode, KademliaDHT, STTNode, KademliaDHT]:
    """Two members of a swarm."""
    seed = new_seed()
    found: list[Any] = []
    for _number in range(2):
        node = STTNode(shared_seed=seed, host="127.0.0.1")
        await node.start(server_mode=True)
        dht = KademliaDHT(node=node)
        await dht.start()
        found += [node, dht]
    await found[3].bootstrap([found[0].local_address])
    return found[0], found[1], found[2], found[3]


async def pubsub(count: int) -> float:
    """Small messages a second to a topic, a batch at a time."""
    server, here, client, there = await members()
    subscription = await PubSubManager(there).subscribe("bench")
    topic, message = PubSubManager(here), bytes(SMALL)
    await topic.publish("bench", b"ready", ready_timeout=60.0)
    await anext(subscription)
    begun = time.perf_counter()
    for _number in range(count // BATCH):
        await topic.publish_many("bench", [message] * BATCH, ready_timeout=0.0)
        left = BATCH
        while left > 0:
            left -= len(await subscription.receive_many(left))
    took = time.perf_counter() - begun
    await client.stop()
    await server.stop()
    return count // BATCH * BATCH / took


async def content(mebibytes: int) -> float:
    """MiB/s of a content that is fetched from a member."""
    server, here, client, there = await members()
    await client.connect_udp(*server.local_address)
    wanted = await ContentDistribution(here).publish_content(b"\7" * (mebibytes * PIECE))
    begun = time.perf_counter()
    found = await ContentDistribution(there).retrieve_content(wanted, max_size=1 << 40)
    took = time.perf_counter() - begun
    assert len(found) == mebibytes * PIECE
    await client.stop()
    await server.stop()
    return mebibytes / took


async def streams(count: int) -> float:
    """Small messages a second over a managed stream, in batches."""
    server = STTNode(shared_seed=(seed := new_seed()), host="127.0.0.1")
    await server.start(server_mode=True)
    client = STTNode(shared_seed=seed, host="127.0.0.1")
    await client.start()
    ours, theirs = StreamManager(), StreamManager()
    sender = ours.connect_stream("bench", client, server.local_address)
    await sender.send("first")
    session = await server.accept()
    receiver = await theirs.accept(await session.accept_stream())
    assert receiver is not None
    await receiver.receive()
    batch = [bytes(SMALL)] * BATCH

    async def send() -> None:
        for _number in range(count // BATCH):
            await sender.send_batch(batch)

    begun = time.perf_counter()
    sending = asyncio.create_task(send())
    came = 0
    while came < count // BATCH * BATCH:
        came += len(await receiver.receive_many(BATCH))
    took = time.perf_counter() - begun
    await sending
    sender.abort()
    await client.stop()
    await server.stop()
    return came / took


def beside(
    name: str, unit: str, work: Callable[[int], Awaitable[float]], count: int, rounds: int,
    rust: str, target: float,
) -> None:
    """The same loop here and in Rust, in turns."""
    loop = "messages" if name == "each" else name
    here, there, ratio = [], [], []
    for _round in range(rounds):
        there.append(float(subprocess.check_output([rust, loop, str(count)])))
        here.append(asyncio.run(asyncio.wait_for(work(count), 300)))
        ratio.append(here[-1] / there[-1])
    print(f"{name}, {count} in each round (target {target})")
    print(f"  Python, {unit}:  {shown(here)}")
    print(f"  Rust, {unit}:    {shown(there)}")
    print(f"  ratio:          {shown(ratio, 2)}")


def main() -> None:
    """Runs what the arguments name, or all."""
    parts = ("frames", "bulk", "calls", "memory", "messages", "each", "pubsub", "content", "streams")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {parts}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mebibytes", type=int, default=512)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rust", help="the program with the same loops")
    chosen = parser.parse_args()
    wanted = chosen.parts or parts
    if unknown := set(wanted) - set(parts):
        parser.error(f"there is no {unknown.pop()}")
    if "memory" in wanted:
        # First: before anything else fills the process.
        asyncio.run(sessions(100))
    if "frames" in wanted:
        frames(chosen.rounds)
    if "bulk" in wanted:
        if chosen.rust is None:
            parser.error("bulk needs --rust")
        bulk(chosen.rounds, chosen.mebibytes, chosen.rust)
    if "calls" in wanted:
        calls(chosen.rounds, chosen.calls)
    loops: dict[str, tuple[str, Callable[[int], Awaitable[float]], int, float]] = {
        "messages": ("1/s", messages, 200_000, 0.5),
        "each": ("1/s", each, 200_000, 0.5),
        "pubsub": ("1/s", pubsub, 10_000, 0.5),
        "content": ("MiB/s", content, 128, 0.7),
        "streams": ("1/s", streams, 100_000, 0.5),
    }
    for name, (unit, work, count, target) in loops.items():
        if name in wanted:
            if chosen.rust is None:
                parser.error(f"{name} needs --rust")
            beside(name, unit, work, count, chosen.rounds, chosen.rust, target)


if __name__ == "__main__":
    main()
