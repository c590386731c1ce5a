"""Threads: logging never waits for the engine, and objects may be shared."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import local
import pytest
from interfaces.api.streaming_context import ChunkHeader, StreamingContext
from seigr_toolset_transmissions import (
    BinaryStorage,
    DurableLog,
    EndpointManager,
    FrameDispatcher,
    SessionContinuity,
    StreamDecoder,
    StreamEncoder,
)
from seigr_toolset_transmissions._across import Bell, Turn
from seigr_toolset_transmissions.dht import ContentDistribution, KademliaDHT, PubSubManager
from seigr_toolset_transmissions.streaming import StreamManager
from stc import STCContext

KEY = bytes(range(32))

LOGGING = """
import asyncio, logging, threading
from seigr_toolset_transmissions import STTNode, _native, new_seed

logging.basicConfig(level=logging.DEBUG, filename="log.txt")
seed, failed = new_seed(), []

async def talk():
    server = STTNode(shared_seed=seed, host="127.0.0.1")
    await server.start(server_mode=True)
    async with server, STTNode(shared_seed=seed, host="127.0.0.1") as client:
        session = await client.connect_udp(*server.local_address)
        _native.log_from_the_engine("from the engine", 200)
        await session.send(b"x", 7)
        assert await (await server.accept()).get_stream(7).receive() == b"x"

def run():
    try:
        asyncio.run(talk())
    except BaseException as error:
        failed.append(error)

