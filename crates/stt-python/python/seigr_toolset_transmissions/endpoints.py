"""Endpoints: whom one talks to, by id and by name."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _native
from ._across import Bell
from ._bridge import Op, here
from .errors import (
    STTEndpointError,
    STTEndpointNotFoundError,
    STTEndpointTimeoutError,
    STTException,
)
from .session import Buffer

__all__ = ["EndpointManager", "EndpointReport"]

_log = logging.getLogger("stt.endpoints")

Id = str | bytes | bytearray | memoryview
Send = Callable[[bytes, bytes], Any]


@dataclass(frozen=True)
class EndpointReport:
    """What became of a message to several endpoints."""

    #: Endpoints that it was sent to.
    sent: int
    #: Why it was not sent to others, by id.
    failed: Mapping[bytes, Exception] = field(default_factory=dict)


class EndpointManager:
    """The endpoints that an application talks to, and what came from each.

    An endpoint is whatever the application says: a peer, a relay, a device. Its id is 1 to 64
    bytes, or a text, which is the bytes of its UTF-8 form. A text under ``name`` in its metadata is
    a second name for :meth:`route_to_endpoint`.

    ``transport_send_callback(endpoint_id, data)`` carries bytes to an endpoint; a coroutine
    function or a plain one. What comes back is handed to :meth:`deliver`. ``send_timeout``: seconds
    that the callback may take. ``route_timeout``: seconds that :meth:`route_to_endpoint` waits for
    an endpoint to be added. ``max_endpoints``: 100,000 unless given.
    """

    def __init__(
        self,
        transport_send_callback: Send | None = None,
        *,
        send_timeout: float = 10.0,
        route_timeout: float = 1.0,
        max_endpoints: int | None = None,
    ) -> None:
        self._native = _native.Endpoints(max_endpoints)
        self._known: dict[bytes, dict[str, Any]] = {}
        #: What carries bytes to an endpoint; may be set later, too.
        self.transport_send_callback = transport_send_callback
        self._send_timeout = send_timeout
        self._route_timeout = route_timeout
        self._added = Bell()

    # --- the table ---

    async def add_endpoint(
        self,
        endpoint_id: Id,
        address: tuple[str, int] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an endpoint. ``address`` and ``metadata`` are the application's own.

        Raises ``STTEndpointError`` when the id or name is taken, or there are too many.
        """
        key, metadata = _bytes(endpoint_id), dict(metadata or {})
        name = metadata.get("name")
        self._native.add(key, name if isinstance(name, str) else None)
        self._known[key] = {
            "address": address,
            "metadata": metadata,
            "connected_at": time.time(),
        }
        self._added.ring()

    async def remove_endpoint(self, endpoint_id: Id) -> bool:
        """Removes an endpoint and what waits to be received from it; whether it was there."""
        key = _bytes(endpoint_id)
        self._known.pop(key, None)
        return self._native.remove(key)

    def get_endpoint(self, endpoint_id: Id) -> dict[str, Any] | None:
        """``address``, ``metadata`` and ``connected_at`` (seconds since 1970) of an endpoint, or
        None.

        ``metadata`` is the endpoint's own dict: what is changed in it stays.
        """
        known = self._known.get(_bytes(endpoint_id))
        return None if known is None else dict(known)

    def list_endpoints(self) -> list[bytes]:
        """All ids, in the order in which they were added."""
        return list(self._known)

    def __contains__(self, endpoint_id: object) -> bool:
        return isinstance(endpoint_id, Id) and _bytes(endpoint_id) in self._known

    def __len__(self) -> int:
        return len(self._known)

    # --- sending ---

    async def send_to_endpoint(self, endpoint_id: Id, data: Buffer) -> None:
        """Sends to one endpoint; returns when the callback has.

        Raises ``STTEndpointNotFoundError`` (a KeyError), ``STTEndpointTimeoutError`` (a
        TimeoutError), ``STTEndpointError`` without a callback, and what the callback raises.
        """
        key = _bytes(endpoint_id)
        if key not in self._known:
            raise _unknown(endpoint_id)
        send = self.transport_send_callback
        if send is None:
            raise STTEndpointError(
                "nothing is set that carries bytes to endpoints",
                code="endpoint.no_sender",
                hint="make the manager with transport_send_callback",
            )
        sending = send(key, bytes(data))
        if not inspect.isawaitable(sending):
            return
        limit = asyncio.timeout(self._send_timeout)
        try:
            async with limit:
                await sending
        except TimeoutError:
            if not limit.expired():
                raise
            raise STTEndpointTimeoutError(
                f"sending to endpoint {_shown(endpoint_id)} took longer than "
                f"{self._send_timeout} s",
                code="endpoint.send_timeout",
                hint="see whether the peer is reachable",
                retry_helps=True,
            ) from None

    async def route_to_endpoint(self, name: Id, data: Buffer) -> bool:
        """Sends to the endpoint with this id or name; whether there is one.

        If there is none, waits up to ``route_timeout`` seconds for it to be added; then the bytes
        are dropped with a warning in the log ``stt.endpoints``.
        """
        found = self._find(name)
        if found is None:
            found = await self._wait_for(name)
        if found is None:
            _log.warning("no endpoint %s: %d bytes were dropped", _shown(name), len(data))
            return False
        await self.send_to_endpoint(found, data)
        return True

    def _find(self, name: Id) -> bytes | None:
        if isinstance(name, str):
            return self._native.find(name)
        key = _bytes(name)
        return key if key in self._known else None

    async def _wait_for(self, name: Id) -> bytes | None:
        try:
            async with asyncio.timeout(self._route_timeout):
                await self._added.wait_until(lambda: self._find(name) is not None)
        except TimeoutError:
            pass
        return self._find(name)

    async def send_to_many(self, endpoint_ids: Iterable[Id], data: Buffer) -> EndpointReport:
        """Sends to several endpoints at once; raises nothing for one that fails."""
        keys = [_bytes(one) for one in endpoint_ids]
        payload = bytes(data)
        done = await asyncio.gather(
            *(self.send_to_endpoint(key, payload) for key in keys), return_exceptions=True
        )
        failed: dict[bytes, Exception] = {}
        for key, error in zip(keys, done, strict=True):
            if isinstance(error, Exception):
                failed[key] = error
            elif error is not None:
                raise error
        return EndpointReport(len(keys) - len(failed), failed)

    async def broadcast(self, data: Buffer) -> EndpointReport:
        """Sends to all endpoints at once."""
        return await self.send_to_many(self.list_endpoints(), data)

    # --- receiving ---

    async def deliver(self, endpoint_id: Id, data: Buffer) -> None:
        """Hands over a message that came from an endpoint. Waits while its queue is full, so that
        the carrier is slowed down. Called by what carries the bytes."""
        done = self._native.deliver((loop := here()).native, _bytes(endpoint_id), data)
        if type(done) is Op:
            await loop.wait(done)

    async def receive_from(self, endpoint_id: Id) -> tuple[bytes, bytes]:
        """The next message of an endpoint, and the endpoint's id."""
        key = _bytes(endpoint_id)
        data = self._native.receive_from((loop := here()).native, key)
        return (await loop.wait(data) if type(data) is Op else data), key

    async def receive_any(self) -> tuple[bytes, bytes]:
        """The next message of any endpoint, in the order of arrival, and the endpoint's id."""
        found = self._native.receive_any((loop := here()).native)
        message: tuple[bytes, bytes] = await loop.wait(found) if type(found) is Op else found
        return message

    def __repr__(self) -> str:
        return f"<EndpointManager {len(self)} endpoints, {self._native.waiting()} messages waiting>"


def _bytes(endpoint_id: Id) -> bytes:
    return endpoint_id.encode() if isinstance(endpoint_id, str) else bytes(endpoint_id)


def _shown(endpoint_id: Id) -> str:
    return endpoint_id if isinstance(endpoint_id, str) else bytes(endpoint_id).hex()


def _unknown(endpoint_id: Id) -> STTException:
    return STTEndpointNotFoundError(
        f"there is no endpoint {_shown(endpoint_id)}",
        code="endpoint.unknown",
        hint="add the endpoint first",
    )
