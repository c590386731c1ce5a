"""One call, no context: a password is the only secret, and every call costs a stretch of 96 MiB."""

from __future__ import annotations

from typing import Any

from seigr_toolset_transmissions import _native

from ._context import Buffer, Secret


def _seedless() -> _native.Context:
    return _native.Context(None, 128, 6, b"", None)


def encrypt(content: str | Buffer, password: Secret) -> bytes:
    """Encrypts a text or bytes under a password into one blob, with decoy slots."""
    ciphertext, metadata = _seedless().encrypt(content, password, None, None, None)
    return metadata.to_bytes() + ciphertext


def decrypt(blob: Buffer, password: Secret) -> Any:
    """Opens what ``encrypt`` made; a text comes out as ``str``."""
    return _seedless().decrypt(blob, None, password, None)
