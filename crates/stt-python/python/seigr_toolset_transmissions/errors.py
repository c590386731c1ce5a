"""What can fail, as exceptions.

Each is an :class:`STTException` and, where Python has one for the same thing, that builtin too, so
that ``except TimeoutError`` and ``except STTException`` both catch what they should. The stable
code is in ``.code`` (docs/errors.md lists all), what to do in ``.hint``, and whether the same call
may succeed later in ``.retry_helps``.
"""

from __future__ import annotations

import asyncio
import builtins
from typing import Any

__all__ = [
    "ConnectionRefusedError",
    "ConnectionTimeoutError",
    "STTBackpressureError",
    "STTContentError",
    "STTCryptoError",
    "STTDeliveryError",
    "STTEndpointError",
    "STTException",
    "STTHandshakeError",
    "STTLeaseEndedError",
    "STTLogError",
    "STTLogTrimmedError",
    "STTProtocolError",
    "STTResumeError",
    "STTSeedError",
    "STTSessionError",
    "STTSettingError",
    "STTStorageError",
    "STTStreamError",
    "STTSwarmError",
    "STTTimeoutError",
]


class STTException(Exception):
    """Whatever this package raises, apart from wrong types of arguments.

    ``code``: the stable code, ``hint``: what to do about it, if that is known, ``retry_helps``:
    whether the same call may succeed later.
    """

    code: str = ""
    hint: str | None = None
    retry_helps: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        hint: str | None = None,
        retry_helps: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.hint = hint
        self.retry_helps = retry_helps

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"code": self.code, "hint": self.hint, "retry_helps": self.retry_helps}
        return _again, (type(self), self.message, state)


def _again(kind: type[STTException], message: str, state: dict[str, Any]) -> STTException:
    """Makes a pickled exception again."""
    return kind(message, **state)


class STTTimeoutError(STTException, asyncio.TimeoutError):
    """Something was not done in time."""


class STTHandshakeError(STTException, ConnectionError):
    """A peer was not reached, or its proof did not verify."""


class ConnectionTimeoutError(STTHandshakeError, STTTimeoutError):
    """Nobody answered. A wrong seed looks like this too: strangers are not answered."""


class ConnectionRefusedError(STTHandshakeError, builtins.ConnectionRefusedError):
    """A member of the seed answered and refused."""


class STTDeniedError(ConnectionRefusedError, PermissionError):
    """A member of the seed does not want this node."""


class STTSessionError(STTException, ConnectionAbortedError):
    """The session is over."""


class STTStreamError(STTException):
    """A stream could not do what was asked."""


class STTStreamClosedError(STTStreamError, BrokenPipeError):
    """This side closed the stream for sending."""


class STTStreamResetError(STTStreamError, ConnectionResetError):
    """The peer gave the stream up."""


class STTStreamEndedError(STTStreamError, EOFError):
    """The peer closed its direction and everything was received."""


class STTStreamTimeoutError(STTStreamError, STTTimeoutError):
    """A message was not sent in the time that it had."""


class STTFrameTooLargeError(STTStreamError, ValueError):
    """A message is longer than the stream takes."""


class STTCryptoError(STTException):
    """Sealing or opening failed."""


class STTDecryptionError(STTCryptoError, ValueError):
    """A wrong seed, password or context data, or a ciphertext that was changed."""


class STTSealError(STTCryptoError, ValueError):
    """The options contradict each other, or there is no secret."""


class STTCryptoIOError(STTCryptoError, OSError):
    """A file could not be read or written."""


class STTSeedError(STTException, ValueError):
    """The seed cannot be used."""


class STTSettingError(STTException, ValueError):
    """A setting is out of its range."""


class STTPortInUseError(STTException, OSError):
    """Another process has the port."""


class STTStoppedError(STTException, RuntimeError):
    """The node was stopped, or was not started yet."""


class STTStorageError(STTException):
    """The storage could not do what was asked."""


class STTNotFoundError(STTStorageError, KeyError):
    """Nothing is stored under this address or name."""


class STTEndpointError(STTException):
    """An endpoint could not do what was asked."""


class STTEndpointNotFoundError(STTEndpointError, KeyError):
    """There is no such endpoint."""


class STTEndpointTimeoutError(STTEndpointError, STTTimeoutError):
    """What carries the bytes did not take them in time."""


class STTBackpressureError(STTStreamError, asyncio.QueueFull):
    """Too many messages wait: ``send_message`` waits, ``try_send_message`` does not."""


class STTPeerError(STTStreamError):
    """The peer sent an error in a message's place; the stream goes on."""


class STTStreamExistsError(STTStreamError, ValueError):
    """A stream or subscriber of this id is there already."""


class STTStreamNotFoundError(STTStreamError, KeyError):
    """There is no stream or subscriber of this id."""


class STTSwarmError(STTException):
    """The swarm could not do what was asked."""


class STTSwarmTimeoutError(STTSwarmError, STTTimeoutError):
    """The swarm gave no answer in time."""


class STTProtocolError(STTStreamError):
    """A stream of a protocol could not be opened or handled."""


class STTResumeError(STTSessionError):
    """A resumable session could not do what was asked, or is over."""


