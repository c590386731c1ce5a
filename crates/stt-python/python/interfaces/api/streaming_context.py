"""Streams of chunks that may be lost, doubled or come out of order: live video, sensors, games.

>>> from interfaces.api.streaming_context import StreamingContext, ChunkHeader
>>> sender = StreamingContext("velvet turnip ocean quarrel 77 lantern")
>>> receiver = StreamingContext("velvet turnip ocean quarrel 77 lantern")
>>> header, encrypted = sender.encrypt_chunk(b"frame")
>>> receiver.decrypt_chunk(ChunkHeader.from_bytes(header.to_bytes()), encrypted)
b'frame'
"""

from __future__ import annotations

from typing import Any, Union

from seigr_toolset_transmissions import _native, _seeds
from seigr_toolset_transmissions._native import ChunkHeader

__all__ = ["ChunkHeader", "StreamingContext"]

Buffer = Union[bytes, bytearray, memoryview]


class StreamingContext:
    """Seals chunks, and opens those of everybody with the same seed, each once.

    ``optimal_chunk_size``: bytes of a sub-chunk, 1,024 to 1,048,576; larger chunks are split unless
    ``enable_adaptive_chunking`` is false. ``initial_depth`` and ``max_depth``, 1 to 15: layers of
    the stretch of the seed, and the most that a sender's metadata may ask for. ``lattice_size``:
    side of its matrix. ``key_schedule_size``: epochs that a receiver remembers.
    ``entropy_pool_size``: bytes of randomness drawn at once. ``key_rotation_mb``: a new key after
    so many megabytes. ``metadata``: 9 bytes from a sender's ``get_stream_metadata``; then only that
    sender is listened to. ``realm``: a name that keeps equal seeds apart.

    Raises ``STTSettingError`` out of range, ``STTSeedError`` for a seed that cannot be used.
    """

    # The engine's methods stand in the instance: a frame costs one call less.
    __slots__ = ("_native", "decrypt_chunk", "encrypt_chunk")

    def __init__(
        self,
        seed: str | Buffer | int,
        optimal_chunk_size: int = 8192,
        enable_adaptive_chunking: bool = True,
        initial_depth: int = 2,
        max_depth: int = 6,
        key_schedule_size: int = 256,
        entropy_pool_size: int = 1024,
        key_rotation_mb: int = 10,
        *,
        lattice_size: int = 128,
        metadata: Buffer | None = None,
        realm: str | Buffer = b"",
        strict_seed: bool = False,
    ) -> None:
        _seeds.check(seed, strict=strict_seed)
        self._native = _native.StreamingContext(
            seed,
            metadata,
            optimal_chunk_size,
            enable_adaptive_chunking,
            lattice_size,
            initial_depth,
            max_depth,
            key_schedule_size,
            entropy_pool_size,
            key_rotation_mb,
            realm,
        )
        #: ``encrypt_chunk(data)``: header and ciphertext of 0 to 16 MiB - 1 bytes.
        self.encrypt_chunk = self._native.encrypt_chunk
        #: ``decrypt_chunk(header, encrypted)``: the bytes. Raises ``STTCryptoError`` for a chunk
        #: that is forged, too old or was opened before.
        self.decrypt_chunk = self._native.decrypt_chunk

    def get_stream_metadata(self) -> bytes:
        """9 bytes that a receiver may be told beforehand; no secret."""
        return self._native.get_stream_metadata()

    def listen_to(self, metadata: Buffer) -> None:
        """Listens to the sender with these 9 bytes of metadata, and to nobody not named so."""
        data = bytes(metadata)
        if len(data) != 9:
            raise ValueError("a sender's metadata has 9 bytes")
        self._native.listen_to(int.from_bytes(data[1:], "big"))

    def rotate_key(self) -> None:
        """The next chunk gets a new key."""
        self._native.rotate_key()

    def save_marks(self) -> bytes:
        """What was received so far, sealed, so that nothing opens twice after a restart."""
        return self._native.save_marks()

    def load_marks(self, saved: Buffer) -> None:
        """Goes on where ``save_marks`` was called."""
        self._native.load_marks(saved)

    def get_performance_stats(self) -> dict[str, Any]:
        """Figures since the start: chunks, bytes, megabytes a second, milliseconds a chunk, depth,
        and what was refused and why."""
        return self._native.get_performance_stats()

    @property
    def subchunks_created(self) -> int:
        """Pieces that large chunks were split into."""
        return int(self.get_performance_stats()["subchunks_created"])

    def __reduce__(self) -> Any:
        raise TypeError("a streaming context holds a secret and is not pickled")

    def __repr__(self) -> str:
        stats = self.get_performance_stats()
        sent, got = stats["chunks_encrypted"], stats["chunks_decrypted"]
        return f"<StreamingContext {sent} chunks encrypted, {got} decrypted>"
