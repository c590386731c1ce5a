"""The gateway, for programs that wait."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from stt.gateway.v1 import (
    content_pb2_grpc,
    events_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    peers_pb2_grpc,
    store_pb2_grpc,
    streams_pb2_grpc,
    swarm_pb2_grpc,
    system_pb2_grpc,
    topics_pb2_grpc,
)

from ._errors import explain
from ._place import PART, Data, place


class _Token(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Shows the token with every call."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        details = details._replace(metadata=[*(details.metadata or ()), self._header])
        return continuation(details, request)

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call


class Gateway:
    """The gateway at ``target`` (``HOST:PORT``), with the token that its node's directory has."""

    def __init__(self, target: str, token: str) -> None:
        self._plain = grpc.insecure_channel(target)
        channel = grpc.intercept_channel(self._plain, _Token(token))
        #: Any other call.
        self.channel: grpc.Channel = channel
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
    def of_directory(cls, directory: str | os.PathLike[str]) -> Gateway:
        """The gateway of the node that runs in a directory (``stt up --dir``)."""
        return cls(*place(directory))

    def upload(
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
            return self.files.UploadFile(_parts(header, data), timeout=timeout)
        except grpc.RpcError as error:
            raise explain(error) from error

    def download(self, key: str, *, timeout: float | None = None) -> bytes:
        """The bytes under a key, verified. Raises :class:`GatewayError`."""
        request = files_pb2.DownloadFileRequest(key=key)
        try:
            return b"".join(
                chunk.data for chunk in self.files.DownloadFile(request, timeout=timeout)
            )
        except grpc.RpcError as error:
            raise explain(error) from error

    def close(self) -> None:
        """Ends all calls."""
        self._plain.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _parts(header: files_pb2.UploadHeader, data: Data) -> Iterator[files_pb2.UploadFileRequest]:
    yield files_pb2.UploadFileRequest(header=header)
    view = memoryview(data).cast("B")
    for at in range(0, len(view), PART):
        chunk = files_pb2.FileChunk(data=bytes(view[at : at + PART]), offset=at)
        yield files_pb2.UploadFileRequest(chunk=chunk)
