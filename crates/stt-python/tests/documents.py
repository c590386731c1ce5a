"""The reference documents, and the Python blocks in them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = ("000", "001", "002", "003")


@dataclass(frozen=True)
class Block:
    """A Python block: its document, its number there from 1, its first line, and its text."""

    document: str
    number: int
    line: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.document}-{self.number:02}"

    @property
    def digest(self) -> str:
        """Changes when the block does."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def folder() -> Path | None:
    """Where the documents are: STT_REFERENCE_DIR, then ../shared/reference beside the project."""
    named = os.environ.get("STT_REFERENCE_DIR")
    places = [Path(named)] if named else [ROOT.parent / "shared" / "reference"]
    return next((place for place in places if place.is_dir()), None)


def text_of(document: str) -> str:
    """The document's text. Escaped line breaks that join whole lines are undone."""
    place = folder()
    assert place is not None
    [path] = place.glob(f"{document}_*")
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        # An escaped break inside a string of a program stands alone; a joined document has many.
        lines += line.split("\\n") if line.count("\\n") >= 3 else [line]
    return "\n".join(lines) + "\n"


def blocks_of(text: str, document: str) -> list[Block]:
    """The blocks of a document, in order. A fence that is never closed ends with the document."""
    found: list[Block] = []
    body: list[str] | None = None
    start, other = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.strip()
        if body is not None:
            if fence == "```":
                found.append(Block(document, len(found) + 1, start, "\n".join(body) + "\n"))
                body = None
            else:
                body.append(line)
        elif other:
            other = fence != "```"
        elif fence == "```python":
            body, start = [], number + 1
        elif fence.startswith("```"):
            other = True
    if body is not None:
        found.append(Block(document, len(found) + 1, start, "\n".join(body) + "\n"))
    return found


def all_blocks() -> list[Block]:
    """Every block of every document."""
    return [block for name in DOCUMENTS for block in blocks_of(text_of(name), name)]
