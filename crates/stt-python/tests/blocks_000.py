"""Document 000: common patterns."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
from types import SimpleNamespace
from typing import Any

import local
import pytest
from fragments import Run, Stop, fragment
from seigr_toolset_transmissions import (
    ConnectionTimeoutError,
    STCWrapper,
    STTSession,
    STTStream,
)
from seigr_toolset_transmissions.dht import (
    ContentDistribution,
    DHTNode,
    KademliaDHT,
    PubSubManager,
)
from stc import content_hash


@fragment("000-01", "the endless loop ends with the camera's last picture")
async def _(run: Run):
    pictures = [bytes([number]) * 70_000 for number in range(3)]
    shown: list[bytes] = []
    sent: list[bytes] = []

    class Camera:
        left = list(pictures)

        def capture(self) -> bytes:
            if not self.left:
                raise Stop
            return self.left.pop(0)

    class Codec:
        encode = decode = staticmethod(lambda picture: picture)

    class Transport:
        async def send_to_peer(self, segment: bytes) -> None:
            sent.append(segment)

    result = yield {
        "session_id": b"session1",
        "stream_id": 1,
        "camera": Camera(),
        "your_h264_encoder": Codec,
        "your_h264_decoder": Codec,
        "transport": Transport(),
        "display": shown.append,
    }
    with contextlib.suppress(Stop):
        await result["stream_video"]()
    assert shown == pictures
    assert len(sent) == 6 and all(picture[:1000] not in b"".join(sent) for picture in pictures)


@fragment("000-02", "a storage without a path lives in memory")
async def _(run: Run):
    index: dict[str, dict[int, bytes]] = {"sensor_01": {}}
    result = yield {"your_index": index}
    await result["store_sensor_readings"]()
    [address] = index["sensor_01"].values()
    assert len(address) == 32
    assert list(run.folder.iterdir()) == []


@fragment("000-03", "the viewers are added while the block's first message waits for one of them")
async def _(run: Run):
    got: list[tuple[bytes, bytes]] = []
    picture = bytes(70_000)
    result = yield {
        "stc": STCWrapper(local.SHARED),
        "session_id": b"session1",
        "stream_id": 1,
        "your_encoder": SimpleNamespace(encode=lambda picture: picture),
        "frame": picture,
    }
    broadcasting = result["broadcast_to_viewers"]()
    task = asyncio.create_task(broadcasting)
    # The manager is a name inside of the function.
    await local.until(lambda: "encrypted_segment" in broadcasting.cr_frame.f_locals)
    manager = broadcasting.cr_frame.f_locals["endpoint_mgr"]
    manager.transport_send_callback = lambda endpoint, data: got.append((endpoint, data))
    viewers = [b"viewer_alice", b"viewer_bob", b"viewer_charlie"]
    for viewer in viewers:
        await manager.add_endpoint(viewer)
    await task
    assert [viewer for viewer, _data in got] == viewers * 2
    assert len({data for _viewer, data in got}) == 2 and picture[:1000] not in got[0][1]


@fragment("000-04")
async def _(run: Run):
    payload = (3).to_bytes(4, "big") + b"alice"
    result = yield {"frame_type": 0x80, "frame_payload": payload}
    assert result.output == "Handshake from alice, protocol v3\n"
    assert result["dispatcher"].get_stats() == {"handled": 1, "unknown": 0}


@fragment("000-05", "the server's function runs beside the client's lines")
async def _(run: Run):
    async with local.pair() as (_server, theirs, _client, ours):

        async def serve() -> None:
            await local.until(lambda: "handle_request" in run.names)
            await run.names["handle_request"](theirs)

        serving = asyncio.create_task(serve())
        result = yield {"session": ours, "process": lambda request: b"done: " + request}
        await serving
        assert result["response"] == b"done: GET /data" and result["stream"].is_closed()


@fragment("000-06", "a member elsewhere subscribed before, and publishes after it")
async def _(run: Run):
    with local.port(9337):
        async with (
            local.started("node", port=9337) as node,
            local.node("other") as other,
            KademliaDHT(node=node),
            KademliaDHT(node=other) as elsewhere,
        ):
            assert await elsewhere.bootstrap([node.local_address]) >= 1
            there = PubSubManager(elsewhere)
            heard = await there.subscribe("sensor_data")
            readings: list[float] = []
            result = yield {
                "my_node_id": node.node_id,
                "sensor_reading_bytes": b"25.3",
                "DHTNode": DHTNode,
                "deserialize": float,
                "process_reading": readings.append,
            }
            message = await anext(heard)
            assert (message.data, message.publisher.node_id) == (b"25.3", node.node_id)
            heard.close()
            while not readings:
                # That the block subscribed spreads on its own.
                await there.publish("sensor_data", b"26.5")
                await asyncio.sleep(0.05)
            assert set(readings) == {26.5}
            assert await result["pubsub"].unsubscribe("sensor_data")
            await result["dht"].stop()


@fragment("000-07", "the endless loops end once three messages came")
async def _(run: Run):
    async with local.pair() as (_server, theirs, _client, ours):
        received: list[bytes] = []
        sent = 0

        def get_data() -> bytes:
            nonlocal sent
            if len(received) == 3:
                raise Stop
            sent += 1
            return b"from here"

        async def answer() -> None:
            stream = theirs.get_stream(1)
            for number in range(3):
                assert await stream.receive() == b"from here"
                await stream.send(b"%d" % number)
            async for _message in stream:
                pass

        answering = asyncio.create_task(answer())
        stream = ours.open_stream(1)
        names = {"stream": stream, "get_data": get_data, "process": received.append}
        yield {**names, "asyncio": asyncio}
        await stream.close()
        await answering
        assert received == [b"0", b"1", b"2"]
        assert theirs.get_stream(1).get_stats()["messages_received"] == sent


@fragment("000-08")
async def _(run: Run):
    data = os.urandom((5 << 20) // 2)
    (run.folder / "file").write_bytes(data)
    result = yield {"os": os}
    async with local.pair() as (_server, theirs, _client, ours):
        with contextlib.redirect_stdout(output := io.StringIO()):
            sending = asyncio.create_task(
                result["send_file_with_progress"](ours.open_stream(), "file")
            )
            stream = await theirs.accept_stream()
            got = [message async for message in stream]
            await sending
        assert b"".join(got) == data and [len(one) for one in got] == [1 << 20, 1 << 20, 1 << 19]
        assert output.getvalue() == "Progress: 40.0%\nProgress: 80.0%\nProgress: 100.0%\n"


@fragment("000-09")
async def _(run: Run):
    async with local.started() as server, local.node("client") as node:

        def sender(text: bytes) -> Any:
            async def send(stream: STTStream) -> None:
                await stream.send(text)
                await stream.close()

            return send

        result = yield {
            "node": node,
            "peer_addr": server.local_address,
            "peer_id": server.node_id,
            "send_video": sender(b"video"),
            "send_audio": sender(b"audio"),
            "send_chat": sender(b"chat"),
            "asyncio": asyncio,
        }
        session = await server.accept()
        got = [await session.get_stream(number).receive() for number in (1, 2, 3)]
        assert got == [b"video", b"audio", b"chat"]
        assert result["stream_video"].max_frame_size == 32768
        assert result["session"].peer_node_id == server.node_id


@fragment("000-10", "the peer refuses once, then accepts")
async def _(run: Run):
    # The other exception that it names is the builtin one, which ours is as well.
    result = yield {"ConnectionTimeoutError": ConnectionTimeoutError, "asyncio": asyncio}
    robust_connect = result["robust_connect"]
    async with local.started() as server, local.node("client") as node:
        server.disable_accept_connections()
        target = (node, server.local_address, server.node_id)
        with pytest.raises(ConnectionRefusedError):
            await robust_connect(*target, max_retries=1)
        refusals = 0

        class Counted:
            async def connect(self, *args: Any, **kwargs: Any) -> STTSession:
                nonlocal refusals
                try:
                    return await node.connect(*args, **kwargs)
                except ConnectionRefusedError:
                    refusals += 1
                    server.enable_accept_connections()
                    raise

        session = await robust_connect(Counted(), *target[1:])
        assert refusals == 1 and session.peer_node_id == server.node_id


@fragment("000-11", "a session whose peer falls silent")
async def _(run: Run):
    warned: list[str] = []
    reconnecting = asyncio.Event()

    async def reconnect() -> None:
        reconnecting.set()

    logger = SimpleNamespace(warning=warned.append, error=logging.error)
    async with (
        local.started(heartbeat=1.0, idle_timeout=5.0) as server,
        local.node("client") as client,
        local.relay(server.local_address) as between,
    ):
        await client.connect_udp(*between.address)
        session_id = (await server.accept()).session_id
        names = {"node": server, "logger": logger, "reconnect": reconnect}
        yield {**names, "asyncio": asyncio}
        between.silent = True
        await reconnecting.wait()
        assert warned == [f"Session {session_id.hex()} timed out - peer dead?"]


@fragment("000-12", "escaped breaks and an open fence; a member elsewhere retrieves it, too")
async def _(run: Run):
    with local.port(9337):
        async with local.started("node", port=9337) as node, local.node("other") as other:
            data = os.urandom(200_000)
            result = yield {"my_node_id": node.node_id, "my_data": data}
            assert result["content_id"] == content_hash(data)
            async with KademliaDHT(node=other) as elsewhere:
                await elsewhere.bootstrap([node.local_address])
                content = ContentDistribution(elsewhere)
                assert await content.retrieve_content(result["content_id"]) == data
            await result["dht"].stop()
