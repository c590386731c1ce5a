"""Files piece by piece: `encrypt_stream` and `decrypt_stream` as generators."""

from __future__ import annotations

import gc
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from seigr_toolset_transmissions import errors
from stc import Metadata, STCContext

SEED = "velvet turnip ocean quarrel 77 lantern"
DATA = bytes(range(256)) * 1200


@pytest.fixture(scope="module")
def ctx() -> STCContext:
    return STCContext(SEED, 16, 1)


def result_of(generator: Any) -> tuple[list[bytes], Metadata]:
    """What it yields, and what it returns."""
    pieces = []
    while True:
        try:
            pieces.append(next(generator))
        except StopIteration as end:
            return pieces, end.value


def test_pieces_are_what_the_file_holds(ctx: STCContext, tmp_path: Path) -> None:
    pieces, metadata = result_of(ctx.encrypt_stream([DATA], password="pw", chunk_size=65536))
    sealed = b"".join(pieces)
    assert len(pieces) > 4 and sealed.startswith(metadata.to_bytes())
    (tmp_path / "sealed").write_bytes(sealed)
    ctx.decrypt_stream(tmp_path / "sealed", output_path=tmp_path / "open", password="pw")
    assert (tmp_path / "open").read_bytes() == DATA
    assert ctx.decrypt(sealed, password="pw") == DATA

    ctx.encrypt_stream(io_path(tmp_path, DATA), tmp_path / "by path", "pw")
    with open(tmp_path / "by path", "rb") as file:
        opened, _ = result_of(ctx.decrypt_stream(file, password="pw"))
    assert b"".join(opened) == DATA


def io_path(folder: Path, data: bytes) -> Path:
    path = folder / "in"
    path.write_bytes(data)
    return path


def test_every_kind_of_pieces(ctx: STCContext) -> None:
    forms: list[Any] = [
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        [DATA[:1], b"", DATA[1:100_000], DATA[100_000:]],
        (bytes([byte]) for byte in DATA[:1000]),
        io.BytesIO(DATA),
        [],
        b"",
    ]
    for form in forms:
        short = isinstance(form, Iterator) and not hasattr(form, "read")
        expected = DATA[:1000] if short else DATA if form else b""
        sealed = b"".join(ctx.encrypt_stream(form))
        assert b"".join(ctx.decrypt_stream([sealed])) == expected
    sealed = b"".join(ctx.encrypt_stream([DATA], context_data={"user": "alice"}))
    cut = (sealed[at : at + 999] for at in range(0, len(sealed), 999))
    opening = ctx.decrypt_stream(cut, context_data={"user": "alice"})
    assert b"".join(opening) == DATA


def test_metadata_may_stand_beside_it(ctx: STCContext) -> None:
    pieces, metadata = result_of(ctx.encrypt_stream([DATA]))
    sealed = b"".join(pieces)
    body = sealed[len(metadata.to_bytes()) :]
    for form in (sealed, body):
        assert b"".join(ctx.decrypt_stream([form], metadata)) == DATA


def test_what_is_cut_off_or_changed_raises(ctx: STCContext) -> None:
    sealed = b"".join(ctx.encrypt_stream([DATA], chunk_size=65536))
    for wrong in (sealed[:-1], sealed[:70_000], sealed + b"x", b"", b"x" * 1000):
        with pytest.raises(errors.STTCryptoError):
            for _piece in ctx.decrypt_stream([wrong]):
                pass
    changed = bytearray(sealed)
    changed[150_000] ^= 1
    got = b""
    with pytest.raises(ValueError):
        for piece in ctx.decrypt_stream([changed]):
            got += piece
    # Each piece that was given out had been authenticated.
    assert len(got) < len(DATA) and DATA.startswith(got)
    with pytest.raises(errors.STTDecryptionError):
        list(ctx.decrypt_stream([sealed], password="wrong"))


def test_nothing_runs_ahead_and_nothing_stays(ctx: STCContext) -> None:
    asked = 0

    def endless() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(65536)

    before = threading.active_count()
    sealing = ctx.encrypt_stream(endless(), chunk_size=65536)
    assert asked == 0
    for _number in range(5):
        assert next(sealing)
    # As many chunks as there are workers, and the header.
    assert asked < 300
    sealing.close()
    del sealing
    gc.collect()
    assert threading.active_count() == before
    until = time.monotonic() + 60
    while any("stc pieces" in name for name in threads()):
        assert time.monotonic() < until
        time.sleep(0.01)


def threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except OSError:
            continue
    return names


def test_an_exception_in_what_gives_the_pieces_is_raised(ctx: STCContext) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(100)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        list(ctx.encrypt_stream(failing()))
    untyped: Any = ctx
    with pytest.raises(TypeError, match="bytes-like"):
        list(untyped.encrypt_stream(["a text"]))


def test_the_forms_are_told_apart(ctx: STCContext, tmp_path: Path) -> None:
    untyped: Any = ctx
    forms: list[tuple[Any, ...]] = [("in",), (tmp_path,), ([b"x"], "out"), ("in", None, "pw")]
    for form in forms:
        with pytest.raises(TypeError, match="pass input_path and output_path"):
            untyped.encrypt_stream(*form)
    with pytest.raises(TypeError, match="pass input_path and output_path"):
        untyped.decrypt_stream("in", None)
    for settings in ({"progress_callback": print}, {"overwrite": False}):
        for call in (untyped.encrypt_stream, untyped.decrypt_stream):
            with pytest.raises(TypeError, match="neither progress_callback nor overwrite"):
                call([b"x"], **settings)
    with pytest.raises(TypeError, match="binary file"):
        untyped.encrypt_stream(7)
    with pytest.raises(ValueError):
        untyped.encrypt_stream([b"x"], chunk_size=7)
    with pytest.raises(errors.STTSealError):
        list(ctx.encrypt_stream([b"x"], use_decoys=True))
