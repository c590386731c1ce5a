"""Calls the gateway of a node over gRPC.

    with Gateway.of_directory("node") as gateway:
        gateway.upload("report", b"all is well")
        assert gateway.download("report") == b"all is well"

``gateway.files``, ``.peers``, ``.streams``, ``.events``, ``.topics``, ``.swarm``, ``.content``
and ``.system`` are the stubs of the
services, whose messages are in ``stt.gateway.v1``; ``.health`` is that of the standard. Each call
shows the token. :class:`AsyncGateway` has the same for asyncio.
"""

from ._async import AsyncGateway, AsyncStream
from ._errors import GatewayError, explain
from ._sync import Gateway

__all__ = ["AsyncGateway", "AsyncStream", "Gateway", "GatewayError", "explain"]
