"""The gateway, for asyncio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from stt.gateway.v1 import (
    content_pb2_grpc,
    events_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    peers_pb2_grpc,
    store_pb2_grpc,
    streams_pb2,
    streams_pb2_grpc,
    swarm_pb2_grpc,
    system_pb2_grpc,
    topics_pb2_grpc,
)

from ._errors import explain
from ._place import Data, place
from ._sync import _parts


class _Token:
    """Shows the token with every call."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    async def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata.add(*self._header)
        return await continuation(details._replace(metadata=metadata), request)


# One class for each kind of call: an interceptor counts for the first kind that it is of.
class _UnaryUnary(_Token, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary: Any = _Token._call


class _UnaryStream(_Token, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _Token._call


class _StreamUnary(_Token, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _Token._call


class _StreamStream(_Token, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _Token._call


class AsyncStream:
    """One side of a stream with a peer's program: messages, in order and once.

    ``async for message in stream`` ends when the other program closed its direction; :meth:`close`
    closes this one's.
    """

    def __init__(self, call: Any, opened: streams_pb2.Opened) -> None:
        self._call = call
        self._ended = False
        #: The peer, the session and the number of the stream, or the full id of a managed one.
        self.opened = opened
        #: Whether to send less, of a managed stream: sending waits then.
        self.pressure = False

    async def send(self, data: Data) -> None:
        """Sends a message; waits while the peer is slower."""
        await self._write(streams_pb2.ExchangeRequest(data=bytes(data)))

    async def send_error(self, text: str) -> None:
        """Sends an error in a message's place, over a managed stream."""
        await self._write(streams_pb2.ExchangeRequest(error=text))

    async def _write(self, request: streams_pb2.ExchangeRequest) -> None:
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise explain(error) from error

    async def receive(self) -> bytes | None:
        """The next message; None once the other program closed its direction.

        Raises ``RuntimeError`` with the text of an error that it sent in a message's place.
        """
        while not self._ended:
            try:
                answer = await self._call.read()
            except grpc.aio.AioRpcError as error:
                raise explain(error) from error
            if answer is grpc.aio.EOF:
                self._ended = True
                break
            part = answer.WhichOneof("part")
            if part == "data":
                found: bytes = answer.data
                return found
            if part == "error":
                raise RuntimeError(answer.error)
            if part == "pressure":
                self.pressure = answer.pressure.on
            self._ended = self._ended or part == "ended"
        return None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def close(self) -> None:
        """Closes this program's direction, after all that was sent."""
        await self._call.done_writing()

    def cancel(self) -> None:
        """Gives the stream up."""
        self._call.cancel()


class AsyncGateway:
    """As ``Gateway``, for asyncio. Made inside of the event loop that uses it."""

    def __init__(self, target: str, token: str) -> None:
        kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
        shown: Any = [kind(token) for kind in kinds]
        channel = grpc.aio.insecure_channel(target, interceptors=shown)
        #: Any other call.
        self.channel: grpc.aio.Channel = channel
        self.files = files_pb2_grpc.FileServiceStub(channel)
        self.store = store_pb2_grpc.StoreServiceStub(channel)
        self.peers = peers_pb2_grpc.PeerServiceStub(channel)
        self.streams = streams_pb2_grpc.StreamServiceStub(channel)
        self.events = events_pb2_grpc.EventServiceStub(channel)
        self.topics = topics_pb2_grpc.TopicServiceStub(channel)
        self.swarm = swarm_pb2_grpc.SwarmServiceStub(channel)
        self.content = content_pb2_grpc.ContentServiceStub(channel)
        self.system = system_pb2_grpc.SystemServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    @classmethod
    def of_directory(cls, directory: str | os.PathLike[str]) -> AsyncGateway:
        """The gateway of the node that runs in a directory (``stt up --dir``)."""
        return cls(*place(directory))

    async def upload(
        self,
        key: str,
        data: Data,
        *,
        type: str = "",
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> files_pb2.File:
        """Stores bytes under a key, in place of what had it. Raises :class:`GatewayError`."""
        header = files_pb2.UploadHeader(key=key, type=type, metadata=metadata or {})
        try:
            return await self.files.UploadFile(_parts(header, data), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise explain(error) from error

    async def download(self, key: str, *, timeout: float | None = None) -> bytes:
        """The bytes under a key, verified. Raises :class:`GatewayError`."""
        request = files_pb2.DownloadFileRequest(key=key)
        try:
            found = [
                chunk.data async for chunk in self.files.DownloadFile(request, timeout=timeout)
            ]
        except grpc.aio.AioRpcError as error:
            raise explain(error) from error
        return b"".join(found)

    async def open_stream(self, peer: str, id: str = "") -> AsyncStream:
        """Opens a stream with a peer, by its id in hexadecimal: a plain one, or with ``id`` a
        managed one, which goes on over the peer's next session."""
        return await self._exchange(open=streams_pb2.OpenStream(peer=peer, id=id))

    async def accept_stream(self, peer: str = "", managed: bool = False) -> AsyncStream:
        """Waits for a stream that a peer begins."""
        return await self._exchange(accept=streams_pb2.AcceptStream(peer=peer, managed=managed))

    async def _exchange(self, **first: Any) -> AsyncStream:
        call = self.streams.Exchange()
        try:
            await call.write(streams_pb2.ExchangeRequest(**first))
            answer: Any = await call.read()
        except grpc.aio.AioRpcError as error:
            raise explain(error) from error
        except BaseException:
            call.cancel()
            raise
        return AsyncStream(call, answer.opened)

    async def close(self) -> None:
        """Ends all calls."""
        await self.channel.close()

    async def __aenter__(self) -> AsyncGateway:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
