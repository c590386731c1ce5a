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

try:
    __version__ = _version("seigr-toolset-transmissions")
except PackageNotFoundError:
    __version__ = "0"

__all__ = [
    "BinaryStreamDecoder",
    "BinaryStreamEncoder",
    "ConnectionRefusedError",
    "ConnectionTimeoutError",
    "STCWrapper",
    "STTCryptoError",
    "STTEndpointError",
    "STTException",
    "STTHandshakeError",
    "STTSeedError",
    "STTSessionError",
    "STTSettingError",
    "STTStorageError",
    "STTStreamError",
    "STTTimeoutError",
    "StreamDecoder",
    "StreamEncoder",
]
