"""A context: one secret, and everything that is done with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol, TypeGuard, Union, cast, final, overload

from seigr_toolset_transmissions import _native, _seeds
from seigr_toolset_transmissions.errors import STTCryptoError

Buffer = Union[bytes, bytearray, memoryview]
Secret = Union[str, Buffer]
Path = Union[str, "os.PathLike[str]"]
Progress = Callable[[int, int], Any]


class Readable(Protocol):
    """A binary file, or what reads like one."""

    def read(self, size: int = ..., /) -> bytes:
        """At most so many bytes, none at the end."""
        ...


Pieces = Union[Buffer, Iterable[Buffer], Readable]

#: Bytes that are read at once from a binary file.
_PIECE = 1 << 18


class Metadata:
    """What ``encrypt`` gives beside the ciphertext: the envelope's header. It is no secret, and it
    can be pickled, compared and hashed."""

    __slots__ = ("_context", "_native")

    def __init__(self, data: Buffer) -> None:
        self._native = _native.Metadata(data)
        self._context: STCContext | None = None

    @classmethod
    def _of(cls, native: _native.Metadata, context: STCContext) -> Metadata:
        self = cls.__new__(cls)
        self._native = native
        self._context = context
        return self

    def to_bytes(self) -> bytes:
        """The header's bytes, for storage in any form."""
        return self._native.to_bytes()

    @property
    def slots(self) -> int:
        """Slots of the envelope: the real content, decoys, and empty ones that look the same."""
        return self._native.slots

    @property
    def chunk_size(self) -> int:
        """Bytes of a chunk."""
        return self._native.chunk_size

    @property
    def epoch(self) -> int:
        """Epoch of the context that made it."""
        return self._native.epoch

    def __len__(self) -> int:
        return len(self._native)

    def __eq__(self, other: object) -> bool:
        return self._native == other._native if isinstance(other, Metadata) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._native)

    def __reduce__(self) -> tuple[Any, ...]:
        return Metadata, (self.to_bytes(),)

    def __repr__(self) -> str:
        return f"Metadata({len(self)} bytes, {self.slots} slots)"


@final
class HashValue(bytes):
    """A keyed hash of 32 bytes. ``epoch`` and ``position`` say which of the context's hashes it is;
    ``STCContext.verify`` needs them."""

    epoch: int
    position: int

    def __new__(cls, digest: bytes, epoch: int, position: int) -> HashValue:
        self = super().__new__(cls, digest)
        self.epoch, self.position = epoch, position
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return HashValue, (bytes(self), self.epoch, self.position)


