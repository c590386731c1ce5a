"""STT: private byte streams between machines that share a seed."""

import sysconfig as _sysconfig

if _sysconfig.get_config_var("Py_GIL_DISABLED"):
    raise ImportError(
        "seigr_toolset_transmissions does not run on free-threaded Python yet, because nobody "
        "tried: use the build with the GIL"
    )

from ._native import VERSION as __version__, new_seed
from .codec import BinaryStreamDecoder, BinaryStreamEncoder, StreamDecoder, StreamEncoder
from .continuity import ResumableSession, SessionContinuity
from .crypto import STCWrapper
from .delivery import (
    AdaptivePriorityManager,
    ContentAffinityPool,
    Delivery,
    PoolMissError,
)
from .errors import (
    ConnectionRefusedError,
    ConnectionTimeoutError,
    STTBackpressureError,
    STTContentError,
    STTCryptoError,
    STTEndpointError,
    STTException,
    STTHandshakeError,
    STTSeedError,
    STTSessionError,
    STTSettingError,
    STTStorageError,
    STTStreamError,
    STTSwarmError,
    STTTimeoutError,
)
from .dispatch import FrameDispatcher
from .endpoints import EndpointManager, EndpointReport
from .events import EventEmitter, STTEvents
from .log import DurableLog
from .node import ReceivedPacket, SendReport, STTNode, verify_signature
from .protocols import Protocol, ProtocolStream
from .session import STTSession, STTStream
from .storage import BinaryStorage, Chamber

__all__ = [
    "AdaptivePriorityManager",
    "BinaryStorage",
    "BinaryStreamDecoder",
    "BinaryStreamEncoder",
    "Chamber",
    "ConnectionRefusedError",
    "ConnectionTimeoutError",
    "ContentAffinityPool",
    "Delivery",
    "DurableLog",
    "EndpointManager",
    "EndpointReport",
    "EventEmitter",
    "FrameDispatcher",
    "PoolMissError",
    "Protocol",
    "ProtocolStream",
    "ReceivedPacket",
    "ResumableSession",
    "STCWrapper",
    "STTBackpressureError",
    "STTContentError",
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
    "STTSwarmError",
    "STTTimeoutError",
    "SendReport",
    "SessionContinuity",
    "StreamDecoder",
    "StreamEncoder",
    "new_seed",
    "verify_signature",
]
