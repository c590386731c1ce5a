"""Exceptions: families, builtin bases, pickling; and nothing shows a secret."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import warnings

import pytest
from interfaces.api.streaming_context import StreamingContext
from seigr_toolset_transmissions import (
    BinaryStorage,
    STCWrapper,
    STTNode,
    STTSeedError,
    StreamDecoder,
    StreamEncoder,
    errors,
)
from stc import STCContext

CLASSES = [
    kind
    for _name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.STTException)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_exceptions_can_be_pickled_and_copied(kind: type[errors.STTException]) -> None:
    made = kind("what happened", code="a.code", hint="what to do", retry_helps=True)
    for again in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert type(again) is kind and str(again) == "what happened"
        assert (again.code, again.hint, again.retry_helps) == ("a.code", "what to do", True)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConnectionRefusedError, ConnectionRefusedError),
        (errors.ConnectionTimeoutError, TimeoutError),
        (errors.ConnectionTimeoutError, ConnectionError),
        (errors.STTDeniedError, PermissionError),
        (errors.STTTimeoutError, asyncio.TimeoutError),
        (errors.STTSessionError, ConnectionAbortedError),
        (errors.STTStreamClosedError, BrokenPipeError),
        (errors.STTStreamResetError, ConnectionResetError),
        (errors.STTStreamEndedError, EOFError),
        (errors.STTFrameTooLargeError, ValueError),
        (errors.STTNotFoundError, KeyError),
        (errors.STTPortInUseError, OSError),
        (errors.STTFileNotFoundError, FileNotFoundError),
        (errors.STTStoppedError, RuntimeError),
    ],
)
def test_builtin_bases(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin) and issubclass(kind, errors.STTException)


def test_every_family_of_codes_has_a_class() -> None:
    for code, kind in errors._EXACT.items():
        assert type(errors.from_native(code, "x")) is kind
    for start, kind in errors._FAMILIES:
        assert type(errors.from_native(start + "unheard_of", "x")) is kind
    assert type(errors.from_native("unheard.of", "x")) is errors.STTException


SECRET = "velvet turnip ocean quarrel 77 lantern"


def test_nothing_shows_a_seed() -> None:
    wrapper = STCWrapper(SECRET)
    shown = [
        STTNode(node_seed=SECRET, shared_seed=SECRET),
        wrapper,
        STCContext(SECRET, 16, 1),
        StreamingContext(SECRET, lattice_size=16),
        StreamEncoder(wrapper, b"session1", 1),
        StreamDecoder(wrapper, b"session1", 1),
        BinaryStorage(wrapper),
    ]
    for one in shown:
        for text in (repr(one), str(one), f"{one}"):
            assert "turnip" not in text and SECRET.encode().hex() not in text
    for one in (wrapper, *shown[2:4]):
        with pytest.raises(TypeError):
            pickle.dumps(one)


# --- short seeds ---

MAKERS = {
    "node, shared": lambda seed, **more: STTNode(shared_seed=seed, **more),
    "node, its own": lambda seed, **more: STTNode(node_seed=seed, shared_seed=bytes(32), **more),
    "wrapper": lambda seed, **more: STCWrapper(seed, **more),
    "context": lambda seed, **more: STCContext(seed, 16, 1, **more),
    "frames": lambda seed, **more: StreamingContext(seed, lattice_size=16, **more),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("seed", ["hunter2 hunter2", b"hunter2 hunter2", bytearray(b"hunter2")])
def test_short_seeds_are_warned_of_or_refused(maker: str, seed: str | bytes | bytearray) -> None:
    make = MAKERS[maker]
    with pytest.warns(UserWarning, match="stt seed new") as caught:
        make(seed)
    [warning] = caught
    # It points at the caller, and shows nothing of the seed.
    assert warning.filename == __file__ and "hunter2" not in str(warning.message)
    with pytest.raises(STTSeedError) as refused:
        make(seed, strict_seed=True)
    assert refused.value.code == "seed.guessable" and "hunter2" not in str(refused.value)


@pytest.mark.parametrize("maker", MAKERS)
def test_long_seeds_are_not(maker: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MAKERS[maker](SECRET, strict_seed=True)
