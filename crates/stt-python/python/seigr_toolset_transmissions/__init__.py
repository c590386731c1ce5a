"""STT: private byte streams between machines that share a seed."""

from importlib.metadata import PackageNotFoundError, version as _version

from .codec import BinaryStreamDecoder, BinaryStreamEncoder, StreamDecoder, StreamEncoder
from .crypto import STCWrapper
from .errors import (
    ConnectionRefusedError,
    ConnectionTimeoutError,
    STTCryptoError,
    STTEndpointError,
    STTException,
    STTHandshakeError,
    STTSeedError,
    STTSessionError,
    STTSettingError,
    STTStorageError,
    STTStreamError,
    STTTimeoutError,
)
from .events import EventEmitter, STTEvents
from .node import ReceivedPacket, SendReport, STTNode
from .session import STTSession, STTStream
from .storage import BinaryStorage, Chamber

try:
    __version__ = _version("seigr-toolset-transmissions")
except PackageNotFoundError:
    __version__ = "0"

__all__ = [
    "BinaryStorage",
    "BinaryStreamDecoder",
    "BinaryStreamEncoder",
    "Chamber",
    "ConnectionRefusedError",
    "ConnectionTimeoutError",
    "EventEmitter",
    "ReceivedPacket",
    "STCWrapper",
    "STTCryptoError",
    "STTEndpointError",
    "STTEvents",
    "STTException",
    "STTHandshakeError",
    "STTNode",
    "STTSeedError",
    "STTSession",
    "STTSessionError",
    "STTSettingError",
    "STTStorageError",
    "STTStream",
    "STTStreamError",
    "STTTimeoutError",
    "SendReport",
    "StreamDecoder",
    "StreamEncoder",
]
