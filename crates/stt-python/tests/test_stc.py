"""STC beyond what the documents print."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stc
from interfaces.api import stc_api
from interfaces.api.streaming_context import StreamingContext
from seigr_toolset_transmissions import STTException, errors
from stc import STCContext

SEED = "a seed of the tests, longer than 32 bytes"


def small(seed: str | bytes | int = SEED) -> STCContext:
    return STCContext(seed, 16, 1)


def test_any_buffer_goes_in_and_bytes_or_text_come_out() -> None:
    ctx = small()
    for content in (b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2]):
        encrypted, metadata = ctx.encrypt(content, use_decoys=False)
        assert ctx.decrypt(bytearray(encrypted), metadata) == b"abc"
    assert ctx.decrypt(*ctx.encrypt("Grüße", "pw"), "pw") == "Grüße"
    with pytest.raises(TypeError):
        ctx.encrypt(5)  # type: ignore[arg-type]


def test_errors_have_code_hint_and_builtin_and_are_pickled() -> None:
    encrypted, metadata = small().encrypt(b"x", password="right")
    with pytest.raises(ValueError) as caught:
        small().decrypt(encrypted, metadata, "wrong")
    error = caught.value
    assert isinstance(error, errors.STTDecryptionError) and isinstance(error, STTException)
    assert error.code == "envelope.nothing_opens" and not error.retry_helps
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code, again.hint) == (
        type(error),
        str(error),
        error.code,
        error.hint,
    )


def test_every_exception_is_pickled_and_keeps_its_builtin() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    for kind in (one for one in kinds if issubclass(one, STTException)):
        error = pickle.loads(pickle.dumps(kind("text", code="a.b", hint="c", retry_helps=True)))
        assert type(error) is kind and str(error) == "text"
        assert (error.code, error.hint, error.retry_helps) == ("a.b", "c", True)
    assert issubclass(errors.ConnectionTimeoutError, TimeoutError)
    assert issubclass(errors.ConnectionRefusedError, ConnectionRefusedError)
    assert issubclass(errors.STTDeniedError, PermissionError)
    refused = errors.from_native("connect.denied", "no", None, False)
    assert type(refused) is errors.STTDeniedError and str(refused).startswith("Handshake failed")


def test_short_seeds_are_warned_about_or_refused() -> None:
    with pytest.warns(UserWarning, match="has 5 bytes"):
        small("short")
    with pytest.raises(errors.STTSeedError, match="at least 32"):
        STCContext("short", strict_seed=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(SEED)
    with pytest.raises(errors.STTSeedError):
        STCContext("")


def test_no_repr_or_pickle_holds_a_secret() -> None:
    stream = StreamingContext(SEED, lattice_size=16)
    for one in (small(), stream):
        assert SEED not in repr(one)
        with pytest.raises(TypeError):
            pickle.dumps(one)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(errors.STTSettingError):
        STCContext(SEED, lattice_size=1)
    with pytest.raises(errors.STTSettingError):
        StreamingContext(SEED, optimal_chunk_size=3)
    with pytest.raises(ValueError):
        small().encrypt("x", context_data=2**64)
    nested: object = None
    for _number in range(40):
        nested = [nested]
    with pytest.raises(ValueError, match="deep"):
        small().encrypt("x", context_data=nested)


def test_decoys_open_under_their_passwords() -> None:
    ctx = small()
    encrypted, metadata = ctx.encrypt("real", "pw", decoys=[("other", "harmless")])
    assert ctx.decrypt(encrypted, metadata, "pw") == "real"
    assert ctx.decrypt(encrypted, metadata, "other") == "harmless"


def test_one_call_without_a_context() -> None:
    assert stc_api.decrypt(stc.encrypt("text", "pw"), b"pw") == "text"


def test_hashes_move_and_are_verified() -> None:
    ctx = small()
    first, second = ctx.hash("x"), ctx.hash("x")
    assert first != second and len(first) == 32
    assert ctx.verify(pickle.loads(pickle.dumps(first)), "x") and not ctx.verify(first, "y")
    assert stc.content_hash("x") == stc.content_hash(b"x")


def test_a_state_of_another_seed_changes_nothing() -> None:
    ctx, before = small(), small().hash("x")
    with pytest.raises(errors.STTCryptoError):
        ctx.load_state(small("another seed, which is longer than 32 bytes").save_state())
    with pytest.raises(errors.STTCryptoError):
        ctx.load_state({})
    assert ctx.hash("x") == before


def test_an_exception_in_progress_ends_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(bytes(20_000_000))
    threads = set()

    def fail(done: int, total: int) -> None:
        threads.add(threading.get_ident())
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        small().encrypt_stream(source, target, "pw", progress_callback=fail)
    assert list(tmp_path.iterdir()) == [source]
    assert threads == {threading.get_ident()}


def test_files_that_exist_or_not(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    with pytest.raises(FileNotFoundError):
        small().encrypt_stream(source, target)
    source.write_bytes(b"x")
    target.write_bytes(b"y")
    with pytest.raises(FileExistsError):
        small().encrypt_stream(source, target, overwrite=False)
    small().encrypt_stream(source, target)
    small().decrypt_stream(target, output_path=source)
    assert source.read_bytes() == b"x"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_long_call(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    # Long enough, and no more than a disk has if the signal is missed.
    os.truncate(tmp_path / "in", 1 << 33)
    program = (
        "import stc\n"
        f"ctx = stc.STCContext({SEED!r}, 16, 1)\n"
        "said = []\n"
        "def progress(done, total):\n"
        "    said or print('working', flush=True)\n"
        "    said.append(1)\n"
        "ctx.encrypt_stream('in', 'out', progress_callback=progress)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"working\n"
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate(timeout=60)
    finally:
        child.kill()
    assert b"KeyboardInterrupt" in complaint
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_threads_share_one_object() -> None:
    ctx, stream = small(), StreamingContext(SEED, lattice_size=16)

    def work(number: int) -> bool:
        data = bytes([number]) * 100_000
        encrypted, metadata = ctx.encrypt(data, "pw", use_decoys=False)
        chunk = stream.encrypt_chunk(data)
        return ctx.decrypt(encrypted, metadata, "pw") == data == stream.decrypt_chunk(*chunk)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(64)))


def test_chunks_open_once_and_forgeries_do_not() -> None:
    sender = StreamingContext(SEED, lattice_size=16)
    receiver = StreamingContext(SEED, lattice_size=16, metadata=sender.get_stream_metadata())
    header, chunk = sender.encrypt_chunk(memoryview(b"frame"))
    with pytest.raises(errors.STTDecryptionError):
        receiver.decrypt_chunk(header, b"\0" + chunk[1:])
    assert receiver.decrypt_chunk(pickle.loads(pickle.dumps(header)), bytearray(chunk)) == b"frame"
    with pytest.raises(errors.STTCryptoError) as caught:
        receiver.decrypt_chunk(header, chunk)
    assert caught.value.code == "chunk.replayed"


def test_namespace_packages_leave_room_for_others(tmp_path: Path) -> None:
    for package in ("core", "interfaces"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "mine.py").write_text("here = True\n")
    program = "import core.mine, core.streaming, interfaces.mine, interfaces.api.stc_api"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
