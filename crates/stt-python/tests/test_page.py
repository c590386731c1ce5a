"""The code of the pages about Python runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, blocks_of


@pytest.mark.parametrize(("page", "least"), [("python.md", 14), ("python-moving.md", 3)])
def test_the_page(
    page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    blocks = blocks_of((ROOT / "docs" / page).read_text(encoding="utf-8"), "page")
    assert len(blocks) >= least
    for block in blocks:
        exec(compile(block.text, f"docs/{page}:{block.line}", "exec"), names)
