"""What a call failed with."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status


class GatewayError(Exception):
    """Why a call failed.

    ``status``: gRPC's code. ``code``: the stable code of the project's errors, or an empty text when
    it was not the gateway that answered. ``hint``: what to do about it, if that is known.
    ``retry_helps``: whether the same call may succeed later.
    """

    def __init__(
        self, status: grpc.StatusCode, code: str, message: str, hint: str, retry_helps: bool
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_helps = retry_helps

    def __str__(self) -> str:
        return f"{self.message} ({self.code or self.status.name})"


def explain(error: grpc.RpcError) -> GatewayError:
    """What an error of grpc says."""
    call: Any = error
    status = rpc_status.from_call(call)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
    found = dict(info.metadata)
    retry_helps = found.get("retry_helps") == "true"
    message = call.details() or call.code().name
    return GatewayError(call.code(), info.reason, message, found.get("hint", ""), retry_helps)
