"""How each block of the documents is run.

A complete program runs as printed. A fragment runs after a prelude, which supplies only the names
(and files) that the block uses and does not make. After the block the prelude goes on, with what
came of it, and asserts what the document's text and comments say.

    @fragment("001-03")
    def _(run):
        result = yield {"stream_ctx": StreamingContext(SEED)}
        assert result["h1"].flags == 0
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from documents import Block
from undefined import undefined

#: Endless loops of the documents are ended after this many seconds, generously.
PATIENCE = 120.0


@dataclass
class Entry:
    """How one block is treated."""

    kind: str
    note: str = ""
    prelude: Callable[..., Any] | None = None


@dataclass
class Result:
    """What came of a block."""

    names: dict[str, Any]
    output: str
    warnings: list[warnings.WarningMessage] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@dataclass
class Run:
    """What a prelude may use: a folder of its own, which is the current one, and the names of the
    block, once it runs."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)


class Stop(Exception):
    """Raised by what a prelude supplies: ends an endless loop, and with it the block."""


TABLE: dict[str, Entry] = {}


def _enter(name: str, entry: Entry) -> None:
    assert name not in TABLE, name
    TABLE[name] = entry


def program(name: str, note: str = "") -> Callable[..., Any]:
    """A complete program. Its prelude supplies no names, at most files."""

    def take(prelude: Callable[..., Any]) -> Callable[..., Any]:
        _enter(name, Entry("program", note, prelude))
        return prelude

    return take


def fragment(name: str, note: str = "") -> Callable[..., Any]:
    """A block that uses names that it does not make."""

    def take(prelude: Callable[..., Any]) -> Callable[..., Any]:
        _enter(name, Entry("fragment", note, prelude))
        return prelude

    return take


def illustration(name: str, reason: str) -> None:
    """A block that is no Python that could run."""
    _enter(name, Entry("illustration", reason))


def execute(block: Block, run: Run) -> None:
    """Runs a block as its entry says."""
    entry = TABLE[block.name]
    assert entry.prelude is not None
    prelude = entry.prelude
    if inspect.isasyncgenfunction(prelude):
        steps = prelude(run)
        asyncio.run(asyncio.wait_for(_execute_async(block, steps, run), PATIENCE))
        return
    steps = prelude(run)
    supplied = next(steps)
    _only_names(block, supplied)
    with _captured() as (output, caught), contextlib.suppress(Stop):
        names = run.names = _namespace(supplied)
        exec(compile(block.text, block.name, "exec"), names)
    _finish(steps, Result(names, output.getvalue(), caught))


async def _execute_async(block: Block, steps: Any, run: Run) -> None:
    supplied = await anext(steps)
    _only_names(block, supplied)
    with _captured() as (output, caught), contextlib.suppress(Stop):
        names = run.names = _namespace(supplied)
        code = compile(block.text, block.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        outcome = types.FunctionType(code, names)()
        if inspect.iscoroutine(outcome):
            await outcome
    try:
        await steps.asend(Result(names, output.getvalue(), caught))
    except StopAsyncIteration:
        return
    raise AssertionError("a prelude yields once")


def _only_names(block: Block, supplied: dict[str, Any] | None) -> None:
    """A prelude supplies all names that the block does not make, and no others."""
    needed = undefined(block.text)
    assert set(supplied or {}) == needed, "what is supplied is not what is undefined"
    kind = TABLE[block.name].kind
    assert kind == ("fragment" if needed else "program"), "a program runs as printed"


def _namespace(supplied: dict[str, Any] | None) -> dict[str, Any]:
    return {"__name__": "__main__", **(supplied or {})}


@contextlib.contextmanager
def _captured() -> Any:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield output, caught


def _finish(steps: Any, result: Result) -> None:
    try:
        steps.send(result)
    except StopIteration:
        return
    raise AssertionError("a prelude yields once")
