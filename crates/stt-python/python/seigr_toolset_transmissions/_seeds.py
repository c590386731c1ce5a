"""Short seeds: accepted with a warning, or refused."""

from __future__ import annotations

import sys
import warnings

from .errors import STTSeedError

MINIMUM = 32
_HERE = ("seigr_toolset_transmissions", "stc", "interfaces.api", "core.streaming")


def check(seed: object, *, strict: bool, what: str = "seed") -> None:
    """Warns about a text or bytes shorter than 32 bytes, which is easily guessed; with ``strict``
    refuses it."""
    if isinstance(seed, str):
        length = len(seed.encode())
    elif isinstance(seed, (bytes, bytearray, memoryview)):
        length = len(bytes(seed))
    else:
        return
    if length >= MINIMUM:
        return
    text = (
        f"the {what} has {length} bytes and can probably be guessed; use at least {MINIMUM} random "
        "bytes, for example secrets.token_bytes(32) or the output of `stt seed new`"
    )
    if strict:
        raise STTSeedError(text, code="seed.guessable")
    warnings.warn(text, UserWarning, stacklevel=_caller())


def _caller() -> int:
    """How far up the first frame outside of these packages is."""
    level = 2
    try:
        while sys._getframe(level).f_globals.get("__name__", "").startswith(_HERE):
            level += 1
    except ValueError:
        return 2
    return level