class STTResumeFullError(STTResumeError, STTBackpressureError):
    """Too much waits to be committed: ``send`` waits, ``try_send`` does not."""


class STTDeliveryError(STTStreamError, ValueError):
    """The delivery mode does not allow that, or its numbers are out of range."""


class STTLogError(STTStorageError):
    """The durable log could not do what was asked."""


class STTLogTrimmedError(STTLogError, LookupError):
    """Retention removed records that were asked for."""


class STTLeaseEndedError(STTLogError):
    """The record was settled, or is somebody else's by now."""


class STTContentError(STTException):
    """Content could not be published or retrieved."""


class STTContentNotFoundError(STTContentError, STTNotFoundError):
    """Nobody who was asked has this content."""


_EXACT: dict[str, type[STTException]] = {
    "connect.no_answer": ConnectionTimeoutError,
    "connect.not_accepting": ConnectionRefusedError,
    "connect.full": ConnectionRefusedError,
    "connect.denied": STTDeniedError,
    "address.malformed": STTSettingError,
    "connect.stopped": STTStoppedError,
    "stream.session_ended": STTSessionError,
    "stream.unknown_session": STTSessionError,
    "stream.closed": STTStreamClosedError,
    "stream.reset": STTStreamResetError,
    "stream.late": STTStreamTimeoutError,
    "stream.frame_too_large": STTFrameTooLargeError,
    "envelope.nothing_opens": STTDecryptionError,
    "envelope.chunk": STTDecryptionError,
    "envelope.truncated": STTDecryptionError,
    "envelope.trailing": STTDecryptionError,
    "envelope.trailer": STTDecryptionError,
    "envelope.content": STTDecryptionError,
    "envelope.not_one": STTDecryptionError,
    "envelope.io": STTCryptoIOError,
    "seal.io": STTCryptoIOError,
    "state.io": STTCryptoIOError,
    "chunk.forged": STTDecryptionError,
    "chunk.setting": STTSettingError,
    "node.out_of_range": STTSettingError,
    "node.port_in_use": STTPortInUseError,
    "store.not_found": STTNotFoundError,
    "endpoint.unknown": STTEndpointNotFoundError,
    "streams.already_exists": STTStreamExistsError,
    "streams.not_found": STTStreamNotFoundError,
    "streams.closed": STTStreamClosedError,
    "streams.peer": STTPeerError,
    "streams.backpressure": STTBackpressureError,
    "streams.too_large": STTFrameTooLargeError,
    "streams.idle": STTStreamTimeoutError,
    "streams.id": STTSettingError,
    "streams.out_of_range": STTSettingError,
    "swarm.out_of_range": STTSettingError,
    "content.out_of_range": STTSettingError,
    "swarm.stopped": STTStoppedError,
    "swarm.timeout": STTSwarmTimeoutError,
    "content.not_found": STTContentNotFoundError,
    "resume.full": STTResumeFullError,
    "resume.out_of_range": STTSettingError,
    "resume.too_large": STTFrameTooLargeError,
    "delivery.too_long": STTFrameTooLargeError,
    "log.trimmed": STTLogTrimmedError,
    "log.lease_ended": STTLeaseEndedError,
}

_FAMILIES: tuple[tuple[str, type[STTException]], ...] = (
    ("connect.", STTHandshakeError),
    ("handshake.", STTHandshakeError),
    ("wire.", STTHandshakeError),
    ("stream.", STTStreamError),
    ("route.", STTSessionError),
    ("node.", STTSettingError),
    ("seed.", STTSeedError),
    ("key.", STTSeedError),
    ("seal.", STTSealError),
    ("envelope.", STTCryptoError),
    ("chunk.", STTCryptoError),
    ("codec.", STTCryptoError),
    ("record.", STTDecryptionError),
    ("state.", STTCryptoError),
    ("stretch.", STTSettingError),
    ("random.", STTCryptoError),
    ("store.", STTStorageError),
    ("endpoint.", STTEndpointError),
    ("streams.", STTStreamError),
    ("swarm.", STTSwarmError),
    ("protocol.", STTProtocolError),
    ("resume.", STTResumeError),
    ("delivery.", STTDeliveryError),
    ("priority.", STTSettingError),
    ("keyring.", STTSeedError),
    ("log.", STTLogError),
    ("content.", STTContentError),
    ("ticket.", STTContentError),
)

def from_native(
    code: str, message: str, hint: str | None = None, retry_helps: bool = False
) -> STTException:
    """The exception for an error of the engine."""
    kind = _EXACT.get(code)
    if kind is None:
        kind = next((kind for start, kind in _FAMILIES if code.startswith(start)), STTException)
    if issubclass(kind, STTHandshakeError) and not message.startswith("Handshake failed"):
        message = f"Handshake failed: {message}"
    if kind is STTCryptoIOError and "already exists" in message.lower():
        kind = STTFileExistsError
    elif kind is STTCryptoIOError and "no such file" in message.lower():
        kind = STTFileNotFoundError
    return kind(message, code=code, hint=hint, retry_helps=retry_helps)


class STTFileExistsError(STTCryptoIOError, FileExistsError):
    """The output exists."""


class STTFileNotFoundError(STTCryptoIOError, FileNotFoundError):
    """The input does not exist."""