class CEL:
    """What moves in a context: its epoch."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Context) -> None:
        self._native = native

    def update(self) -> None:
        """Starts a new epoch: later hashes are unrelated to earlier ones and the use that the
        health report counts starts from zero. Envelopes of every epoch still open."""
        self._native.update()

    @property
    def epoch(self) -> int:
        """How often ``update`` was called."""
        return self._native.epoch


class STCContext:
    """One secret, and everything that is done with it. Can be shared between threads.

    ``seed``: a text, bytes, an integer, or the text of a key from ``stt seed new``. One shorter
    than 32 bytes is accepted with a ``UserWarning``, with ``strict_seed=True`` it is refused.
    ``lattice_size`` (16 to 1,024) and ``depth`` (1 to 255): memory of a stretch,
    ``lattice_size²·depth`` KiB; both ends need the same. ``realm``: a name that keeps equal seeds
    apart. ``max_stretch_kib``: most memory that an envelope may ask for when it is opened.

    Raises ``STTSeedError`` for a seed that cannot be used and ``STTSettingError`` out of range.
    """

    __slots__ = ("__weakref__", "_native", "cel")

    def __init__(
        self,
        seed: Secret | int | None = None,
        lattice_size: int = 128,
        depth: int = 6,
        *,
        realm: Secret = b"",
        max_stretch_kib: int | None = None,
        strict_seed: bool = False,
    ) -> None:
        _seeds.check(seed, strict=strict_seed)
        self._native = _native.Context(seed, lattice_size, depth, realm, max_stretch_kib)
        self.cel = CEL(self._native)

    @classmethod
    def _checked(cls, seed: Secret, lattice_size: int, depth: int) -> STCContext:
        """A context whose seed was looked at before."""
        self = cls.__new__(cls)
        self._native = _native.Context(seed, lattice_size, depth, b"", None)
        self.cel = CEL(self._native)
        return self

    # --- messages ---

    def encrypt(
        self,
        data: str | Buffer,
        password: Secret | None = None,
        context_data: Any = None,
        use_decoys: bool | None = None,
        *,
        decoys: Iterable[tuple[Secret, str | Buffer]] | None = None,
    ) -> tuple[bytes, Metadata]:
        """Encrypts a text or bytes; gives ciphertext and metadata.

        ``context_data``: what must be named again to decrypt (None, bool, int, float, str, bytes,
        lists and dicts of them). It is not stored. ``use_decoys``: whether there are 4 to 8 slots
        of which nobody can tell how many are used (default: yes; the ciphertext is 4 to 8 times as
        long). ``decoys``: up to 3 pairs of a password and a harmless content that it opens.

        Raises ``STTSealError`` when the options contradict each other.
        """
        pairs = None if decoys is None else list(decoys)
        ciphertext, native = self._native.encrypt(
            data, password, context_data, use_decoys, pairs
        )
        return ciphertext, Metadata._of(native, self)

    def decrypt(
        self,
        encrypted: Buffer,
        metadata: Metadata | Buffer | None = None,
        password: Secret | None = None,
        context_data: Any = None,
    ) -> Any:
        """Decrypts; what went in as a text comes out as ``str``, all else as ``bytes``.

        Raises ``STTDecryptionError`` for a wrong seed, password or context data (which cannot be
        told apart), and for a ciphertext that was changed or cut off.
        """
        return self._native.decrypt(encrypted, _header(metadata), password, context_data)

    # --- files ---

    @overload
    def encrypt_stream(
        self,
        input_path: Path,
        output_path: Path,
        password: Secret | None = None,
        chunk_size: int = 1 << 20,
        progress_callback: Progress | None = None,
        context_data: Any = None,
        use_decoys: bool | None = None,
        *,
        overwrite: bool = True,
    ) -> Metadata: ...

    @overload
    def encrypt_stream(
        self,
        input_path: Pieces,
        output_path: None = None,
        password: Secret | None = None,
        chunk_size: int = 1 << 20,
        progress_callback: None = None,
        context_data: Any = None,
        use_decoys: bool | None = None,
    ) -> Generator[bytes, None, Metadata]: ...

    def encrypt_stream(
        self,
        input_path: Path | Pieces,
        output_path: Path | None = None,
        password: Secret | None = None,
        chunk_size: int = 1 << 20,
        progress_callback: Progress | None = None,
        context_data: Any = None,
        use_decoys: bool | None = None,
        *,
        overwrite: bool = True,
    ) -> Metadata | Generator[bytes, None, Metadata]:
        """Encrypts a file into another, or pieces into pieces, in constant memory.

        With two paths it gives the metadata, which also stands at the front of the output. The
        output appears when it is complete, and not at all when something fails.
        ``progress_callback(done, total)`` is called with bytes, in the calling thread; an exception
        in it ends the work and is raised.

        With bytes, an iterable of bytes, or a binary file, and no output it is a generator: pieces
        of ciphertext, metadata first, which one after the other are what the file would hold. It
        works as far as it is iterated; its return value is the metadata.

        ``chunk_size``: 65,536 to 4,194,304 bytes. ``use_decoys``: default no here, as it makes the
        output 4 to 8 times as long; a generator cannot, because the length must be known.

        Raises ``STTSealError``, ``FileNotFoundError``, with ``overwrite=False``
        ``FileExistsError``.
        """
        if _is_path(input_path) and output_path is not None:
            native, _ = self._native.encrypt_file(
                os.fspath(input_path),
                os.fspath(output_path),
                password,
                context_data,
                use_decoys,
                chunk_size,
                overwrite,
                progress_callback,
            )
            return Metadata._of(native, self)
        pieces = _pieces("encrypt_stream", input_path, output_path, progress_callback, overwrite)
        work = self._native.seal_pieces(password, context_data, use_decoys, chunk_size)
        return self._made(work, pieces)

    @overload
    def decrypt_stream(
        self,
        input_path: Path,
        metadata: Metadata | Buffer | None = None,
        output_path: Path | None = None,
        password: Secret | None = None,
        chunk_size: int | None = None,
        progress_callback: Progress | None = None,
        context_data: Any = None,
        *,
        overwrite: bool = True,
    ) -> dict[str, Any]: ...

    @overload
    def decrypt_stream(
        self,
        input_path: Pieces,
        metadata: Metadata | Buffer | None = None,
        output_path: None = None,
        password: Secret | None = None,
        chunk_size: int | None = None,
        progress_callback: None = None,
        context_data: Any = None,
    ) -> Generator[bytes, None, Metadata]: ...

    def decrypt_stream(
        self,
        input_path: Path | Pieces,
        metadata: Metadata | Buffer | None = None,
        output_path: Path | None = None,
        password: Secret | None = None,
        chunk_size: int | None = None,
        progress_callback: Progress | None = None,
        context_data: Any = None,
        *,
        overwrite: bool = True,
    ) -> dict[str, Any] | Generator[bytes, None, Metadata]:
        """Decrypts a file into another, or pieces into pieces, in constant memory.

        With two paths it gives figures of the work. The output appears when all of it was
        authenticated. With pieces, as :meth:`encrypt_stream` takes them, it is a generator of what
        was encrypted. Every piece was authenticated, but only its end without an exception says
        that nothing was cut off: who acts on pieces before must be ready to take that back.

        ``chunk_size`` is taken from the file; another value than None, or than the file's, changes
        nothing but is checked to be positive.

        Raises ``STTDecryptionError``, ``FileNotFoundError``.
        """
        if chunk_size is not None and chunk_size <= 0:
            raise ValueError("chunk_size is a positive number of bytes")
        if _is_path(input_path) and output_path is not None:
            return self._native.decrypt_file(
                os.fspath(input_path),
                _header(metadata),
                os.fspath(output_path),
                password,
                context_data,
                overwrite,
                progress_callback,
            )
        pieces = _pieces("decrypt_stream", input_path, output_path, progress_callback, overwrite)
        work = self._native.open_pieces(_header(metadata), password, context_data)
        return self._made(work, pieces)

    def _made(
        self, work: _native.Pieces, pieces: Iterator[Buffer]
    ) -> Generator[bytes, None, Metadata]:
        while True:
            made = work.pull()
            if made is None:
                work.feed(next(pieces, None))
            elif isinstance(made, bytes):
                yield made
            else:
                return Metadata._of(made, self)

    def find_slot(
        self,
        chunk: Buffer,
        metadata: Metadata | Buffer | None = None,
        password: Secret | None = None,
        context_data: Any = None,
    ) -> tuple[int, int, float]:
        """Index of the slot that opens, number of slots, and seconds that it took; from the first
        bytes of an envelope (842 are enough), or from its metadata."""
        return self._native.find_slot(chunk, _header(metadata), password, context_data)

    # --- hashes and keys ---

    def hash(self, data: str | Buffer, context_data: Any = None) -> HashValue:
        """A keyed hash. Every call moves the context on, so equal data gives another hash each
        time; ``content_hash`` gives the same every time."""
        return HashValue(*self._native.hash(data, context_data))

    def verify(self, value: HashValue, data: str | Buffer, context_data: Any = None) -> bool:
        """Whether ``value`` is a hash of ``data`` under this seed."""
        return self._native.verify(
            bytes(value), value.epoch, value.position, data, context_data
        )

    def derive_key(self, purpose: str, context_data: Any = None) -> bytes:
        """32 bytes for a purpose, the same every time."""
        return self._native.derive_key(purpose, context_data)

    # --- state and health ---

    def save_state(self) -> dict[str, bytes]:
        """A snapshot of what moves: three sealed parts, to be kept together."""
        return self._native.save_state()

    def load_state(self, state: dict[str, bytes]) -> None:
        """Goes to a snapshot of a context with the same seed; an error changes nothing."""
        try:
            parts = [state[name] for name in ("cel_state", "phe_state", "pcf_state")]
        except (KeyError, TypeError) as error:
            raise STTCryptoError(
                "a state is a dict with cel_state, phe_state and pcf_state",
                code="record.not_one",
            ) from error
        self._native.load_state(*parts)

    def get_entropy_health(self) -> dict[str, Any]:
        """How good the secrets are: ``quality_score`` from 0 to 1, ``status`` in a word,
        ``strength`` of the seed, ``freshness``, ``advice`` and more. ``cel.update()`` restores
        freshness; nothing makes a weak seed strong."""
        return self._native.entropy_health()

    def forget_passwords(self) -> None:
        """Wipes every stretched password from memory."""
        self._native.forget_passwords()

    @property
    def lattice_size(self) -> int:
        """Side of the stretch's matrix."""
        return self._native.lattice_size

    @property
    def depth(self) -> int:
        """Layers of the stretch's matrix."""
        return self._native.depth

    def __reduce__(self) -> Any:
        raise TypeError("a context holds a secret and is not pickled; pickle save_state() instead")

    def __repr__(self) -> str:
        return f"<STCContext {self.lattice_size}×{self.lattice_size}×{self.depth}>"


def _header(metadata: Metadata | Buffer | None) -> _native.Metadata | None:
    if metadata is None:
        return None
    if isinstance(metadata, Metadata):
        return metadata._native
    return _native.Metadata(metadata)


def _is_path(value: object) -> TypeGuard[Path]:
    return isinstance(value, (str, os.PathLike))


def _pieces(
    name: str, value: Path | Pieces, output: object, progress: object, overwrite: bool
) -> Iterator[Buffer]:
    if isinstance(value, (str, os.PathLike)) or output is not None:
        raise TypeError(
            f"{name} goes from file to file or from pieces to pieces: pass input_path and "
            "output_path, or bytes, an iterable of bytes or a binary file and no output_path"
        )
    if progress is not None or not overwrite:
        raise TypeError(f"{name} of pieces has neither progress_callback nor overwrite")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return iter([cast(Buffer, value)])
    if isinstance(value, Iterable) and not hasattr(value, "read"):
        return iter(value)
    read = getattr(value, "read", None)
    if read is None:
        raise TypeError(f"{name} takes bytes, an iterable of bytes, or a binary file")
    return iter(lambda: read(_PIECE), b"")
