"""The swarm: values, providers, messages and content among members."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import local
import pytest
from seigr_toolset_transmissions import (
    AdaptivePriorityManager,
    ContentAffinityPool,
    STTNode,
    STTSwarmError,
    errors,
)
from seigr_toolset_transmissions.dht import (
    ContentDistribution,
    ContentTicket,
    DHTNode,
    KademliaDHT,
    Message,
    PubSubManager,
)
from seigr_toolset_transmissions.dht._joined import call
from stc import content_hash


#: Seconds for what spreads among members on its own, on a machine that has much to do.
READY = 60.0


def run(test: Callable[[], Any]) -> None:
    """Nothing here may wait for ever."""

    async def limited() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(limited())


@contextlib.asynccontextmanager
async def member(
    name: str, by: STTNode | None = None, **settings: Any
) -> AsyncIterator[KademliaDHT]:
    """A member of the swarm, which joins by another one."""
    async with local.started(name, **settings) as node, KademliaDHT(node=node) as dht:
        if by is not None:
            assert await dht.bootstrap([by.local_address]) >= 1
        yield dht


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[tuple[KademliaDHT, KademliaDHT]]:
    async with member("a") as a, member("b", a.node) as b:
        yield a, b


# --- the table ---


def test_alone_everything_works_at_once() -> None:
    async def main() -> None:
        async with local.started() as node:
            dht = KademliaDHT(node_id=node.node_id, port=node.local_address[1])
            assert dht.node_id == node.node_id and not dht.is_running
            await dht.start()
            assert dht.is_running and dht.node is node
            assert await dht.store("key", b"value") == 1
            assert await dht.find_value("key") == b"value"
            assert await dht.find_value("another") is None
            await dht.announce_provider(b"mine")
            assert await dht.find_providers(b"mine", count=1) == [
                DHTNode(node.node_id, *node.local_address)
            ]
            content = ContentDistribution(dht=dht, node_id=node.node_id)
            content_id = await content.publish_content(b"a content")
            assert await content.retrieve_content(content_id) == b"a content"
            assert await PubSubManager(dht).publish("t", b"x", ready_timeout=0.05) == 0
            assert (await dht.get_stats())["peers"] == 0
            await dht.stop()
            await dht.stop()
            with pytest.raises(errors.STTStoppedError):
                await dht.store("key", b"value")

    run(main)


def test_members_find_each_other_values_and_providers() -> None:
    async def main() -> None:
        async with two() as (a, b), member("c", a.node) as c:
            assert await b.store("key", b"value") >= 2
            for dht in (a, b, c):
                assert await dht.find_value("key") == b"value"
                assert await dht.find_value("key", b.node.node_id) == b"value"
            with pytest.raises(STTSwarmError) as taken:
                await a.store("key", b"another")
            assert taken.value.code == "swarm.taken" and taken.value.hint
            with pytest.raises(STTSwarmError) as long:
                await b.store("long", bytes(20_000))
            assert long.value.code == "swarm.too_large"

            await b.announce_provider("file")
            async with asyncio.timeout(60):
                while not (found := await c.find_providers("file", count=1)):
                    await asyncio.sleep(0.05)
            assert found == [DHTNode(b.node.node_id, *b.node.local_address)]
            assert await c.ping(found[0]) and await c.ping(a.node.node_id)
            session = await c.connect(b.node.node_id.hex())
            assert session.peer_node_id == b.node.node_id
            near = await b.find_node(a.node.node_id)
            assert a.node.node_id in [one.node_id for one in near]
            peers = await b.get_peers()
            assert {one.node_id for one in peers} >= {a.node.node_id}
            assert "running" in repr(a) and local.SHARED.decode() not in repr(a)

    run(main)


def test_a_second_table_on_a_node_joins_the_first() -> None:
    async def main() -> None:
        async with local.started() as node:
            first, second = KademliaDHT(node=node), KademliaDHT(node_id=node.node_id.hex())
            await first.start()
            await second.start()
            await first.store("key", b"value")
            await first.stop()
            assert await second.find_value("key") == b"value"
            await second.stop()
            # Once all left, it begins anew.
            async with KademliaDHT() as third:
                assert await third.find_value("key") is None
                with pytest.raises(ValueError, match="one at a time"):
                    await KademliaDHT(node=node, swarm="another").start()

    run(main)


def test_what_it_cannot_be_is_a_clear_error() -> None:
    async def main() -> None:
        with pytest.raises(errors.STTStoppedError, match="start an STTNode first"):
            await KademliaDHT(bytes(32)).start()
        with pytest.raises(errors.STTSettingError, match="k is 20"):
            KademliaDHT(bytes(32), k=8)
        async with local.started() as node, local.started("other"):
            with pytest.raises(errors.STTStoppedError, match="more than one"):
                await KademliaDHT().start()
            port = node.local_address[1] ^ 1
            with pytest.raises(errors.STTSettingError, match="no port of its own"):
                await KademliaDHT(node.node_id, port=port).start()
            async with KademliaDHT(node=node) as dht:
                with pytest.raises(errors.STTSettingError):
                    ContentDistribution(dht, bytes(32))
                with pytest.raises(STTSwarmError) as nobody:
                    await dht.bootstrap([("127.0.0.1", 9)])
                assert nobody.value.code == "swarm.no_bootstrap" and nobody.value.retry_helps
                assert not await dht.ping(bytes(32))

    run(main)


# --- messages ---


def test_handlers_of_every_kind_get_messages_in_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with two() as (a, b):
            publisher, subscriber = PubSubManager(a), PubSubManager(b)
            got: list[tuple[str, str, bytes, bytes]] = []
            loop = asyncio.get_running_loop()

            def plain(topic: str, data: bytes, publisher: DHTNode) -> None:
                assert asyncio.get_running_loop() is loop
                got.append(("plain", topic, data, publisher.node_id))

            async def waiting(topic: str, data: bytes, publisher: DHTNode) -> None:
                await asyncio.sleep(0)
                assert publisher.port == a.node.local_address[1]
                got.append(("waiting", topic, data, publisher.node_id))

            def wrong(topic: str, data: bytes, publisher: DHTNode) -> None:
                raise LookupError("mine")

            for handler in (plain, waiting, wrong):
                await subscriber.subscribe("t", handler)
            stream = await subscriber.subscribe("t")
            assert subscriber.get_stats()["total_subscribers"] == 4
            assert await publisher.publish("t", b"1", ready_timeout=READY) == 1
            message = await anext(stream)
            assert isinstance(message, Message) and message.data == b"1"
            await local.until(lambda: len(got) == 2 and "mine" in caplog.text)
            assert sorted(got) == [
                ("plain", "t", b"1", a.node.node_id),
                ("waiting", "t", b"1", a.node.node_id),
            ]
            # One's own subscribers count, and get it.
            assert await subscriber.publish("t", b"2") >= 4
            assert (second := await anext(stream)).data == b"2"
            assert second.publisher.node_id == b.node.node_id
            assert await subscriber.unsubscribe("t", plain)
            assert not await subscriber.unsubscribe("t", plain)
            assert await subscriber.unsubscribe("t")
            stream.close()
            assert [one async for one in stream] == []
            assert subscriber.get_stats()["topics"] == 0

    with caplog.at_level(logging.ERROR, "stt.dht"):
        run(main)


def test_no_subscribers_are_an_error_only_when_asked_for() -> None:
    async def main() -> None:
        async with two() as (a, _b):
            manager = PubSubManager(a)
            assert await manager.publish("t", b"x", ready_timeout=0.05) == 0
            with pytest.raises(STTSwarmError) as nobody:
                await manager.publish("t", b"x", ready_timeout=0.05, require_subscribers=True)
            assert nobody.value.code == "swarm.no_subscribers"

    run(main)


def test_large_messages_travel_as_content_and_too_large_ones_not_at_all() -> None:
    async def main() -> None:
        async with two() as (a, b):
            heard = await PubSubManager(b).subscribe("t")
            manager = PubSubManager(a)
            sizes = [60_000, 60_001, 3_000_000, 5]
            for size in sizes:
                assert await manager.publish("t", b"m" * size, ready_timeout=READY) == 1
            got = sorted([len((await anext(heard)).data) for _size in sizes])
            assert got == sorted(sizes)
            own: list[int] = []
            await manager.subscribe("t", lambda topic, data, publisher: own.append(len(data)))
            assert await manager.publish("t", b"m" * 60_001) >= 1
            await local.until(lambda: own == [60_001])
            with pytest.raises(ValueError) as too_large:
                await manager.publish("t", bytes((16 << 20) + 1))
            assert too_large.value.code == "swarm.too_large"

    run(main)


def test_a_large_message_that_is_gone_is_an_event() -> None:
    async def main() -> None:
        async with two() as (a, b):
            told: list[tuple[str, str]] = []
            b.node.events.register(
                "error", lambda error_type, details: told.append((error_type, details))
            )
            heard = await PubSubManager(b).subscribe("t")
            got: list[bytes] = []

            async def listen() -> None:
                async for message in heard:
                    got.append(message.data)

            listening = asyncio.create_task(listen())
            swarm = await a._swarm()
            wrong = [bytes(32), b"no hash"]
            for reference in wrong:
                await call(partial(_large, swarm, reference))
            await PubSubManager(a).publish("t", b"after", ready_timeout=READY)
            await local.until(lambda: len(told) == 2 and got == [b"after"])
            assert {code for code, _ in told} == {"content.not_found", "swarm.too_large"}
            assert heard.missed == 2
            heard.close()
            await listening

    run(main)


def _large(swarm: Any, reference: bytes, loop: Any) -> Any:
    return swarm.publish(loop, "t", reference, READY, True)


def test_giving_up_loses_no_message() -> None:
    async def main() -> None:
        async with two() as (a, b):
            heard = await PubSubManager(b).subscribe("t")
            manager = PubSubManager(a)

            async def publish() -> None:
                for number in range(60):
                    times = 40_000 if number % 20 == 0 else 1
                    message = number.to_bytes(2, "big") * times
                    assert await manager.publish("t", message, ready_timeout=READY) == 1

            publishing = asyncio.create_task(publish())
            got = []
            while len(got) < 60:
                try:
                    message = await asyncio.wait_for(anext(heard), 0.0005)
                    got.append(int.from_bytes(message.data[:2], "big"))
                except TimeoutError:
                    await asyncio.sleep(0)
            await publishing
            assert sorted(got) == list(range(60)) and heard.missed == 0

    run(main)


def test_messages_by_the_batch() -> None:
    async def main() -> None:
        async with two() as (a, b):
            here, there = PubSubManager(a), PubSubManager(b)
            assert await here.publish_many("t", [b"x", b"y"], ready_timeout=0.05) == [0, 0]
            with pytest.raises(errors.STTSwarmError) as nobody:
                await here.publish_many(
                    "t", [b"x"], ready_timeout=0.05, require_subscribers=True
                )
            assert nobody.value.code == "swarm.no_subscribers"
            heard = await there.subscribe("t")
            with pytest.raises(ValueError, match="most"):
                await heard.receive_many(0)
            sent = [b"%d" % number for number in range(300)]
            counts = await here.publish_many("t", sent, ready_timeout=READY)
            assert counts == [1] * 300
            got: list[Message] = []
            while len(got) < 300:
                # Given up, it has taken nothing.
                with contextlib.suppress(TimeoutError):
                    some = await asyncio.wait_for(heard.receive_many(50), 0.002)
                    assert 1 <= len(some) <= 50
                    got += some
                await asyncio.sleep(0)
            assert sorted(one.data for one in got) == sorted(sent)
            large = b"m" * 60_001
            both = [b"small", large]
            assert await here.publish_many("t", both, ready_timeout=READY) == [1, 1]
            last: list[Message] = []
            while len(last) < 2:
                last += await heard.receive_many()
            assert {one.data for one in last} == {b"small", large}
            heard.close()
            assert await heard.receive_many() == [] and heard.missed == 0

    run(main)


# --- content ---


def test_content_from_members_and_by_the_table(tmp_path: Path) -> None:
    async def main() -> None:
        async with two() as (a, b), member("c", a.node, chamber_path=tmp_path / "c") as c:
            theirs, ours = ContentDistribution(b), ContentDistribution(c)
            data = b"content" * 100_000
            content_id = await theirs.publish_content(data)
            assert content_id == content_hash(data)
            while True:
                # Nobody confirms that it knows a provider.
                with contextlib.suppress(KeyError):
                    got = await ours.retrieve_content(content_id, parallel_sources=1)
                    break
            assert got == data and (await ours.get_stats())["retrieved"] == 1
            assert (await theirs.get_stats())["bytes_served"] >= len(data)
            with pytest.raises(KeyError) as absent:
                await ours.retrieve_content(bytes(32), timeout=1.0)
            assert absent.value.code == "content.not_found"
            with pytest.raises(errors.STTContentError) as large:
                await ours.retrieve_content(content_id, max_size=1000)
            assert large.value.code == "content.too_large"
            assert await theirs.unpublish_content(content_id)
            assert not await theirs.unpublish_content(content_id)
            with pytest.raises(KeyError):
                await ours.retrieve_content(content_id, timeout=1.0)
            with pytest.raises(ValueError, match="32 bytes"):
                await ours.retrieve_content(b"short")

            kept = await ours.publish_content(b"kept", persist=True)
            await ours.unpublish_content(kept)
            assert await ours.retrieve_content(kept) == b"kept"
            assert await c.node.chamber.get(kept) == b"kept"

    run(main)


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    async def turn(number: int) -> None:
        node = local.node("kept", chamber_path=tmp_path / "chamber", persistent_identity=True)
        await node.start(server_mode=True)
        async with node, KademliaDHT(node=node, persist=True) as dht:
            if number == 0:
                for key in ("kept", "given up"):
                    assert await dht.store(key, b"value") == 1
                assert await dht.forget("given up")
                assert not await dht.forget("given up")
            else:
                assert await dht.find_value("kept", node.node_id) == b"value"
                assert await dht.find_value("given up") is None

    async def main() -> None:
        for number in range(2):
            await turn(number)
        async with member("other") as dht:
            with pytest.raises(ValueError, match="persist"):
                await KademliaDHT(node=dht.node, persist=True).start()

    run(main)


def test_who_subscribes_to_a_content_is_told_of_it() -> None:
    async def main() -> None:
        async with two() as (a, b):
            told: list[tuple[bytes, bytes]] = []
            content = ContentDistribution(b)
            wanted = content_hash(b"awaited")

            def published(content_id: bytes, publisher: DHTNode) -> None:
                told.append((content_id, publisher.node_id))

            await content.subscribe(wanted, published)
            publisher = ContentDistribution(a)
            async with asyncio.timeout(60):
                while not told:
                    # That somebody subscribed spreads on its own.
                    await publisher.publish_content(b"awaited")
                    await asyncio.sleep(0.05)
            assert told[0] == (wanted, a.node.node_id)
            assert await content.unsubscribe(wanted, published)
            assert not await content.unsubscribe(wanted, published)

    run(main)


# --- files, folders, tickets ---


def test_files_and_folders_by_tickets(tmp_path: Path) -> None:
    async def main() -> None:
        movie, folder = tmp_path / "movie.bin", tmp_path / "album"
        movie.write_bytes(bytes(range(256)) * 12_000)
        (folder / "inner").mkdir(parents=True)
        (folder / "one").write_bytes(b"1")
        (folder / "inner" / "two").write_bytes(b"22")
        async with two() as (a, b):
            here, there = ContentDistribution(a), ContentDistribution(b)
            shared = await here.share(movie)
            assert (shared.name, shared.files, shared.is_folder) == ("movie.bin", 1, False)
            album = await here.share(folder)
            assert (album.size, album.files, album.is_folder) == (3, 2, True)
            assert {one.content_id for one in await here.shared()} == {
                *(shared.content_id, album.content_id),
            }
            ticket = await here.ticket(shared.content_id)
            read = ContentTicket.parse(f" {ticket.upper()} ")
            assert (read.content_id, read.size, read.name) == (
                *(shared.content_id, 3_072_000, "movie.bin"),
            )
            assert read.providers == (DHTNode(a.node.node_id, *a.node.local_address),)
            steps: list[tuple[str, int, int]] = []
            fetched = await there.fetch(
                ticket, tmp_path / "inbox", progress=lambda *step: steps.append(step)
            )
            assert fetched.path.read_bytes() == movie.read_bytes()
            assert (fetched.size, fetched.files, fetched.resumed) == (3_072_000, 1, 0)
            assert fetched.providers[a.node.node_id] == 3_072_000
            assert steps[-1] == ("done", 3_072_000, 3_072_000)
            fetched = await there.fetch(
                ContentTicket.parse(await here.ticket(album.content_id)),
                tmp_path / "inbox",
                name="again",
            )
            assert (fetched.path / "inner" / "two").read_bytes() == b"22"
            assert fetched.files == 2 and fetched.name == "again"
            with pytest.raises(KeyError):
                await there.ticket(shared.content_id)
            with pytest.raises(errors.STTContentError):
                await there.fetch(ticket[:-3], tmp_path / "inbox")
            assert await here.unpublish_content(shared.content_id)
            assert [one.name for one in await here.shared()] == ["album"]

    run(main)


def test_rarity_feeds_priorities_and_a_pool_has_the_nodes_sessions() -> None:
    async def main() -> None:
        async with two() as (a, b):
            manager = AdaptivePriorityManager(b)
            rare = await manager.assess(content_hash(b"rare"), timeout=0.5)
            assert rare.rarity == 1.0
            known = await ContentDistribution(a).publish_content(b"known")
            assert [one.node_id for one in await b.find_content(known)] == [a.node.node_id]
            found = await manager.assess(known)
            assert found.rarity == 0.5 and found.priority == rare.priority - 250
            session = await b.node.connect_udp(*a.node.local_address)
            assert ContentAffinityPool(b).get_session_for_content(known) == session

    run(main)