threads = [threading.Thread(target=run) for _number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
"""


def test_eight_threads_that_log_do_not_wait_for_each_other(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, timeout=120, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "from the engine" in (tmp_path / "log.txt").read_text()


def at_once(work: Callable[[int], Any], threads: int = 16) -> list[Any]:
    """What comes of the same work in many threads that begin together."""
    begin = threading.Barrier(threads)

    def one(number: int) -> Any:
        begin.wait(60)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def test_sixteen_threads_share_a_context() -> None:
    context = STCContext(KEY, 16, 1)

    def work(number: int) -> bool:
        data = b"%d" % number * 1000
        sealed, metadata = context.encrypt(data)
        context.hash(data)
        context.cel.update()
        context.save_state()
        return bool(context.decrypt(sealed, metadata) == data)

    assert all(at_once(work))


def test_sixteen_threads_share_a_stream_of_frames() -> None:
    sender = StreamingContext(KEY)
    receiver = StreamingContext(KEY, metadata=sender.get_stream_metadata())
    sealed = at_once(lambda number: [sender.encrypt_chunk(b"%d" % number) for _n in range(50)])
    frames = [frame for some in sealed for frame in some]
    assert len({header.sequence for header, _frame in frames}) == 16 * 50

    def work(number: int) -> list[bytes]:
        mine = frames[number::16]
        return [
            receiver.decrypt_chunk(ChunkHeader.from_bytes(header.to_bytes()), frame)
            for header, frame in mine
        ]

    opened = [frame for some in at_once(work) for frame in some]
    assert sorted(opened) == sorted(b"%d" % number for number in range(16) for _n in range(50))


@pytest.mark.parametrize("kind", ["storage", "endpoints", "dispatcher", "streams"])
def test_sixteen_threads_share_an_object(kind: str) -> None:
    storage = BinaryStorage(KEY)
    endpoints = EndpointManager()
    dispatcher = FrameDispatcher()
    manager = StreamManager()

    async def use(number: int) -> bool:
        name = f"{number}"
        if kind == "storage":
            address = await storage.put(name, name.encode())
            return await storage.get(address) == name.encode()
        if kind == "endpoints":
            await endpoints.add_endpoint(name, ("127.0.0.1", 1 + number))
            await endpoints.deliver(name, b"x")
            return await endpoints.receive_from(name) == (b"x", name.encode())
        if kind == "dispatcher":
            dispatcher.register_handler(0x80 + number, lambda payload: payload)
            return dispatcher.get_stats() is not None
        stream = manager.create_stream(name)
        await stream.send_message(name)
        return await stream.receive_message() == name.encode()

    assert all(at_once(lambda number: asyncio.run(use(number))))


async def beside(work: Callable[[int], Any]) -> list[Any]:
    """Runs coroutines in sixteen threads, each with a loop of its own, beside this loop."""
    return await asyncio.to_thread(at_once, lambda number: asyncio.run(limited(work(number))))


async def limited(work: Any) -> Any:
    async with asyncio.timeout(100):
        return await work


EACH = 20


def test_sixteen_threads_share_a_session_and_a_stream() -> None:
    async def main() -> None:
        async with local.pair() as (server, theirs, client, ours):
            sender, receiver = ours.get_stream(7), theirs.get_stream(7)
            raw, other = ours.get_stream(9), theirs.get_stream(9)

            async def use(number: int) -> list[bytes]:
                got = []
                for count in range(EACH):
                    message = b"%d-%d" % (number, count)
                    await sender.send(message)
                    got.append(await receiver.receive())
                    await raw.write(bytes([number]) * 10)
                    await client.send_to_sessions([ours.session_id], message)
                    assert repr(ours) and ours.get_stats() and sender.get_stats()
                    assert server.get_stats()["running"] and client.get_sessions() == [ours]
                assert await ours.ping() < 100
                mine = ours.get_stream(1001 + 2 * number)
                await mine.send(b"mine")
                assert await theirs.get_stream(1001 + 2 * number).receive() == b"mine"
                return got

            got = [one for some in await beside(use) for one in some]
            expected = sorted(b"%d-%d" % (n, count) for n in range(16) for count in range(EACH))
            assert sorted(got) == expected
            pieces = await other.readexactly(16 * EACH * 10)
            assert sorted(pieces) == sorted(bytes(range(16)) * EACH * 10)
            packets = server.receive()
            assert sorted([(await anext(packets)).data for _one in expected]) == expected

    asyncio.run(limited(main()))


def test_sixteen_threads_connect_and_accept_with_one_node() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:

            async def use(_number: int) -> tuple[bytes, bytes]:
                session = await client.connect_udp(*server.local_address)
                return session.session_id, (await server.accept()).session_id

            pairs = await beside(use)
            assert len({ours for ours, _ in pairs}) == 16
            assert {ours for ours, _ in pairs} == {theirs for _, theirs in pairs}

    asyncio.run(limited(main()))


def test_sixteen_threads_share_an_encoder_and_a_decoder() -> None:
    """Also those that wait for credit, each in its own loop."""
    settings: dict[str, Any] = {"segment_size": 16, "window": 4}
    encoder = StreamEncoder(KEY, b"session!", 1, flow_control=True, **settings)
    decoder = StreamDecoder(KEY, b"session!", 1, **settings)

    async def main() -> bytes:
        async def use(number: int) -> None:
            for _count in range(EACH):
                async for sequence, segment in encoder.send(bytes([number]) * 32):
                    decoder.receive_segment(segment, sequence)

        got = b""
        async with asyncio.TaskGroup() as group:
            group.create_task(beside(use))
            while len(got) < 16 * EACH * 32:
                got += await decoder.receive()
                encoder.grant(decoder.credit)
        return got

    got = asyncio.run(limited(main()))
    parts = [got[at : at + 32] for at in range(0, len(got), 32)]
    assert sorted(parts) == sorted(bytes([number]) * 32 for number in range(16) for _n in range(EACH))


def test_sixteen_threads_share_a_log(tmp_path: Any) -> None:
    async def main() -> None:
        async with DurableLog(KEY, tmp_path / "log") as log:
            async with await log.consumer("one") as consumer:

                async def use(number: int) -> bytes:
                    await log.append(b"%d" % number)
                    delivered = await consumer.next()
                    await delivered.ack()
                    assert len(await log.read()) > 0 and log.get_stats() and consumer.get_stats()
                    return delivered.data

                got = await beside(use)
                assert sorted(got) == sorted(b"%d" % number for number in range(16))

    asyncio.run(limited(main()))


def test_sixteen_threads_share_the_swarm() -> None:
    async def main() -> None:
        async with local.started() as node, KademliaDHT(node=node) as dht:
            topics, contents = PubSubManager(dht), ContentDistribution(dht)
            subscription = await topics.subscribe("topic")

            async def use(number: int) -> bytes:
                data = b"%d" % number
                assert await dht.store(data, data) > 0
                assert await dht.find_value(data) == data
                content = await contents.publish_content(data * 1000)
                assert await contents.retrieve_content(content) == data * 1000
                await topics.publish("topic", data)
                return (await anext(subscription)).data

            assert sorted(await beside(use)) == sorted(b"%d" % number for number in range(16))

    asyncio.run(limited(main()))


def test_sixteen_threads_share_a_resumable_session() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:
            there, here = SessionContinuity(server), SessionContinuity(client)
            ours = await here.connect(server.local_address, server.node_id)
            theirs = await there.accept()

            async def use(number: int) -> bytes:
                await ours.send(b"%d" % number)
                message = await theirs.receive()
                assert message is not None
                theirs.commit(message.position)
                return message.data

            assert sorted(await beside(use)) == sorted(b"%d" % number for number in range(16))

    asyncio.run(limited(main()))


# --- what waits for another loop ---


def test_turns_are_taken_in_order_and_given_up() -> None:
    async def main() -> None:
        turn, order = Turn(), []

        async def take(number: int) -> None:
            async with turn:
                order.append(number)
                await asyncio.sleep(0)

        async with turn:
            tasks = [asyncio.create_task(take(number)) for number in range(4)]
            await asyncio.sleep(0)
            tasks[1].cancel()
        # The turn goes to the first, which is cancelled before it runs: the next has it.
        tasks[0].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [1, 1, 0, 0]
        assert order == [2, 3]
        await take(9)

    asyncio.run(limited(main()))


def test_a_loop_that_is_over_keeps_nobody_waiting() -> None:
    turn, bell = Turn(), Bell()
    over = asyncio.new_event_loop()
    waiting = [over.create_task(turn.__aenter__()), over.create_task(bell.wait_until(lambda: False))]

    async def main() -> None:
        async with turn:
            await asyncio.to_thread(over.run_until_complete, asyncio.sleep(0.01))
            over.close()
            bell.ring()
        async with turn:
            pass

    asyncio.run(limited(main()))
    for task in waiting:
        # It can neither run nor be cancelled any more.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
