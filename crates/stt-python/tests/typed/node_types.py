"""Checked by type checkers, and run: nodes, sessions, streams, events and endpoints."""

import asyncio
from collections.abc import AsyncIterator

from seigr_toolset_transmissions import (
    Chamber,
    EndpointManager,
    EventEmitter,
    ReceivedPacket,
    SendReport,
    STTEvents,
    STTNode,
    STTSession,
    STTStream,
    new_seed,
)


async def main() -> None:
    seed: str = new_seed()
    events = EventEmitter()
    created: list[bytes] = []

    @events.on(STTEvents.SESSION_CREATED)
    async def session_created(session_id: bytes) -> None:
        created.append(session_id)

    server = STTNode(shared_seed=seed, host="127.0.0.1", events=events)
    host, port = await server.start(server_mode=True)
    async with server, STTNode(shared_seed=bytearray(seed.encode()), host="127.0.0.1") as client:
        session: STTSession = await client.connect_udp(host, port, expect=server.node_id)
        stream: STTStream = session.open_stream(priority=700)
        async with stream:
            await stream.send(memoryview(b"message"))
        accepted: STTStream = await (await server.accept()).accept_stream()
        messages: list[bytes] = [message async for message in accepted]
        assert messages == [b"message"]
        report: SendReport = await client.send_to_all(b"to all", stream_id=8)
        assert report.sent == 1 and not report.failed
        packets: AsyncIterator[ReceivedPacket] = server.receive()
        packet: ReceivedPacket = await anext(packets)
        assert packet.data == b"to all" and created == [packet.session_id]
        reason: str | None = session.close_reason
        assert reason is None

    endpoints = EndpointManager()
    await endpoints.add_endpoint("relay", ("127.0.0.1", 1), {"name": "the relay"})
    await endpoints.deliver("relay", b"x")
    data, endpoint = await endpoints.receive_any()
    assert (data, endpoint) == (b"x", b"relay")
    address: bytes = await Chamber(bytes(32)).put(b"value")
    assert len(address) == 32


if __name__ == "__main__":
    asyncio.run(main())
