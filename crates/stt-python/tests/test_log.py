"""The durable log, and what a chamber can do beyond the documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from seigr_toolset_transmissions import BinaryStorage, DurableLog, STCWrapper, errors
from seigr_toolset_transmissions.log import DeadLetter, Position
from stc import content_hash

KEY = bytes(range(32))


def run(test: Callable[[], Any]) -> None:
    """Nothing here may wait for ever."""

    async def limited() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(limited())


def test_records_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with DurableLog(KEY, tmp_path / "orders") as log:
            first = await log.append(b"order 1")
            await log.append_all([b"order 2", bytearray(b"order 3")])
            records = await log.read()
            assert [one.data for one in records] == [b"order 1", b"order 2", b"order 3"]
            assert records[0].position == first and records[0].time > 1_700_000_000_000
            assert log.get_stats()["end"] == records[-1].next
            with pytest.raises(errors.STTStorageError) as used:
                await DurableLog(KEY, tmp_path / "orders").open()
            assert used.value.code == "store.in_use"
            following = log.follow(records[-1].next)
            waiting = asyncio.create_task(anext(following))
            await log.append(b"order 4")
            assert (await waiting).data == b"order 4"
            await following.aclose()
        with pytest.raises(RuntimeError, match="not open"):
            await log.append(b"late")
        async with DurableLog(KEY, tmp_path / "orders") as again:
            assert [one.data for one in await again.read(records[2].next)] == [b"order 4"]
            with pytest.raises(errors.STTLogError) as foreign:
                await again.read(Position(7, 2))
            assert foreign.value.code == "log.epoch_changed"
        with pytest.raises(errors.STTStorageError):
            await DurableLog(bytes(32), tmp_path / "orders").open()
        with pytest.raises(TypeError):
            DurableLog(b"short", tmp_path / "other")
        with pytest.raises(errors.STTStorageError):
            await DurableLog(KEY, tmp_path / "other", segment_bytes=1).open()

    run(main)


def test_a_consumer_gets_each_record_until_it_acknowledges(tmp_path: Path) -> None:
    async def main() -> None:
        async with DurableLog(KEY, tmp_path / "jobs") as log:
            await log.append_all([b"%d" % number for number in range(5)])
            async with await log.consumer("worker", max_deliveries=2) as worker:
                done = await worker.next()
                assert (done.data, done.deliveries) == (b"0", 1)
                await done.ack()
                with pytest.raises(RuntimeError, match="settled"):
                    await done.ack()
                dropped = await worker.next()
                assert dropped.data == b"1"
                del dropped
                again = await worker.next()
                assert (again.data, again.deliveries) == (b"1", 2)
                again.ack_soon()
                await (await worker.next()).reject("it makes no sense")
                [letter] = await (await log.dead_letters()).read()
                dead = DeadLetter.from_record(letter)
                assert (dead.consumer, dead.data) == ("worker", b"2")
                assert dead.reason == "it makes no sense" and dead.position.offset == 2
                lease = (await worker.next()).detach()
                worker.extend(lease)
                await worker.ack(lease)
                with pytest.raises(errors.STTLeaseEndedError):
                    await worker.ack(lease)
                last = await worker.next()
                last.retry(0.0, "busy")
                assert (await worker.next()).data == b"4"
                stats = worker.get_stats()
                assert stats["acknowledged"] == 3 and stats["dead"] == 1
                [info] = await log.consumers()
                assert (info.name, info.is_open) == ("worker", True)
            late = await log.consumer("late", from_end=True)
            waiting = asyncio.create_task(anext(late))
            await asyncio.sleep(0)
            waiting.cancel()
            await log.append(b"new")
            assert (await late.next()).data == b"new"
            await late.close()
            await log.reset_consumer("late", Position())
            async with await log.consumer("late") as once_more:
                assert [one.data for one in await once_more.next_batch(2)] == [b"0", b"1"]
            await log.remove_consumer("late")
            assert [one.name for one in await log.consumers()] == ["worker"]

    run(main)


def test_a_log_under_a_wrapper(tmp_path: Path) -> None:
    async def main() -> None:
        secret = STCWrapper("velvet turnip ocean quarrel 77 lantern")
        async with DurableLog(secret, tmp_path / "log", keep_age=3600.0) as log:
            assert "turnip" not in repr(log)
            await log.append(b"x")
            assert len(await log.read(max_records=1)) == 1

    run(main)


# --- chambers ---


def test_pieces_and_files(tmp_path: Path) -> None:
    async def main() -> None:
        storage = BinaryStorage(KEY, tmp_path / "store")
        whole = bytes(range(256)) * 10_000

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(whole), 100_000):
                yield whole[start : start + 100_000]

        address = await storage.put_pieces(pieces(), name="streamed")
        assert address == content_hash(whole)
        assert b"".join([piece async for piece in storage.pieces("streamed")]) == whole
        sizes = [len(piece) async for piece in storage.pieces(address, 1_000_000)]
        assert sizes == [1_000_000, 1_000_000, 560_000]
        path = tmp_path / "file"
        path.write_bytes(b"in a file")
        assert await storage.put_file(path) == content_hash(b"in a file")
        assert await storage.put_pieces([b"a", b"b"]) == content_hash(b"ab")

        async def failing() -> AsyncIterator[bytes]:
            yield b"half a value"
            raise LookupError("mine")

        with pytest.raises(LookupError):
            await storage.put_pieces(failing(), name="half")
        assert "half" not in await storage.names()
        assert not await storage.exists(content_hash(b"half a value"))

    run(main)


def test_what_stays_and_what_is_collected() -> None:
    async def main() -> None:
        storage = BinaryStorage(KEY)
        kept = await storage.put(b"kept")
        cached = await storage.put(b"cached", cached=True)
        await storage.set_name("a", kept)
        await storage.set_name("b", kept)
        infos = {one.address: one for one in await storage.contents_info()}
        assert sorted(infos[kept].names) == ["a", "b"] and infos[kept].pinned
        assert not infos[cached].pinned and infos[cached].length == 6
        async with storage.protect(cached):
            assert (await storage.collect())["contents"] == 0
        assert (await storage.collect(dry_run=True))["contents"] == 1
        await storage.pin(cached)
        assert (await storage.collect())["contents"] == 0
        await storage.unpin(cached)
        assert (await storage.collect())["contents"] == 1
        assert await storage.contents() == [kept]
        await storage.set_quota(1)
        with pytest.raises(errors.STTStorageError):
            await storage.put(bytes(10_000))
        await storage.set_quota(None)
        await storage.put(bytes(10_000))

    run(main)


def test_damage_is_found_and_removed(tmp_path: Path) -> None:
    async def main() -> None:
        storage = BinaryStorage(KEY, tmp_path / "store")
        await storage.put("name", bytes(range(256)) * 20_000)
        report = await storage.verify()
        assert (report["contents"], report["problems_found"]) == (1, 0)
        largest = max(
            (path for path in (tmp_path / "store").rglob("*") if path.is_file()),
            key=lambda path: path.stat().st_size,
        )
        raw = bytearray(largest.read_bytes())
        raw[len(raw) // 2] ^= 1
        largest.write_bytes(raw)
        report = await storage.verify()
        assert report["damaged"] == 1 and report["problems_found"] >= 1
        problem = next(one for one in report["problems"] if one.blob is not None)
        assert problem.names == ["name"] and problem.text
        with pytest.raises(errors.STTStorageError, match="kept by the name"):
            await storage.remove_unreadable(problem.blob)
        await storage.remove("name")
        if (await storage.verify())["damaged"]:
            await storage.remove_unreadable(problem.blob)
        assert (await storage.verify())["damaged"] == 0

    run(main)
