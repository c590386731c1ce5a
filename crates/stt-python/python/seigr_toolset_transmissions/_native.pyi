"""The private half in Rust. Its arguments are those that the public classes pass on."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Union, final

from typing_extensions import Buffer

_Data = Union[str, Buffer]
_Path = Union[str, PathLike[str]]

def content_hash(data: _Data) -> bytes:
    """Plain BLAKE3: the address of content, 32 bytes, the same every time."""

@final
class Metadata:
    def __new__(cls, data: Buffer) -> Metadata: ...
    def to_bytes(self) -> bytes: ...
    @property
    def slots(self) -> int: ...
    @property
    def chunk_size(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    def __len__(self) -> int: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Context:
    def __new__(
        cls,
        seed: _Data | int | None,
        lattice_size: int,
        depth: int,
        realm: _Data,
        max_stretch_kib: int | None,
    ) -> Context: ...
    def encrypt(
        self,
        data: _Data,
        password: _Data | None,
        context_data: Any,
        use_decoys: bool | None,
        decoys: Sequence[tuple[_Data, _Data]] | None,
    ) -> tuple[bytes, Metadata]: ...
    def decrypt(
        self,
        ciphertext: Buffer,
        metadata: Metadata | None,
        password: _Data | None,
        context_data: Any,
    ) -> Any: ...
    def find_slot(
        self,
        chunk: Buffer,
        metadata: Metadata | None,
        password: _Data | None,
        context_data: Any,
    ) -> tuple[int, int, float]: ...
    def encrypt_file(
        self,
        input: _Path,
        output: _Path,
        password: _Data | None,
        context_data: Any,
        use_decoys: bool | None,
        chunk_len: int,
        overwrite: bool,
        progress: Callable[[int, int], Any] | None,
    ) -> tuple[Metadata, dict[str, Any]]: ...
    def decrypt_file(
        self,
        input: _Path,
        metadata: Metadata | None,
        output: _Path,
        password: _Data | None,
        context_data: Any,
        overwrite: bool,
        progress: Callable[[int, int], Any] | None,
    ) -> dict[str, Any]: ...
    def hash(self, data: _Data, context_data: Any) -> tuple[bytes, int, int]: ...
    def verify(
        self, digest: bytes, epoch: int, position: int, data: _Data, context_data: Any
    ) -> bool: ...
    def derive_key(self, purpose: str, context_data: Any) -> bytes: ...
    def save_state(self) -> dict[str, bytes]: ...
    def load_state(self, cel_state: bytes, phe_state: bytes, pcf_state: bytes) -> None: ...
    def entropy_health(self) -> dict[str, Any]: ...
    def update(self) -> None: ...
    def forget_passwords(self) -> None: ...
    @property
    def epoch(self) -> int: ...
    @property
    def lattice_size(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def suite(self) -> str: ...

@final
class ChunkHeader:
    """The 16 bytes before a chunk: readable by anybody, authenticated with the chunk."""

    SIZE: int
    @staticmethod
    def from_bytes(data: Buffer) -> ChunkHeader:
        """Reads what ``to_bytes`` wrote: exactly 16 bytes."""

    def to_bytes(self) -> bytes:
        """The 16 bytes on the wire."""

    @property
    def sequence(self) -> int:
        """Number of the chunk."""

    @property
    def nonce(self) -> int:
        """The sender's nonce."""

    @property
    def data_length(self) -> int:
        """Bytes of plaintext."""

    @property
    def flags(self) -> int:
        """Bit 0: split into sub-chunks."""

    def __bytes__(self) -> bytes: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class StreamingContext:
    def __new__(
        cls,
        seed: _Data | int,
        metadata: Buffer | None,
        optimal_chunk_size: int,
        enable_adaptive_chunking: bool,
        lattice_size: int,
        initial_depth: int,
        max_depth: int,
        key_schedule_size: int,
        entropy_pool_size: int,
        key_rotation_mb: int,
        realm: _Data,
    ) -> StreamingContext: ...
    def encrypt_chunk(self, data: Buffer) -> tuple[ChunkHeader, bytes]: ...
    def decrypt_chunk(self, header: ChunkHeader, sealed: Buffer) -> bytes: ...
    def get_stream_metadata(self) -> bytes: ...
    def listen_to(self, nonce: int) -> None: ...
    def rotate_key(self) -> None: ...
    def save_marks(self) -> bytes: ...
    def load_marks(self, saved: Buffer) -> None: ...
    def get_performance_stats(self) -> dict[str, Any]: ...

@final
class Encoder:
    def __new__(
        cls,
        root: bytes,
        session_id: bytes,
        stream_id: int,
        length: int | None,
        segment_size: int,
        window: int,
        role: str | None,
        flow_control: bool,
    ) -> Encoder: ...
    def send(self, data: Buffer) -> list[tuple[int, bytes]]: ...
    def ready(self) -> list[tuple[int, bytes]]: ...
    def finish(self) -> list[tuple[int, bytes]]: ...
    def grant(self, generation: int, limit: int) -> None: ...
    def reset(self) -> None: ...
    @property
    def credit_left(self) -> int: ...
    @property
    def is_finished(self) -> bool: ...
    def stats(self) -> dict[str, int]: ...

@final
class Decoder:
    def __new__(
        cls,
        root: bytes,
        session_id: bytes,
        stream_id: int,
        segment_size: int,
        window: int,
        role: str | None,
    ) -> Decoder: ...
    def receive_segment(self, segment: Buffer) -> str: ...
    def receive_all(self) -> bytes: ...
    def next_bytes(self) -> bytes | None: ...
    def skip_missing(self) -> int: ...
    def credit(self) -> tuple[int, int]: ...
    @property
    def is_finished(self) -> bool: ...
    def stats(self) -> dict[str, int]: ...
