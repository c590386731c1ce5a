"""Storage addressed by hash."""

from __future__ import annotations

import asyncio
from pathlib import Path

import local
import pytest
from seigr_toolset_transmissions import BinaryStorage, Chamber, STTNode, errors

KEY = bytes(range(32))


def test_by_hash_and_by_name() -> None:
    async def main() -> None:
        chamber = Chamber(KEY)
        address = await chamber.put(bytearray(b"value"))
        assert len(address) == 32 and await chamber.get(address) == b"value"
        assert await chamber.put("name", b"named") == await chamber.resolve("name")
        assert await chamber.get("name") == b"named"
        assert await chamber.get_range(address, 1, 3) == b"al"
        assert await chamber.exists("name") and not await chamber.exists("another")
        assert set(await chamber.contents()) == {address, (await chamber.names())["name"]}
        await chamber.remove(address)
        with pytest.raises(KeyError) as caught:
            await chamber.get(address)
        assert isinstance(caught.value, errors.STTStorageError)
        assert caught.value.code == "store.not_found"
        with pytest.raises(ValueError):
            await chamber.get(b"short")
        with pytest.raises(TypeError):
            await chamber.put(b"a", b"b")

    asyncio.run(main())


def test_on_disk_it_outlives_the_object(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000

    async def write() -> bytes:
        storage = BinaryStorage(KEY, tmp_path / "store")
        return await storage.store(data)

    async def read(address: bytes) -> None:
        storage = BinaryStorage(KEY, tmp_path / "store")
        assert await storage.retrieve(address) == data
        assert (await storage.get_stats())["contents"] == 1
        assert str(tmp_path) in (storage.place or "")

    asyncio.run(read(asyncio.run(write())))

    async def steal() -> None:
        with pytest.raises(errors.STTStorageError) as caught:
            await BinaryStorage(KEY[::-1], tmp_path / "store").store(b"x")
        assert caught.value.code == "store.wrong_seed"

    asyncio.run(steal())


def test_a_quota_holds_and_what_was_begun_is_finished() -> None:
    async def main() -> None:
        chamber = Chamber(KEY, quota=100_000)
        with pytest.raises(errors.STTStorageError) as caught:
            await chamber.put(bytes(200_000))
        assert caught.value.code == "store.quota"
        putting = asyncio.create_task(chamber.put("kept", b"x" * 50_000))
        await asyncio.sleep(0)
        putting.cancel()
        # It may have been quicker than that.
        await asyncio.wait([putting])

        async def there() -> None:
            while not await chamber.exists("kept"):
                await asyncio.sleep(0.001)

        await asyncio.wait_for(there(), 60)

    asyncio.run(main())


def test_the_chamber_of_a_node_is_closed_with_it(tmp_path: Path) -> None:
    def kept() -> STTNode:
        return local.node("kept", chamber_path=tmp_path / "chamber")

    async def main() -> None:
        async with kept() as first, kept() as second:
            address = await first.chamber.put(b"value")
            with pytest.raises(errors.STTStorageError) as caught:
                await second.chamber.get(address)
            assert caught.value.code == "store.in_use"
            await first.stop()
            # The first one is referred to still, and so is its chamber.
            with pytest.raises(errors.STTStoppedError):
                await first.chamber.get(address)
            assert await second.chamber.get(address) == b"value"

    asyncio.run(main())
