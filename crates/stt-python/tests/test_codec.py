"""Segments over any carrier."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from seigr_toolset_transmissions import STCWrapper, StreamDecoder, StreamEncoder, errors

KEY = bytes(range(32))
SESSION = b"session!"


async def listed(segments: AsyncIterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [one async for one in segments]


def test_in_any_order_and_more_than_once() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, SESSION, 1, segment_size=100, role="initiator")
        decoder = StreamDecoder(KEY, SESSION, 1, segment_size=100, role="initiator")
        data = random.randbytes(3000)
        segments = await listed(encoder.send(memoryview(data)))
        segments += await listed(encoder.finish())
        random.shuffle(segments)
        for number, segment in segments + segments[:3]:
            decoder.receive_segment(segment, number)
        got = [part async for part in decoder]
        assert b"".join(got) == data and decoder.is_finished
        assert decoder.get_stats()["duplicates"] == 3

    asyncio.run(main())


def test_more_segments_than_a_window_without_credit() -> None:
    async def main() -> None:
        encoder, decoder = StreamEncoder(KEY, SESSION, 1), StreamDecoder(KEY, SESSION, 1)
        got = b""
        for turn in range(200):
            async for number, segment in encoder.send(bytes([turn])):
                assert decoder.receive_segment(segment, number) == "new"
            got += await decoder.receive_all()
        assert got == bytes(range(200))

    asyncio.run(main())


def test_with_flow_control_send_waits_for_credit() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, SESSION, 1, segment_size=16, window=4, flow_control=True)
        decoder = StreamDecoder(KEY, SESSION, 1, segment_size=16, window=4)
        data, sent = bytes(range(160)), 0

        async def send() -> None:
            nonlocal sent
            async for _number, segment in encoder.send(data):
                sent += 1
                decoder.receive_segment(segment)

        task = asyncio.create_task(send())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sent == 4 and not task.done()
        got = b""
        while not task.done():
            got += await decoder.receive_all()
            encoder.grant(decoder.credit)
            await asyncio.sleep(0)
        assert got + await decoder.receive_all() == data

    asyncio.run(main())


def test_credit_that_comes_between_two_segments_leaves_nothing_behind() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, SESSION, 1, segment_size=16, window=1, flow_control=True)
        decoder = StreamDecoder(KEY, SESSION, 1, segment_size=16, window=1)
        data, got = bytes(range(160)), b""
        async for _number, segment in encoder.send(data):
            decoder.receive_segment(segment)
            got += await decoder.receive_all()
            # The encoder is let on before it looks whether it has to wait.
            encoder.grant(decoder.credit)
        assert got == data

    asyncio.run(main())


def test_a_loop_that_ends_early_leaves_its_segments_to_the_next_one() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, SESSION, 1, segment_size=16)
        decoder = StreamDecoder(KEY, SESSION, 1, segment_size=16)
        async for _number, segment in encoder.send(bytes(range(64))):
            decoder.receive_segment(segment)
            break
        async for _number, segment in encoder.send(bytes(range(64, 80))):
            decoder.receive_segment(segment)
        assert await decoder.receive_all() == bytes(range(80))

    asyncio.run(main())


def test_a_reset_forgets_what_was_not_sent() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, SESSION, 1, segment_size=16)
        decoder = StreamDecoder(KEY, SESSION, 1, segment_size=16)
        async for _number, segment in encoder.send(bytes(64)):
            decoder.receive_segment(segment)
            break
        encoder.reset()
        async for _number, segment in encoder.send(b"anew"):
            decoder.receive_segment(segment)
        assert (await decoder.receive_all()).endswith(b"anew")

    asyncio.run(main())


def test_the_end_waits_for_credit_too() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, SESSION, 1, segment_size=16, window=1, flow_control=True)
        decoder = StreamDecoder(KEY, SESSION, 1, segment_size=16, window=1)
        async for _number, segment in encoder.send(b"x"):
            decoder.receive_segment(segment)

        async def finish() -> None:
            async for _number, segment in encoder.finish():
                decoder.receive_segment(segment)

        task = asyncio.create_task(finish())
        await asyncio.sleep(0)
        assert not task.done()
        assert await decoder.receive_all() == b"x"
        encoder.grant(decoder.credit)
        await asyncio.wait_for(task, 60)
        assert encoder.is_finished

    asyncio.run(main())


def test_receive_waits_and_can_be_cancelled() -> None:
    async def main() -> None:
        encoder, decoder = StreamEncoder(KEY, SESSION, 1), StreamDecoder(KEY, SESSION, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(decoder.receive(), 0.01)
        waiting = asyncio.create_task(decoder.receive())
        await asyncio.sleep(0)
        [(number, segment)] = await listed(encoder.send(b"data"))
        decoder.receive_segment(number, segment)
        assert await asyncio.wait_for(waiting, 60) == b"data"

    asyncio.run(main())


def test_what_does_not_belong_is_refused() -> None:
    async def main() -> None:
        [(number, segment)] = await listed(StreamEncoder(KEY, SESSION, 1).send(b"x"))
        other: tuple[Any, ...]
        for other in ((KEY[::-1], SESSION, 1), (KEY, b"another", 1), (KEY, SESSION, 2)):
            with pytest.raises(errors.STTCryptoError) as caught:
                StreamDecoder(*other).receive_segment(segment)
            assert caught.value.code == "codec.forged"
        decoder = StreamDecoder(KEY, SESSION, 1)
        with pytest.raises(ValueError, match="number 5"):
            decoder.receive_segment(segment, 5)
        with pytest.raises(TypeError):
            decoder.receive_segment(number)
        assert await decoder.receive_all() == b""

    asyncio.run(main())


def test_arguments() -> None:
    with pytest.raises(ValueError):
        StreamEncoder(KEY, SESSION, 1, "dead")
    with pytest.raises(ValueError):
        StreamEncoder(KEY, SESSION, 1, "bounded")
    with pytest.raises(TypeError):
        StreamEncoder(b"short", SESSION, 1)


def test_a_wrapper_is_made_beside_the_loop_and_shows_nothing() -> None:
    async def main() -> None:
        wrapper = STCWrapper("a seed of the tests, longer than 32 bytes")
        assert "seed of" not in repr(wrapper)
        encoder, decoder = StreamEncoder(wrapper, SESSION, 1), StreamDecoder(wrapper, SESSION, 1)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async for number, segment in encoder.send(b"x"):
            decoder.receive_segment(segment, number)
        counting.cancel()
        assert turns > 5
        assert await decoder.receive_all() == b"x"
        assert wrapper.generate_node_id("me") != wrapper.generate_node_id("me")

    asyncio.run(main())


@pytest.mark.parametrize("name", ["stc", "seigr_toolset_transmissions", "core.streaming"])
def test_each_package_can_be_imported_first(name: str) -> None:
    program = f"import threading, {name}; assert threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
