"""What a session, its streams and its node can do beyond the documents."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import local
import pytest
from seigr_toolset_transmissions import (
    AdaptivePriorityManager,
    ContentAffinityPool,
    Delivery,
    PoolMissError,
    ProtocolStream,
    SessionContinuity,
    STTEvents,
    STTNode,
    errors,
    new_seed,
    verify_signature,
)
from stc import content_hash


def run(test: Callable[[], Any]) -> None:
    """Nothing here may wait for ever."""

    async def limited() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(limited())


def test_the_port_is_free_when_stop_returns() -> None:
    async def main() -> None:
        async with local.pair() as (server, theirs, client, ours):
            stream = ours.open_stream(7)
            await stream.send(b"held")
            assert await theirs.get_stream(7).receive() == b"held"
            for node in (server, client):
                address = node.local_address
                await node.stop()
                # The node, its sessions and their streams are all held here.
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.bind(address)
                assert node.local_address == address and not node.is_running
            # Another node may have it.
            again = local.node("again", port=server.local_address[1])
            await again.start(server_mode=True)
            assert again.local_address == server.local_address
            await again.stop()

    run(main)


def test_messages_in_batches() -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            stream, there = ours.open_stream(7), theirs.get_stream(7)
            sent = [b"%d" % number for number in range(5000)]

            async def send() -> None:
                for start in range(0, len(sent), 100):
                    await stream.send_many(sent[start : start + 100])
                await stream.close()

            sending = asyncio.create_task(send())
            got: list[bytes] = []
            calls = 0
            while True:
                try:
                    batch = await asyncio.wait_for(there.receive_many(64), 0.01)
                except TimeoutError:
                    continue
                if not batch:
                    break
                assert len(batch) <= 64
                got += batch
                calls += 1
            await sending
            assert got == sent and calls < len(sent)
            assert await there.receive_many() == []
            stream = ours.open_stream(9)
            await stream.send(b"last")
            await theirs.get_stream(9).receive()
            stream.reset()
            with pytest.raises(ConnectionResetError):
                await theirs.get_stream(9).receive_many()

    run(main)


def test_signatures_and_another_address() -> None:
    async def main() -> None:
        async with local.pair() as (server, theirs, client, ours):
            signature = client.sign("example", b"message")
            assert verify_signature(client.node_id, "example", b"message", signature)
            assert verify_signature(theirs.peer_node_id, "example", b"message", signature)
            assert not verify_signature(client.node_id, "other", b"message", signature)
            assert not verify_signature(server.node_id, "example", b"message", signature)
            assert not verify_signature(client.node_id, "example", b"message", b"short")
            before = client.local_address
            after = client.rebind("127.0.0.1")
            assert after == client.local_address != before
            await ours.send(b"still here", 7)
            assert await theirs.get_stream(7).receive() == b"still here"
            with pytest.raises(ValueError):
                client.rebind("no address")

    run(main)


def test_a_group_moves_to_another_seed() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:
            [first] = server.keyring.seeds()
            following = new_seed()
            for node in (server, client):
                second = await node.keyring.add(following)
                assert node.keyring.seeds() == [first, second]
                assert await node.keyring.add(following) == second
            client.keyring.make_current(second)
            session = await client.connect_udp(*server.local_address)
            for node in (server, client):
                node.keyring.make_current(second)
                node.keyring.retire(first)
                with pytest.raises(errors.STTSeedError) as last:
                    node.keyring.retire(second)
                assert last.value.code == "keyring.last"
                with pytest.raises(errors.STTSeedError):
                    node.keyring.make_current(first)
            await session.send(b"goes on", 7)
            async with STTNode(shared_seed=following, host="127.0.0.1") as newcomer:
                await newcomer.connect_udp(*server.local_address)
            async with local.node("stranger") as stranger:
                with pytest.raises(errors.ConnectionTimeoutError):
                    await stranger.connect_udp(*server.local_address, timeout=0.5)
            assert following not in repr(server.keyring)

    run(main)


# --- delivery ---


def test_delivery_modes() -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            modes = {
                7: Delivery.deadline(60.0),
                9: Delivery.probabilistic(0.99),
                11: Delivery.entropy(),
                13: Delivery.datagram(),
            }
            for number, mode in modes.items():
                stream = ours.open_stream(number, delivery=mode, overhead_cap=0.5)
                assert stream.delivery.mode == mode.mode
                there = theirs.get_stream(number)
                # On loopback nothing is lost unless a buffer is full: each is tried some times.
                for _try in range(20):
                    await stream.send(b"picture")
                    try:
                        assert await asyncio.wait_for(there.receive(), 5) == b"picture"
                        break
                    except TimeoutError:
                        continue
                else:
                    pytest.fail(f"{mode} never arrived")
                assert stream.get_delivery_stats()["messages"] >= 1
            assert ours.get_stream(1).delivery == Delivery.reliable()
            with pytest.raises(ValueError) as long:
                await ours.get_stream(13).send(bytes(100_000))
            assert long.value.code.startswith(("delivery.", "stream."))
            with pytest.raises(errors.STTDeliveryError) as wrong:
                ours.open_stream(15, delivery=Delivery.probabilistic(0.1))
            assert wrong.value.code == "delivery.out_of_range"
            with pytest.raises(ValueError, match="no delivery mode"):
                ours.open_stream(15, delivery=Delivery("fast"))

    run(main)


def test_adaptive_priorities_of_a_stream() -> None:
    async def main() -> None:
        async with local.pair() as (_server, _theirs, _client, ours):
            stream = ours.open_stream(7, adaptive_priority=True)
            assert stream.get_priority_report() is None
            await stream.send(b"new")
            report = stream.get_priority_report()
            assert report is not None and report["uniqueness"] == 1.0
            await stream.send(b"new")
            again = stream.get_priority_report()
            assert again is not None and again["uniqueness"] == 0.5
            assert ours.open_stream(9).get_priority_report() is None

    run(main)


def test_priorities_of_contents() -> None:
    async def main() -> None:
        manager = AdaptivePriorityManager(half_life=60.0)
        wanted = content_hash(b"content")
        first = await manager.assess(wanted, congestion=1.0, affinity=1.0)
        manager.accessed(wanted)
        second = await manager.assess(wanted, congestion=1.0, affinity=1.0)
        assert (first.uniqueness, first.recency, first.rarity) == (1.0, 0.0, None)
        assert second.uniqueness == 0.5 and second.recency > 0.9
        assert first.priority == 700 and 0 <= second.priority <= 1000
        with pytest.raises(ValueError, match="32 bytes"):
            manager.accessed(b"short")

    run(main)


def test_the_affinity_pool() -> None:
    async def main() -> None:
        wanted = content_hash(b"content")
        async with local.node("client") as client:
            pool = ContentAffinityPool(client)
            with pytest.raises(PoolMissError) as nobody:
                pool.get_session_for_content(wanted)
            assert isinstance(nobody.value, LookupError) and nobody.value.retry_helps
            async with local.started("a") as a, local.started("b") as b:
                for server in (a, b):
                    await client.connect_udp(*server.local_address)
                best, other = pool.rank(wanted)
                assert pool.get_session_for_content(wanted) == best != other
                pool.report(wanted, best, held=False)
                pool.report(wanted, other, held=True)
                assert pool.get_session_for_content(wanted) == other
                assert pool.get_stats() == {
                    **{"picked_by_knowledge": 1, "picked_by_hash": 1},
                    **{"hits": 1, "misses": 1},
                }
            assert wanted == content_hash(bytearray(b"content"))

    run(main)


# --- protocols ---


def test_a_protocol_with_a_handler() -> None:
    async def main() -> None:
        async with local.pair() as (server, _theirs, _client, ours):

            async def echo(stream: ProtocolStream) -> None:
                async for message in stream:
                    await stream.send(b"you said " + message)
                await stream.close()

            async with server.handle_protocol("example.echo/1", echo):
                with pytest.raises(errors.STTProtocolError) as taken:
                    server.handle_protocol(b"example.echo/1")
                assert taken.value.code == "protocol.taken"
                streams = [ours.open_protocol("example.echo/1") for _number in range(3)]
                for stream in streams:
                    await stream.send(b"hello")
                for stream in streams:
                    assert await stream.receive() == b"you said hello"
                    assert stream.label == b"example.echo/1" and stream.session == ours
                    await stream.close()
                    with pytest.raises(EOFError):
                        await stream.receive()
            stranger = ours.open_protocol("example.echo/1")
            with pytest.raises(errors.STTProtocolError) as unknown:
                await stranger.send(b"hello")
                await stranger.receive()
            assert unknown.value.code == "protocol.unknown"
            with pytest.raises(errors.STTProtocolError):
                ours.open_protocol("")

    run(main)


def test_raw_bytes_and_failing_handlers_of_a_protocol(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, client, ours):
            protocol = client.handle_protocol("raw")
            async with theirs.open_protocol("raw") as stream:
                stream.set_priority(900)
                await stream.write(b"raw bytes")
                there = await anext(protocol)
                assert there.session == ours
                got = b""
                while len(got) < 9:
                    got += await there.read(4)
                assert got == b"raw bytes"
            assert await there.read() == b""
            there.reset(300)
            with pytest.raises(ConnectionResetError):
                await stream.receive()
            await protocol.close()
            await protocol.close()
            assert [stream async for stream in protocol] == []

            async def fail(_stream: ProtocolStream) -> None:
                raise LookupError("mine")

            async with client.handle_protocol("failing", fail):
                failing = theirs.open_protocol("failing")
                await failing.send(b"x")
                with pytest.raises(ConnectionResetError):
                    await failing.receive()
            assert "mine" in caplog.text

    run(main)


def test_a_key_of_ones_own_makes_the_node_id() -> None:
    async def main() -> None:
        ids = []
        for key in (bytes(range(32)), bytearray(range(32)), bytes(32)):
            async with local.node(identity_key=key) as node:
                ids.append(node.node_id)
                assert bytes(key).hex() not in repr(vars(node))
        assert ids[0] == ids[1] != ids[2]
        with pytest.raises(ValueError, match="32"):
            local.node(identity_key=b"short")

    run(main)


# --- resumable sessions ---


def test_a_session_goes_on_after_a_cut() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:
            told: list[str] = []
            client.events.register(STTEvents.SESSION_SUSPENDED, lambda: told.append("suspended"))
            client.events.register(STTEvents.SESSION_RESUMED, lambda: told.append("resumed"))
            there, here = SessionContinuity(server), SessionContinuity(client)
            with pytest.raises(errors.STTException):
                SessionContinuity(server)
            ours = await here.connect(server.local_address, server.node_id)
            theirs = await there.accept()
            assert ours.session_id == theirs.session_id and ours.state == "connected"
            assert (ours.peer_node_id, theirs.peer_node_id) == (server.node_id, client.node_id)
            sent = [await ours.send(b"%d" % number, number % 3) for number in range(10)]
            assert sent == list(range(10))
            for number in range(50):
                if number == 5:
                    carried = ours.session
                    assert carried is not None
                    carried.abort("the network changed")
                    for more in range(10, 50):
                        await ours.send(b"%d" % more, more % 3)
                message = await theirs.receive()
                assert message is not None
                assert message.data == b"%d" % message.position == b"%d" % number
                assert message.stream_id == number % 3
                theirs.commit(message.position)
            await ours.acknowledged(49)
            await local.until(lambda: told[:2] == ["suspended", "resumed"])
            # Each end takes the other's.
            closing = [asyncio.create_task(one.close()) for one in (ours, theirs)]
            assert await theirs.receive() is None
            assert await ours.receive() is None
            await asyncio.gather(*closing)
            assert (await ours.ended()).code == "resume.finished"
            assert ours.take_unacknowledged() == []

    run(main)


def test_resumable_sessions_outlive_their_processes(tmp_path: Path) -> None:
    """Here the nodes end and begin again; tests/resume_kill.rs kills processes."""

    def kept(name: str) -> STTNode:
        chamber = tmp_path / f"{name}.chamber"
        return local.node(name, persistent_identity=True, chamber_path=chamber)

    async def main() -> None:
        async with local.started() as nobody, local.node("client") as client:
            with pytest.raises(errors.STTResumeError) as refused:
                await SessionContinuity.open(nobody, tmp_path / "nobody")
            assert refused.value.code == "resume.no_identity"
            async with SessionContinuity(nobody), SessionContinuity(client) as here:
                one = await here.connect(nobody.local_address, nobody.node_id)
                with pytest.raises(errors.STTResumeError) as in_memory:
                    await one.durable(await one.send(b"x"))
            assert in_memory.value.code == "resume.in_memory"

        server = kept("server")
        await server.start(server_mode=True)
        client = kept("client")
        await client.start()
        ids = server.node_id, client.node_id
        there = await SessionContinuity.open(server, tmp_path / "there")
        here = await SessionContinuity.open(client, tmp_path / "here")
        assert there.restored() == here.restored() == []
        ours = await here.connect(server.local_address, server.node_id)
        theirs = await there.accept()
        for number in range(3):
            await ours.send(b"%d" % number)
        await ours.durable(2)
        message = await theirs.receive()
        assert message is not None and message.data == b"0"
        theirs.commit(0)
        await theirs.committed(0)
        # Received, but not committed: it comes again.
        assert await theirs.receive() is not None
        await there.close()
        await server.stop()
        await ours.send(b"3")
        await ours.durable(3)
        await here.close()
        await client.stop()

        session_id = ours.session_id
        server = kept("server")
        await server.start(server_mode=True)
        async with server, kept("client") as client:
            assert (server.node_id, client.node_id) == ids
            async with await SessionContinuity.open(server, tmp_path / "there") as there:
                async with await SessionContinuity.open(client, tmp_path / "here") as here:
                    (theirs,), (ours,) = there.restored(), here.restored()
                    assert ours.session_id == theirs.session_id == session_id
                    assert (ours.next_sent, theirs.next_received) == (4, 1)
                    ours.dial_at(server.local_address)
                    with pytest.raises(errors.STTResumeError):
                        theirs.dial_at(client.local_address)
                    for number in range(1, 4):
                        message = await theirs.receive()
                        assert message is not None and message.position == number
                        assert message.data == b"%d" % number
                        theirs.commit(number)
                    await ours.acknowledged(3)
                    await ours.give_up()
                    assert (await theirs.ended()).code == "resume.given_up"
                    assert ours.take_unacknowledged() == []
            # What was given up is not kept.
            async with await SessionContinuity.open(client, tmp_path / "here") as here:
                assert here.restored() == []

    run(main)


def test_a_closed_continuity_frees_its_node_at_once() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:
            there, here = SessionContinuity(server), SessionContinuity(client)
            ours = await here.connect(server.local_address, server.node_id)
            theirs = await there.accept()
            waiting = asyncio.create_task(there.accept())
            await ours.send(b"not committed")
            assert await theirs.receive() is not None
            await there.close()
            with pytest.raises(errors.STTStoppedError):
                await waiting
            # All of them are referred to still.
            async with SessionContinuity(server) as again:
                assert (await theirs.ended()).code == (await ours.ended()).code == "resume.given_up"
                left = ours.take_unacknowledged()
                assert left is not None and [one.data for one in left] == [b"not committed"]
                with pytest.raises(errors.STTResumeError) as closed:
                    await there.connect(client.local_address, client.node_id)
                assert closed.value.code == "resume.not_serving"
                ours = await here.connect(server.local_address, server.node_id)
                await again.accept()
                await here.close()
                SessionContinuity(client)
                assert (await ours.ended()).code == "resume.given_up"

    run(main)


def test_what_a_resumable_session_keeps_is_bounded() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:
            there = SessionContinuity(server)
            here = SessionContinuity(client, unacknowledged_bytes=2048, max_message=1024)
            ours = await here.connect(server.local_address, server.node_id)
            theirs = await there.accept()
            with pytest.raises(errors.STTFrameTooLargeError):
                ours.try_send(bytes(1025))
            with pytest.raises(errors.STTResumeFullError) as full:
                for _number in range(10):
                    ours.try_send(bytes(1000))
            assert full.value.code == "resume.full" and isinstance(full.value, asyncio.QueueFull)
            waiting = asyncio.create_task(ours.send(bytes(1000)))
            message = await theirs.receive()
            assert message is not None and not waiting.done()
            theirs.commit(message.position)
            await waiting
            with pytest.raises(errors.STTException) as not_received:
                theirs.commit(100)
            assert not_received.value.code == "resume.not_received"
            with pytest.raises(ValueError):
                SessionContinuity(client, lifetime=0.0)

    run(main)


def test_a_resumable_session_of_a_stopped_node_ends() -> None:
    async def main() -> None:
        node = STTNode(shared_seed=local.SHARED, host="127.0.0.1")
        await node.start()
        here = SessionContinuity(node)
        waiting = asyncio.create_task(here.accept())
        await asyncio.sleep(0)
        await node.stop()
        with pytest.raises(RuntimeError):
            await waiting

    run(main)
