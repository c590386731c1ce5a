"""The client package against `stt up`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from conftest import Node
from stt.gateway.v1 import events_pb2, files_pb2, peers_pb2, streams_pb2, system_pb2
from stt_gateway import AsyncGateway, Gateway, GatewayError, explain

#: Seconds that a call may take, on a machine that has much to do.
PATIENCE = 60.0


def run(test: Callable[[], Any]) -> None:
    """Nothing here may wait for ever."""

    async def limited() -> None:
        async with asyncio.timeout(100):
            await test()

    asyncio.run(limited())


def test_files(nodes: tuple[Node, Node]) -> None:
    content = bytes(range(256)) * 5_000
    with Gateway.of_directory(nodes[0].directory) as gateway:
        stored = gateway.upload("a/ü", content, type="x", metadata={"from": "python"})
        assert (stored.size, stored.type, stored.metadata["from"]) == (len(content), "x", "python")
        assert gateway.download("a/ü", timeout=PATIENCE) == content
        listed = gateway.files.ListFiles(files_pb2.ListFilesRequest(), timeout=PATIENCE)
        assert [one.key for one in listed.files] == ["a/ü"]
        with pytest.raises(GatewayError) as gone:
            gateway.download("nothing", timeout=PATIENCE)
        assert gone.value.status == grpc.StatusCode.NOT_FOUND
        assert gone.value.code == "store.not_found" and not gone.value.retry_helps
        info = gateway.system.GetSystemInfo(system_pb2.GetSystemInfoRequest(), timeout=PATIENCE)
        assert info.node_id == nodes[0].up["node_id"]


def test_what_fails_is_explained(nodes: tuple[Node, Node]) -> None:
    target = nodes[0].up["gateway"].removeprefix("http://")
    with Gateway(target, "wrong") as gateway, pytest.raises(GatewayError) as refused:
        gateway.upload("x", b"x", timeout=PATIENCE)
    assert refused.value.status == grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.code == "request.unauthenticated" and refused.value.hint
    with Gateway("127.0.0.1:9", "t") as nobody, pytest.raises(grpc.RpcError) as failed:
        nobody.system.GetSystemInfo(system_pb2.GetSystemInfoRequest(), timeout=0.5)
    error = explain(failed.value)
    assert error.code == "" and error.message


def test_asyncio_files_events_and_health(nodes: tuple[Node, Node]) -> None:
    async def main() -> None:
        async with AsyncGateway.of_directory(nodes[0].directory) as gateway:
            watch = gateway.events.StreamFileOperations(
                events_pb2.StreamEventsRequest(subscriber_id="python")
            )
            await watch.initial_metadata()
            stored = await gateway.upload("seen", b"all is well")
            assert await gateway.download("seen") == b"all is well"
            event: Any = await watch.read()
            assert (event.key, event.hash) == ("seen", stored.hash)
            assert event.operation == events_pb2.FILE_OPERATION_UPLOAD
            watch.cancel()
            with pytest.raises(GatewayError) as gone:
                await gateway.download("nothing")
            assert gone.value.code == "store.not_found"
            health = await gateway.streams.HealthCheck(streams_pb2.StreamHealthRequest())
            assert health.total_streams == 0

    run(main)


def test_streams_between_programs(nodes: tuple[Node, Node]) -> None:
    async def main() -> None:
        first, second = nodes
        async with (
            AsyncGateway.of_directory(first.directory) as here,
            AsyncGateway.of_directory(second.directory) as there,
        ):
            host, _, port = second.up["address"].rpartition(":")
            peer = peers_pb2.AddPeerRequest(address=host, port=int(port), id=second.up["node_id"])
            await here.peers.AddPeer(peer)
            plain = await here.open_stream(second.up["node_id"])
            await plain.send(b"first")
            other = await there.accept_stream(first.up["node_id"])
            assert other.opened.session == plain.opened.session
            assert await other.receive() == b"first"
            await other.send(b"well")
            await other.close()
            assert [message async for message in plain] == [b"well"]
            await plain.close()
            assert await other.receive() is None

            managed = await here.open_stream(second.up["node_id"], "orders")
            far = await there.accept_stream(managed=True)
            assert managed.opened.id == far.opened.id and managed.opened.id.endswith("orders")
            for number in range(100):
                await managed.send(b"%d" % number)
            assert [await far.receive() for _number in range(100)] == [
                b"%d" % number for number in range(100)
            ]
            await far.send_error("no such order")
            with pytest.raises(RuntimeError, match="no such order"):
                await managed.receive()
            request = streams_pb2.BroadcastMessageRequest(data=b"to all")
            sent = await here.streams.BroadcastMessage(request)
            assert [one.code for one in sent.results.values()] == [""]
            assert await far.receive() == b"to all"
            stats = await here.streams.GetStreamStats(streams_pb2.GetStreamStatsRequest())
            assert stats.active_streams == 1 and stats.streams[managed.opened.id].sent == 101
            with pytest.raises(GatewayError) as taken:
                await here.open_stream(second.up["node_id"], "orders")
            assert taken.value.status == grpc.StatusCode.ALREADY_EXISTS
            await managed.close()
            assert [message async for message in far] == []

    run(main)
