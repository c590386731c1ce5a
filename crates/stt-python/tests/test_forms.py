"""Where the documents contradict each other, each form works or says what to pass."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import local
import pytest
from core.streaming import validate_chunk_fast
from seigr_toolset_transmissions import (
    Chamber,
    EndpointManager,
    EventEmitter,
    StreamDecoder,
    StreamEncoder,
    errors,
)
from stc import STCContext

KEY = bytes(range(32))
SEED = "velvet turnip ocean quarrel 77 lantern"


def test_segments_with_and_without_their_number() -> None:
    async def main() -> None:
        encoder = StreamEncoder(KEY, b"session1", 1)
        decoder = StreamDecoder(KEY, b"session1", 1)
        sent = [pair async for pair in encoder.send(bytes(200_000))]
        assert len(sent) == 4
        forms: list[tuple[Any, ...]] = [(sent[0][1], 0), (sent[1][1],), (2, sent[2][1])]
        assert [decoder.receive_segment(*form) for form in forms] == ["new"] * 3
        with pytest.raises(ValueError, match="has not the number 2"):
            decoder.receive_segment(sent[3][1], 2)
        with pytest.raises(TypeError):
            decoder.receive_segment(3)
        assert decoder.receive_segment(sent[3][1], sequence=3) == "new"
        assert await decoder.receive_all() == bytes(200_000)

    asyncio.run(main())


def test_files_by_path_and_by_pieces(tmp_path: Path) -> None:
    """`test_pieces.py` has more about pieces."""
    ctx = STCContext(SEED, 16, 1)
    (tmp_path / "in").write_bytes(b"x")
    ctx.encrypt_stream(str(tmp_path / "in"), tmp_path / "out")
    with open(tmp_path / "out", "rb") as file:
        assert b"".join(ctx.decrypt_stream(file)) == b"x"
    sealed = b"".join(ctx.encrypt_stream([b"piece", b" after piece"]))
    assert b"".join(ctx.decrypt_stream([sealed])) == b"piece after piece"


def test_endpoints_by_name_and_by_id() -> None:
    async def main() -> None:
        sent: list[bytes] = []
        endpoints = EndpointManager(route_timeout=0.01)
        await endpoints.add_endpoint("alice")
        await endpoints.add_endpoint(b"\x01\x02", metadata={"name": "bob"})
        with pytest.raises(errors.STTEndpointError) as no_sender:
            await endpoints.send_to_endpoint("alice", b"x")
        assert no_sender.value.code == "endpoint.no_sender"
        endpoints.transport_send_callback = lambda endpoint, data: sent.append(endpoint)
        for one in ("alice", b"alice", "bob", b"\x01\x02"):
            assert await endpoints.route_to_endpoint(one, b"x")
        assert sent == [b"alice", b"alice", b"\x01\x02", b"\x01\x02"]
        assert not await endpoints.route_to_endpoint("carol", b"x")
        with pytest.raises(KeyError) as unknown:
            await endpoints.send_to_endpoint("carol", b"x")
        assert isinstance(unknown.value, errors.STTEndpointNotFoundError)

    asyncio.run(main())


def test_a_route_waits_for_an_endpoint_that_is_added() -> None:
    async def main() -> None:
        sent: list[bytes] = []
        endpoints = EndpointManager(lambda endpoint, data: sent.append(data), route_timeout=60)
        routing = asyncio.create_task(endpoints.route_to_endpoint("alice", b"x"))
        await asyncio.sleep(0)
        await endpoints.add_endpoint("bob")
        await endpoints.add_endpoint("alice")
        assert await routing and sent == [b"x"]

    asyncio.run(main())


def test_chambers_by_hash_and_by_key() -> None:
    async def main() -> None:
        chamber = Chamber(KEY)
        address = await chamber.put(b"value")
        assert await chamber.put("key", b"another") == await chamber.put(b"another")
        assert await chamber.get(address) == b"value" and await chamber.get("key") == b"another"
        untyped: Any = chamber
        for wrong in ((b"key", b"value"), ("value",), ("a", "b")):
            with pytest.raises(TypeError):
                await untyped.put(*wrong)

    asyncio.run(main())


def test_metadata_with_and_without_password_and_context() -> None:
    ctx = STCContext(SEED, 16, 1)
    open_to_all, metadata = ctx.encrypt(b"x" * 1000)
    assert validate_chunk_fast(open_to_all, metadata)[0] >= 0
    again = pickle.loads(pickle.dumps(metadata))
    with pytest.raises(ValueError, match="context="):
        validate_chunk_fast(open_to_all, again)
    assert validate_chunk_fast(open_to_all, again, context=ctx)[0] >= 0
    locked, metadata = ctx.encrypt(b"x" * 1000, password="pw")
    with pytest.raises(errors.STTDecryptionError):
        validate_chunk_fast(locked, metadata)
    assert validate_chunk_fast(locked, metadata, password="pw")[0] >= 0


def test_handlers_by_the_names_of_their_arguments() -> None:
    async def main() -> None:
        events = EventEmitter()
        got: list[Any] = []
        events.register("session_closed", lambda session_id: got.append(session_id))
        events.register("session_closed", lambda reason, session_id: got.append(reason))
        events.register("session_closed", lambda **values: got.append(sorted(values)))

        @events.on("session_closed")
        async def last(*, peer_node_id: bytes) -> None:
            got.append(peer_node_id)

        await events.emit("session_closed", session_id=b"s", peer_node_id=b"p", reason="closed")
        assert got == [b"s", "closed", ["peer_node_id", "reason", "session_id"], b"p"]

        # Events of one's own get what was given: a wrong handler is logged, and the next one runs.
        events.register("mine", lambda a: got.append(a))
        events.register("mine", lambda *values: got.append(values))
        assert await events.emit("mine", 1, 2) == [None, None]
        assert got[4:] == [(1, 2)]

    asyncio.run(main())


def test_emit_can_be_wrapped_and_the_node_calls_the_wrapper() -> None:
    async def main() -> None:
        seen: list[str] = []
        async with local.started() as server, local.node("client") as client:
            original = server.events.emit

            async def counted(name: str, **values: Any) -> Any:
                seen.append(name)
                return await original(name, **values)

            server.events.emit = counted  # type: ignore[method-assign]
            server.events.register("session_created", lambda: None)
            await client.connect_udp(*server.local_address)
            await asyncio.wait_for(local.until(lambda: seen), 60)
        assert "session_created" in seen

    asyncio.run(main())


def test_addresses_in_each_form() -> None:
    async def main() -> None:
        async with local.started() as server, local.node("client") as client:
            host, port = server.local_address
            for form in ((host, port), f"{host}:{port}", f"udp://{host}:{port}"):
                session = await client.connect(form, server.node_id)
                assert session.peer_node_id == server.node_id
            with pytest.raises(errors.STTHandshakeError):
                await client.connect((host, port), bytes(32), timeout=1.5)

    asyncio.run(main())
