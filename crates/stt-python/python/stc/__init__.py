"""STC: encrypted messages, files and hashes under one seed.

>>> from stc import STCContext
>>> ctx = STCContext("velvet turnip ocean quarrel 77 lantern")
>>> encrypted, metadata = ctx.encrypt("Hello", password="secret")
>>> ctx.decrypt(encrypted, metadata, password="secret")
'Hello'
"""

from ._context import CEL, HashValue, Metadata, STCContext
from ._quick import decrypt, encrypt
from seigr_toolset_transmissions._native import content_hash
from seigr_toolset_transmissions.errors import STTCryptoError, STTException

__all__ = [
    "CEL",
    "HashValue",
    "Metadata",
    "STCContext",
    "STTCryptoError",
    "STTException",
    "content_hash",
    "decrypt",
    "encrypt",
]
