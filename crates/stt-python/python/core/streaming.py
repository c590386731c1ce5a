"""Large files: finding the slot that a password opens, and decrypting in constant memory."""

from __future__ import annotations

import os
import time
from typing import Any, Union

from stc import Metadata, STCContext

__all__ = ["stream_decrypt_file", "validate_chunk_fast"]

Buffer = Union[bytes, bytearray, memoryview]
Path = Union[str, "os.PathLike[str]"]


def _context(metadata: Metadata | Buffer | None, context: STCContext | None) -> STCContext:
    if context is None and isinstance(metadata, Metadata):
        context = metadata._context
    if context is None:
        raise ValueError(
            "this metadata was not made by a context of this process: pass context=STCContext(seed)"
        )
    return context


def validate_chunk_fast(
    chunk: Buffer,
    metadata: Metadata | Buffer,
    password: str | Buffer | None = None,
    context_data: Any = None,
    *,
    context: STCContext | None = None,
) -> tuple[int, dict[str, Any]]:
    """Finds the slot that opens, without looking at the content: its index, and a dict with
    ``validation_time`` (seconds), ``slots`` and ``bytes_examined``.

    Slots stand in random order, so the index says nothing about what the slot holds. ``context``
    may be left out when the metadata was made by one in this process.

    Raises ``STTDecryptionError`` when nothing opens.
    """
    started = time.perf_counter()
    found, slots, _ = _context(metadata, context).find_slot(
        chunk, metadata, password, context_data
    )
    took = time.perf_counter() - started
    info = {"validation_time": took, "slots": slots, "bytes_examined": len(metadata)}
    return found, info


def stream_decrypt_file(
    input_file: Path,
    output_file: Path,
    metadata: Metadata | Buffer | None = None,
    password: str | Buffer | None = None,
    context_data: Any = None,
    *,
    context: STCContext | None = None,
    progress_callback: Any = None,
) -> dict[str, Any]:
    """Decrypts a file in constant memory; gives ``throughput_mbps``, ``peak_memory_usage`` (bytes
    of all buffers at once), ``chunks_processed`` and more.

    ``context`` may be left out when the metadata was made by one in this process.

    Raises ``STTDecryptionError``, ``FileNotFoundError``.
    """
    return _context(metadata, context).decrypt_stream(
        input_file,
        metadata,
        output_file,
        password,
        progress_callback=progress_callback,
        context_data=context_data,
    )
