"""Managed streams. The first tests are the Go examples of document 004, in Python."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import local
import pytest
from seigr_toolset_transmissions import STTBackpressureError, errors
from seigr_toolset_transmissions.streaming import (
    BidirectionalStream,
    Event,
    FlowController,
    StreamConfig,
    StreamEvent,
    StreamingService,
    StreamManager,
    StreamMultiplexer,
)

log = logging.getLogger("test")


def run(test: Callable[[], Any]) -> None:
    """Nothing here may wait for ever."""

    async def limited() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(limited())


# --- the document's examples ---


def test_default_configuration() -> None:
    config = StreamConfig()
    assert (config.buffer_size, config.max_retries, config.retry_delay) == (1000, 3, 1.0)
    assert (config.backpressure_limit, config.heartbeat_interval) == (100, 30.0)
    assert config.timeout == 5 * 60


def test_creating_a_stream() -> None:
    async def main() -> None:
        stream_manager = StreamManager(StreamConfig())
        stream = stream_manager.create_stream("my-stream-id")
        try:
            await stream.send_message("Hello, World!")
        except errors.STTStreamError as error:
            log.error("Failed to send message: %s", error)
        assert await stream.receive_message() == b"Hello, World!"

    run(main)


def test_bidirectional_streaming() -> None:
    async def main() -> None:
        config = StreamConfig(auto_acknowledge=False)
        async with (
            local.pair() as (_server, theirs, _client, ours),
            StreamManager(config) as stream_manager,
            StreamManager(config) as far,
        ):
            stream = stream_manager.new_bidirectional_stream(
                "bidirectional-stream", ours.open_stream(7)
            )
            server = far.new_bidirectional_stream("bidirectional-stream", theirs.get_stream(7))
            assert stream.flow_control == FlowController(1000, 1000)
            await stream.send("Hello, Server!")
            assert await server.receive() == b"Hello, Server!"
            assert stream.flow_control == FlowController(1000, 999)
            await server.send("Hello, Client!")
            message = await stream.receive()
            assert message == b"Hello, Client!"
            assert stream.acknowledge()
            # One too many lifts no window.
            assert server.acknowledge() and not server.acknowledge()
            await local.until(lambda: stream.flow_control.current_window == 1000)

    run(main)


def test_a_bidirectional_stream_inside_this_process() -> None:
    async def main() -> None:
        stream = StreamManager().new_bidirectional_stream("bidirectional-stream")
        await stream.send("Hello, Server!")
        assert await stream.receive() == b"Hello, Server!"
        # It was acknowledged already.
        assert not stream.acknowledge()

    run(main)


def test_stream_multiplexing() -> None:
    async def main() -> None:
        manager = StreamManager()
        stream1, stream2 = manager.create_stream("a"), manager.create_stream("b")
        multiplexer = StreamMultiplexer()
        multiplexer.add_stream("stream1", stream1)
        multiplexer.add_stream("stream2", stream2)
        results = multiplexer.broadcast_message("Broadcast message")
        assert results == {"stream1": None, "stream2": None}
        stats = multiplexer.get_stats()
        assert {name: one["buffer_size"] for name, one in stats.items()} == {
            "stream1": 1,
            "stream2": 1,
        }
        for stream in (stream1, stream2):
            assert await stream.receive_message() == b"Broadcast message"
        assert multiplexer.get_stream("stream1").id == "a"
        assert multiplexer.remove_stream("stream2").id == "b"
        with pytest.raises(KeyError):
            multiplexer.get_stream("stream2")
        with pytest.raises(errors.STTStreamExistsError):
            multiplexer.add_stream("stream1", stream2)

    run(main)


def test_event_broadcasting() -> None:
    async def main() -> None:
        service = StreamingService()
        events = service.subscribe_to_file_operation_events("subscriber-1")
        received: list[Event] = []

        async def listen() -> None:
            async for event in events:
                received.append(event)

        listening = asyncio.create_task(listen())
        assert service.emit_file_operation("upload", "a.txt", "taken in") == 1
        await local.until(lambda: received)
        with pytest.raises(errors.STTStreamExistsError):
            service.subscribe_to_file_operation_events("subscriber-1")
        service.unsubscribe_from_file_operation_events("subscriber-1")
        await listening
        [event] = received
        assert (event.kind, event.subject, event.message) == ("upload", "a.txt", "taken in")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.timestamp)
        with pytest.raises(KeyError):
            service.unsubscribe_from_file_operation_events("subscriber-1")

    run(main)


def test_stream_statistics_and_service_health_check() -> None:
    async def main() -> None:
        service = StreamingService()
        stream = service.manager.create_stream("stream-1")
        for _number in range(50):
            await stream.send_message("one of 50")
        stats = stream.get_stats()
        assert set(stats) == {
            *("id", "buffer_size", "max_buffer", "retry_count", "last_activity"),
            *("backpressure", "healthy", "uptime"),
        }
        assert (stats["id"], stats["buffer_size"], stats["max_buffer"]) == ("stream-1", 50, 1000)
        assert not stats["backpressure"] and stats["healthy"] and stats["uptime"].endswith("s")
        events = service.subscribe_to_health_events("watcher")
        health = service.health_check()
        assert set(health) == {
            *("status", "total_streams", "healthy_streams", "subscribers", "timestamp"),
        }
        assert (health["status"], health["total_streams"], health["subscribers"]) == (
            *("healthy", 1),
            1,
        )
        assert service.get_stream_stats()["streams"] == {"stream-1": stream.get_stats()}
        assert service.get_stream_stats()["active_streams"] == 1
        # Who subscribed to the node is told of its end; then all subscriptions end.
        system = service.subscribe_to_system_events("watcher")
        for _number in range(50):
            await stream.receive_message()
        assert await service.shutdown()
        assert [event.kind async for event in system] == ["shutdown"]
        assert [event async for event in events] == []
        assert service.health_check()["status"] == "unknown"

    run(main)


def test_retry_logic_and_error_types() -> None:
    async def main() -> None:
        manager = StreamManager(StreamConfig(max_retries=2, retry_delay=0.001))
        events = manager.events()
        async with local.started() as server, local.node("client") as node:
            server.disable_accept_connections()
            stream = manager.connect_stream("orders", node, server.local_address)
            with pytest.raises(errors.STTStreamError) as exhausted:
                await stream.receive()
        assert exhausted.value.code == "streams.retries_exhausted"
        assert "max retries exceeded" in str(exhausted.value)
        kinds: list[StreamEvent] = []
        async for event in events:
            kinds.append(event)
            if event.kind == "ended":
                break
        assert kinds[0] == StreamEvent("orders", "created")
        assert kinds[-1].fields["cause"] == exhausted.value.code
        assert not stream.is_healthy() and stream.ended is not None

    run(main)


def test_backpressure_detection() -> None:
    async def main() -> None:
        stream = StreamManager().create_stream("full")
        for number in range(100):
            stream.try_send_message(b"%d" % number)
        with pytest.raises(asyncio.QueueFull, match="backpressure detected") as full:
            stream.try_send_message("one more")
        assert isinstance(full.value, STTBackpressureError) and full.value.retry_helps
        assert stream.get_stats()["backpressure"]
        assert stream.get_metrics()["backpressure"]
        waiting = asyncio.ensure_future(stream.send_message("waits"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        got = []
        while len(got) < 101:
            got += await stream.receive_many(60)
        await waiting
        assert got == [*(b"%d" % number for number in range(100)), b"waits"]
        assert not stream.get_stats()["backpressure"]

    run(main)


# --- between two nodes ---


def test_a_stream_goes_on_after_its_session_ended() -> None:
    async def main() -> None:
        # A small window: when the session ends, most messages have yet to go.
        config = StreamConfig(buffer_size=100)
        ours, theirs = StreamManager(config), StreamManager(config)
        async with local.started() as server, local.node("client") as client:
            sender = ours.connect_stream("orders", client, server.local_address)

            async def send() -> None:
                for number in range(400):
                    await sender.send("%d" % number)
                await sender.close()

            sending = asyncio.create_task(send())
            first = await server.accept()
            receiver = await theirs.accept(await first.accept_stream())
            assert isinstance(receiver, BidirectionalStream) and receiver.id == "orders"
            for number in range(400):
                if number == 100:
                    await first.close("the network changed")
                    second = await server.accept()
                    # It goes on where it was.
                    assert await theirs.accept(await second.accept_stream()) is None
                assert await receiver.receive() == b"%d" % number
            await sending
            with pytest.raises(errors.STTStreamClosedError, match="stream is closed"):
                await receiver.receive()
            with pytest.raises(BrokenPipeError):
                await receiver.send("late")
            assert [message async for message in receiver] == []

    run(main)


def test_two_ends_over_one_stream_of_a_session() -> None:
    async def main() -> None:
        async with local.pair() as (_server, theirs, _client, ours):
            over, far = ours.open_stream(7), theirs.get_stream(7)
            async with StreamManager() as here, StreamManager() as there:
                a = here.new_bidirectional_stream("chat", over)
                b = there.new_bidirectional_stream("chat", far)
                await a.send_batch([b"%d" % number for number in range(300)])
                got: list[bytes] = []
                while len(got) < 300:
                    got += await b.receive_many(100)
                assert got == [b"%d" % number for number in range(300)]
                await b.send_error("no such file")
                await b.send("goes on")
                with pytest.raises(errors.STTPeerError, match="no such file"):
                    await a.receive()
                assert await a.receive() == b"goes on"
                assert a.try_receive_message() is None
                assert here.get_stream("chat").id == "chat" and len(here.list_streams()) == 1
                with pytest.raises(errors.STTStreamExistsError):
                    here.create_stream("chat")
                await here.close_stream("chat")
                with pytest.raises(KeyError):
                    here.get_stream("chat")

    run(main)


def test_giving_up_loses_nothing() -> None:
    async def main() -> None:
        stream = StreamManager(StreamConfig(backpressure_limit=5)).create_stream("s")

        async def send() -> None:
            for number in range(300):
                await stream.send_message(b"%d" % number)
                if number % 7 == 0:
                    await asyncio.sleep(0.0002)

        sending = asyncio.create_task(send())
        got = []
        while len(got) < 300:
            try:
                got.append(await asyncio.wait_for(stream.receive_message(), 0.0001))
            except TimeoutError:
                await asyncio.sleep(0)
        await sending
        assert got == [b"%d" % number for number in range(300)]

    run(main)


def test_settings_out_of_range() -> None:
    for wrong in (StreamConfig(buffer_size=0), StreamConfig(timeout=0.0)):
        with pytest.raises(errors.STTSettingError) as refused:
            StreamManager(wrong)
        assert refused.value.code == "streams.out_of_range"
    with pytest.raises(errors.STTSettingError):
        StreamManager(max_streams=0)

    async def main() -> None:
        manager = StreamManager(max_streams=1)
        with pytest.raises(errors.STTSettingError):
            manager.create_stream("")
        stream = manager.create_stream("only")
        with pytest.raises(errors.STTStreamError) as many:
            manager.create_stream("second")
        assert many.value.code == "streams.too_many"
        with pytest.raises(ValueError):
            await stream.send_message(bytes((1 << 20) + 1))
        with pytest.raises(ValueError, match="one of"):
            StreamingService(manager).emit_peer("wrong", "peer")
        stream.abort()
        with pytest.raises(errors.STTStreamClosedError):
            await stream.receive_message()

    run(main)
