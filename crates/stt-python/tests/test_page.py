"""The code of docs/python.md runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, blocks_of


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    blocks = blocks_of((ROOT / "docs" / "python.md").read_text(encoding="utf-8"), "page")
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block.text, f"docs/python.md:{block.line}", "exec"), names)
