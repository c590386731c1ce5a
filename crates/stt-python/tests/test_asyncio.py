"""It feels like asyncio. STT_TEST_ROUNDS: how often each cancellation is tried."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import random
from collections.abc import Callable
from typing import Any

import local
import pytest
import seigr_toolset_transmissions as package
from seigr_toolset_transmissions import (
    AdaptivePriorityManager,
    BinaryStorage,
    Chamber,
    ContentAffinityPool,
    DurableLog,
    EndpointManager,
    EventEmitter,
    FrameDispatcher,
    Protocol,
    ProtocolStream,
    ResumableSession,
    SessionContinuity,
    STCWrapper,
    STTNode,
    STTSession,
    STTStream,
    StreamDecoder,
    StreamEncoder,
    _native,
    dht,
    errors,
    streaming,
)
from seigr_toolset_transmissions.log import Consumer, Delivered
from seigr_toolset_transmissions.dht import (
    ContentDistribution,
    KademliaDHT,
    PubSubManager,
    Subscription,
)
from seigr_toolset_transmissions.streaming import (
    BidirectionalStream,
    Stream,
    StreamingService,
    StreamManager,
    StreamMultiplexer,
)

ROUNDS = int(os.environ.get("STT_TEST_ROUNDS", "400"))


def run(test: Callable[[], Any]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(100 + ROUNDS / 10):
            await test()

    asyncio.run(limited())


def jitter() -> float:
    """Seconds, about as long as an answer takes on this machine."""
    return random.choice((0, 0.0001, 0.0005, 0.002)) * random.random()


# --- what the calls are ---

WAITING = {
    STTNode: {
        *("start", "stop", "connect", "connect_udp", "accept", "send_to_all", "send_to_sessions"),
    },
    ProtocolStream: {"send", "receive", "read", "write", "close", "aclose"},
    Protocol: {"close", "aclose"},
    SessionContinuity: {"connect", "accept"},
    ResumableSession: {
        *("send", "acknowledged", "receive", "close", "aclose", "ended"),
    },
    ContentAffinityPool: set(),
    AdaptivePriorityManager: {"assess"},
    DurableLog: {
        *("open", "append", "append_all", "read", "wait_for", "consumer", "consumers"),
        *("reset_consumer", "remove_consumer", "dead_letters", "close", "aclose"),
    },
    Consumer: {"next", "next_batch", "ack", "reject", "close", "aclose"},
    Delivered: {"ack", "reject"},
    STTSession: {"accept_stream", "send", "ping", "move_to", "close", "aclose", "wait_closed"},
    STTStream: {
        *("send", "receive", "read", "readexactly", "readinto", "write", "drain", "flush"),
        *("close", "aclose", "send_many", "receive_many"),
    },
    Chamber: {
        *("put", "get", "get_range", "resolve", "exists", "remove", "delete", "names"),
        *("contents", "get_stats", "put_file", "put_pieces", "contents_info", "set_name", "pin"),
        *("unpin", "collect", "verify", "remove_unreadable", "set_quota"),
    },
    BinaryStorage: {"store", "retrieve"},
    EndpointManager: {
        *("add_endpoint", "remove_endpoint", "send_to_endpoint", "route_to_endpoint"),
        *("send_to_many", "broadcast", "deliver", "receive_from", "receive_any"),
    },
    EventEmitter: {"emit"},
    FrameDispatcher: {"dispatch", "dispatch_bytes"},
    StreamDecoder: {"ready", "receive", "receive_all"},
    STCWrapper: {"ready"},
    KademliaDHT: {
        *("start", "stop", "bootstrap", "ping", "connect", "find_node", "get_peers", "store"),
        *("find_value", "announce_provider", "provide", "stop_providing", "find_providers"),
        "get_stats",
    },
    PubSubManager: {"publish", "subscribe", "unsubscribe"},
    Subscription: set(),
    ContentDistribution: {
        *("publish_content", "unpublish_content", "retrieve_content", "subscribe", "unsubscribe"),
        *("get_stats", "share", "shared", "ticket", "fetch"),
    },
    StreamManager: {"accept", "close_stream", "close_all_streams", "shutdown"},
    Stream: {
        *("send_message", "send_batch", "send_error", "receive_message", "receive_many", "close"),
    },
    BidirectionalStream: {"send", "receive"},
    StreamMultiplexer: set(),
    StreamingService: {"shutdown"},
}


@pytest.mark.parametrize("kind", WAITING, ids=lambda kind: kind.__name__)
def test_what_waits_is_a_coroutine_function_and_says_what_it_does(kind: type) -> None:
    for name in WAITING[kind]:
        assert inspect.iscoroutinefunction(getattr(kind, name)), name
    for name, member in inspect.getmembers(kind):
        public = not name.startswith("_")
        if public and (inspect.isfunction(member) or isinstance(member, property)):
            assert inspect.getdoc(member), f"{kind.__name__}.{name} has no docstring"


def test_everything_public_says_what_it_is() -> None:
    for module in (package, dht, streaming, errors):
        for name in module.__all__:
            assert inspect.getdoc(getattr(module, name)), name


def test_nothing_begins_before_the_first_await() -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            stream = ours.open_stream(7)
            stream.send(b"never").close()
            sending = stream.send(b"sent")
            assert stream.get_stats()["messages_sent"] == 0
            await sending
            assert await theirs.get_stream(7).receive() == b"sent"
            assert stream.get_stats()["messages_sent"] == 1

    run(main)


def test_tasks_groups_shields_and_timeouts() -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            a, b = ours.open_stream(7), theirs.get_stream(7)
            async with asyncio.TaskGroup() as group:
                got = group.create_task(b.receive())
                group.create_task(a.send(b"in a group"))
            assert got.result() == b"in a group"
            got_one, _ = await asyncio.gather(b.receive(), a.send(b"gathered"))
            assert got_one == b"gathered"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await b.receive()
            shielded = asyncio.ensure_future(b.receive())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(shielded), 0.01)
            await a.send(b"to the shielded one")
            assert await shielded == b"to the shielded one"

    run(main)


def test_cancelling_propagates_and_the_reason_is_kept() -> None:
    async def main() -> None:
        async with local.pair() as (server, theirs, _client, ours):
            waits = [
                theirs.get_stream(7).receive(),
                theirs.get_stream(9).read(10),
                theirs.accept_stream(),
                theirs.wait_closed(),
                server.accept(),
                anext(server.receive()),
            ]
            for wait in waits:
                task = asyncio.ensure_future(wait)
                await asyncio.sleep(0.001)
                task.cancel("mine")
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await task
                assert cancelled.value.args == ("mine",)
            assert ours.is_active and server.is_running

    run(main)


# --- giving up loses nothing and doubles nothing ---


async def insist(call: Callable[[], Any]) -> Any:
    """Calls until it is not given up."""
    while True:
        try:
            return await asyncio.wait_for(call(), jitter())
        except TimeoutError:
            # Others run, too, when the timeout is 0.
            await asyncio.sleep(0)


def test_reading_bytes_under_cancellation() -> None:
    async def main() -> None:
        data = random.Random(1).randbytes(ROUNDS * 700)
        async with local.pair() as (_server, theirs, _client, ours):

            async def write() -> None:
                stream, at = ours.open_stream(7), 0
                while at < len(data):
                    piece = data[at : at + random.randrange(1, 3000)]
                    await stream.write(piece)
                    at += len(piece)
                    await asyncio.sleep(jitter())
                await stream.close()

            writing = asyncio.create_task(write())
            stream, got = theirs.get_stream(7), bytearray()
            while len(got) < len(data):
                got += await insist(lambda: stream.read(random.randrange(1, 1000)))
            assert got == data and await stream.read(1) == b""
            await writing

    run(main)


def test_messages_sessions_and_packets_under_cancellation() -> None:
    async def main() -> None:
        async with local.pair() as (server, theirs, client, ours):

            async def send() -> None:
                stream = ours.open_stream(7)
                for number in range(ROUNDS):
                    await stream.send(b"%d" % number)
                    await client.send_to_all(b"%d" % number)
                    if number % 8 == 0:
                        await asyncio.sleep(jitter())

            sending = asyncio.create_task(send())
            stream, packets = theirs.get_stream(7), server.receive()
            for number in range(ROUNDS):
                assert await insist(stream.receive) == b"%d" % number
                assert (await insist(lambda: anext(packets))).data == b"%d" % number
            await sending

            async with local.node("other") as other:
                dialled: set[bytes] = set()

                async def dial() -> None:
                    for _number in range(ROUNDS // 40):
                        session = await other.connect_udp(*server.local_address)
                        dialled.add(session.session_id)

                dialling = asyncio.create_task(dial())
                accepted = [(await insist(server.accept)).session_id for _ in range(ROUNDS // 40)]
                await dialling
                assert len(accepted) == len(dialled) and set(accepted) == dialled

    run(main)


def test_a_cancelled_send_is_whole_or_nothing() -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            stream = ours.open_stream(7)
            message = bytes(200_000)
            done: list[int] = []

            async def receive() -> list[int]:
                got = []
                async for text in theirs.get_stream(7):
                    assert text[4:] == message
                    got.append(int.from_bytes(text[:4], "big"))
                    await asyncio.sleep(jitter())
                return got

            receiving = asyncio.create_task(receive())
            for number in range(ROUNDS // 4):
                try:
                    text = number.to_bytes(4, "big") + message
                    await asyncio.wait_for(stream.send(text), jitter())
                    done.append(number)
                except TimeoutError:
                    await asyncio.sleep(0)
            await stream.close()
            got = await receiving
            # In order, each once, and all that were not given up.
            assert got == sorted(set(got)) and set(done) <= set(got)

    run(main)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_reads_that_are_given_up() -> None:
    """Runs with `-m slow`: as many reads of bytes, and as many of messages, as `async for` makes
    them. Each has a deadline about as long as an answer takes; all that was sent came, once."""
    most, tries = 100_000, 0

    async def main() -> None:
        nonlocal tries
        async with local.pair() as (_server, theirs, _client, ours):
            sent, got, numbers = bytearray(), bytearray(), 0
            random_bytes = random.Random(1).randbytes
            raw, stream = ours.open_stream(7), ours.open_stream(9)
            over = False

            async def write() -> None:
                number = 0
                while not over:
                    piece = random_bytes(random.randrange(1, 3000))
                    sent.extend(piece)
                    await raw.write(piece)
                    await stream.send(b"%d" % number)
                    number += 1
                    await asyncio.sleep(jitter())
                await raw.close()
                await stream.close()

            writing = asyncio.create_task(write())
            reading, messages = theirs.get_stream(7), theirs.get_stream(9)
            while tries < most:
                tries += 1
                try:
                    got += await asyncio.wait_for(reading.read(1000), jitter())
                except TimeoutError:
                    await asyncio.sleep(0)
                try:
                    message = await asyncio.wait_for(anext(messages), jitter())
                    assert message == b"%d" % numbers
                    numbers += 1
                except TimeoutError:
                    await asyncio.sleep(0)
            over = True
            closing = asyncio.create_task(reading.read())
            async for message in messages:
                assert message == b"%d" % numbers
                numbers += 1
            got += await closing
            await writing
            assert got == sent and numbers > 1000

    async def limited() -> None:
        async with asyncio.timeout(7000):
            await main()

    asyncio.run(limited())
    assert tries == most


# --- failures ---


def test_what_fails_is_also_the_builtin_exception() -> None:
    async def main() -> None:
        async with local.pair() as (server, theirs, client, ours):
            stream, other = ours.open_stream(7, max_frame_size=1000), theirs.get_stream(7)
            with pytest.raises(ValueError) as too_large:
                await stream.send(bytes(1001))
            assert too_large.value.code == "stream.frame_too_large"
            await stream.send(b"last")
            await stream.close()
            with pytest.raises(BrokenPipeError):
                await stream.send(b"more")
            assert await other.receive() == b"last"
            with pytest.raises(EOFError):
                await other.receive()
            reset = ours.open_stream(9)
            await reset.send(b"x")
            # Before the peer knows the stream's number it would not hear of the reset.
            assert await theirs.get_stream(9).receive() == b"x"
            reset.reset()
            with pytest.raises(ConnectionResetError):
                await theirs.get_stream(9).receive()
            raw = ours.open_stream(11)
            await raw.write(b"abc")
            await raw.close()
            with pytest.raises(asyncio.IncompleteReadError) as partial:
                await theirs.get_stream(11).readexactly(5)
            assert partial.value.partial == b"abc"
            with pytest.raises(OSError):
                await local.node("third", port=server.local_address[1]).start()
            with pytest.raises(PermissionError):
                server.set_admission(deny=[local_id := client.node_id])
                await client.connect_udp(*server.local_address)
            assert len(local_id) == 32
            with pytest.raises(ConnectionAbortedError):
                await ours.wait_closed()
                await ours.ping()
        with pytest.raises(RuntimeError):
            await server.accept()

    run(main)


def test_nobody_answers_is_a_timeout() -> None:
    async def main() -> None:
        async with local.node() as node:
            with pytest.raises(TimeoutError) as nobody:
                await node.connect_udp("127.0.0.1", 9, timeout=0.3)
            assert isinstance(nobody.value, errors.ConnectionTimeoutError)
            assert nobody.value.retry_helps and nobody.value.hint
            assert "Handshake failed" in str(nobody.value)

    run(main)


def test_two_loops_share_a_process() -> None:
    for _number in range(2):
        run(lambda: _exchange())


async def _exchange() -> None:
    async with local.pair() as (_server, theirs, _client, ours):
        await ours.send(b"x", 7)
        assert await theirs.get_stream(7).receive() == b"x"


def test_an_object_of_another_loop_works_there_too() -> None:
    """Nothing of a node belongs to the loop that started it, except its events."""
    seen: list[bytes] = []

    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            stream = theirs.get_stream(7)

            def elsewhere() -> None:
                seen.append(asyncio.run(stream.receive()))

            waiting = asyncio.create_task(asyncio.to_thread(elsewhere))
            await ours.send(b"x", 7)
            await waiting

    run(main)
    assert seen == [b"x"]


def test_a_node_that_was_not_stopped_is_a_resource_warning() -> None:
    async def main() -> None:
        node = local.node()
        await node.start()
        with pytest.warns(ResourceWarning, match="was not stopped"):
            del node
            gc.collect()

    run(main)


def test_what_the_engine_logs_reaches_logging(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with local.node():
            with caplog.at_level(logging.INFO, "stt"):
                _native.log_from_the_engine("from a thread of the engine", 3)
                await local.until(lambda: len(caplog.records) == 3)
        assert {one.name for one in caplog.records} == {"stt.stt_python"}
        assert "from a thread of the engine number=2" in caplog.text
        caplog.clear()
        # Nobody takes them in time: the newest stay, and the others are counted.
        _native.log_from_the_engine("many", 5000)
        await local.until(lambda: f"{5000 - 1024} log records were dropped" in caplog.text)
        assert len(caplog.records) == 1025 and "number=4999" in caplog.text

    run(main)


def test_the_loop_goes_on_while_seeds_are_stretched() -> None:
    async def pauses() -> tuple[float, float]:
        """The longest pause of the loop, and all that three stretches take."""
        clock = asyncio.get_running_loop().time
        longest, begun = 0.0, clock()

        async def watch() -> None:
            nonlocal longest
            at = clock()
            while True:
                await asyncio.sleep(0.005)
                longest, at = max(longest, clock() - at), clock()

        watching = asyncio.create_task(watch())
        async with local.started(), local.node("client"):
            await STCWrapper(local.SHARED).ready()
        watching.cancel()
        return longest, clock() - begun

    # None holds the loop for as long as it takes; a busy machine may, so there are several tries.
    tries = (asyncio.run(pauses()) for _number in range(5))
    assert any(longest < max(took / 6, 0.05) for longest, took in tries)
