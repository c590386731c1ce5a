"""The documents' blocks run as they are printed."""

from __future__ import annotations

import os
from pathlib import Path

import blocks
import documents
import fragments
import pytest
from documents import Block, blocks_of


def found() -> list[Block]:
    if documents.folder() is not None:
        return documents.all_blocks()
    return []


RUN = {"program", "fragment"}


def test_the_documents_are_there() -> None:
    if documents.folder() is None:
        text = "the reference documents were not found: set STT_REFERENCE_DIR; no block was run"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)


def test_every_block_has_an_entry() -> None:
    names = [block.name for block in found()]
    if names:
        assert sorted(fragments.TABLE) == sorted(names)


@pytest.mark.parametrize(
    "block",
    [one for one in found() if blocks.entry(one).kind in RUN],
    ids=lambda block: block.name,
)
def test_block(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fragments.execute(block, fragments.Run(tmp_path))


def test_open_fences_and_other_languages() -> None:
    text = "```python\na = 1\n```\n```text\n```\n```python\nb = 2\n"
    assert [(one.number, one.line, one.text) for one in blocks_of(text, "x")] == [
        (1, 2, "a = 1\n"),
        (2, 7, "b = 2\n"),
    ]


def test_the_table_is_up_to_date() -> None:
    if documents.folder() is not None:
        assert blocks.TABLE.read_text(encoding="utf-8") == blocks.table(), (
            "run tests/blocks.py, which writes it"
        )
