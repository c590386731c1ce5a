"""Document 003: endpoints and events."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any

import local
from fragments import Run, Stop, fragment, program
from seigr_toolset_transmissions import EndpointManager, EventEmitter

PEER = b"an endpoint of the preludes"


async def table(*ids: bytes) -> tuple[EndpointManager, list[tuple[bytes, bytes]]]:
    """A manager with these endpoints, and what is sent to them."""
    sent: list[tuple[bytes, bytes]] = []
    made = EndpointManager(lambda endpoint, data: sent.append((endpoint, data)))
    for one in ids:
        await made.add_endpoint(one, ("127.0.0.1", 9000))
    return made, sent


# --- endpoints ---


@fragment("003-01", "the block uses its callback before it defines it: the first one is supplied")
async def _(run: Run):
    sent: list[Any] = []

    async def send(data: bytes, address: Any) -> None:
        sent.append((data, address))

    result = yield {
        "send_callback": lambda endpoint, data: None,
        "transport": SimpleNamespace(send=send),
        "get_address": lambda endpoint: ("127.0.0.1", 9000),
    }
    endpoints = result["endpoints"]
    endpoints.transport_send_callback = result["send_callback"]
    await endpoints.add_endpoint(PEER)
    await endpoints.send_to_endpoint(PEER, b"data")
    assert sent == [(b"data", ("127.0.0.1", 9000))]


@fragment("003-02")
async def _(run: Run):
    endpoints, _sent = await table()
    yield {"endpoints": endpoints, "node_id": PEER}
    info = endpoints.get_endpoint(PEER)
    assert info is not None and info["address"] == ("192.168.1.100", 9000)
    assert info["metadata"]["capabilities"] == ["video", "storage"]


@fragment("003-03")
async def _(run: Run):
    ids = {"endpoint_id1": b"1", "endpoint_id2": b"2", "endpoint_id3": b"3"}
    endpoints, sent = await table(PEER, *ids.values())
    yield {"endpoints": endpoints, "peer_node_id": PEER, **ids}
    assert sent[0] == (PEER, b"Hello peer")
    assert sent[1:5] == [(one, b"Announcement") for one in (PEER, b"1", b"2", b"3")]
    assert sent[5:] == [(one, b"Group message") for one in (b"1", b"2", b"3")]


@fragment("003-04")
async def _(run: Run):
    endpoints, _sent = await table(PEER)
    await endpoints.deliver(PEER, b"first")
    await endpoints.deliver(PEER, b"second")
    result = yield {"endpoints": endpoints, "endpoint_id": PEER}
    assert result["data"] == b"second"
    assert result.output == f"Received from {PEER.hex()}: b'second'\n"


@fragment("003-05")
async def _(run: Run):
    endpoints, _sent = await table(PEER, b"other")
    result = yield {"endpoints": endpoints, "endpoint_id": PEER}
    assert set(result["info"]) == {"address", "metadata", "connected_at"}
    assert result["all_endpoints"] == [PEER, b"other"]
    assert endpoints.list_endpoints() == [b"other"]


@fragment("003-06")
async def _(run: Run):
    endpoints, _sent = await table()
    result = yield {"endpoints": endpoints, "peer_id": PEER, "time": time}
    assert result.output == "High-capacity node\n"


# --- events ---


@program("003-07")
def _(run: Run):
    result = yield {}
    assert result["events"].get_events() == []


@fragment("003-08")
async def _(run: Run):
    events = EventEmitter()
    result = yield {"events": events}
    # The document's own emitter calls them the same way.
    await events.emit("bytes_received", data=b"four", endpoint_id=PEER)
    await events.emit("connection_established", endpoint_id=PEER)
    assert set(events.get_events()) == {"bytes_received", "connection_established", "custom_event"}
    assert events.get_handlers("custom_event") == [result["handle_custom"]]


@fragment("003-09")
async def _(run: Run):
    events = EventEmitter()
    result = yield {"events": events}
    assert events.get_handlers("my_event") == [result["my_handler"]]


@fragment("003-10")
async def _(run: Run):
    events = EventEmitter()
    got: list[Any] = []

    @events.on("bytes_received")
    async def received(data: bytes, endpoint_id: bytes) -> None:
        got.append((data, endpoint_id))

    @events.on("custom_event")
    def custom(user_data: dict[str, str]) -> None:
        got.append(user_data)

    yield {"events": events, "peer_id": PEER}
    assert got == [(b"Hello", PEER), {"key": "value"}]


@fragment("003-11")
def _(run: Run):
    events = EventEmitter()
    calls: list[str] = []

    def handle_bytes() -> None:
        calls.append("bytes")

    for name in ("bytes_received", "other"):
        events.register(name, handle_bytes)
    yield {"events": events, "handle_bytes": handle_bytes}
    assert events.get_events() == []


@fragment("003-12", "undefined in it: `time`; `get_session_for_endpoint`, which finds no session")
def _(run: Run):
    asked: list[bytes] = []
    with local.port(8080):
        result = yield {"time": time, "get_session_for_endpoint": asked.append}
    peer = b"peer_node_id_32bytes!!!!!!!!"
    shown = peer.hex()[:16]
    lines = result.output.splitlines()
    assert asked == [peer]
    assert lines[:4] == [
        f"New peer: {shown}...",
        f"Message from {shown}: b'Hello back!'",
        "",
        "Active endpoints: 1",
    ]
    assert lines[4].startswith(f"  {shown}: {{'connected_at': ")


@program("003-13")
async def _(run: Run):
    endpoints, sent = await table(b"1", b"2")
    events = EventEmitter()
    result = yield {}
    broadcaster = result["EndpointBroadcaster"](endpoints, events)
    assert events.get_handlers("broadcast_complete") == [broadcaster.handle_broadcast_done]
    await broadcaster.send_to_all(b"all")
    assert sent == [(b"1", b"all"), (b"2", b"all")]


@fragment("003-14", "one round; it waits for the silent endpoint 0.5 seconds instead of 5")
async def _(run: Run):
    made: list[EndpointManager] = []

    async def send(endpoint: bytes, data: bytes) -> None:
        if endpoint == b"alive":
            await made[0].deliver(endpoint, b"PONG")

    async def sleep(seconds: float) -> None:
        assert seconds == 30
        raise Stop

    made.append(EndpointManager(send))
    for one in (b"alive", b"silent"):
        await made[0].add_endpoint(one)
    waiting = SimpleNamespace(
        wait_for=lambda what, timeout: asyncio.wait_for(what, timeout / 10),
        TimeoutError=asyncio.TimeoutError,
        sleep=sleep,
    )
    result = yield {"asyncio": waiting}
    monitor = result["HealthMonitor"](made[0])
    try:
        await monitor.monitor()
    except Stop:
        pass
    assert monitor.health_status == {b"alive": "healthy", b"silent": "unhealthy"}


@fragment("003-15")
async def _(run: Run):
    events = EventEmitter()
    got: list[int] = []
    events.register("my_event", lambda data: got.append(data))
    result = yield {"events": events}
    assert got == [123, 456]
    assert result.output == "{'my_event': 2}\n"


@fragment("003-16", "handlers get those of the values that they name")
async def _(run: Run):
    failed = Failures()
    async with local.started() as server, local.node("client") as client:
        yield {"events": server.events}
        seen: list[str] = []
        names = ["session_created", "peer_connected", "data_received", "session_closed"]
        for name in [*names, "peer_disconnected"]:
            server.events.register(name, lambda name=name, **values: seen.append(name))
        with failed:
            await client.connect_udp(*server.local_address)
            await client.send_to_all(b"data")
            assert (await anext(server.receive())).data == b"data"
            await local.until(lambda: "data_received" in seen)
            await client.stop()
            await local.until(lambda: "peer_disconnected" in seen)
            await server.events.emit("error", error_type="a type", details="and details")
        assert sorted(seen) == sorted([*names, "peer_disconnected"])
    assert failed.records == []


@fragment("003-17")
async def _(run: Run):
    events = EventEmitter()
    result = yield {"events": events}
    assert result.output == "{}\n"
    assert events._handlers == {"my_event": [result["handler"]]}


@fragment("003-18")
async def _(run: Run):
    endpoints, sent = await table()
    address, metadata = ("127.0.0.1", 9000), {"type": "relay"}
    names = {"endpoints": endpoints, "endpoint_id": PEER, "data": b"data"}
    result = yield {**names, "address": address, "metadata": metadata}
    assert result.output == "Endpoint not registered!\n"
    assert endpoints.list_endpoints() == [PEER] and sent == []


class Failures(logging.Handler):
    """What is logged as an error of a handler, while it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def __enter__(self) -> None:
        logging.getLogger("stt").addHandler(self)

    def __exit__(self, *what: object) -> None:
        logging.getLogger("stt").removeHandler(self)
