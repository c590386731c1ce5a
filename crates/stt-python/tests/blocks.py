"""BLOCKS.md: how every Python block of the documents is run. Run this file to write it anew."""

from __future__ import annotations

from pathlib import Path

import blocks_000  # noqa: F401
import blocks_001  # noqa: F401
import blocks_002  # noqa: F401
import blocks_003  # noqa: F401
import documents
import fragments
from documents import Block

TABLE = Path(__file__).resolve().parents[1] / "BLOCKS.md"
UNKNOWN = fragments.Entry("unknown")

HEAD = """# The documents' Python blocks, and how each is run

Written by `tests/blocks.py`; a test compares. *program*: runs as printed. *fragment*: runs after a
prelude that supplies the names and files that it uses and does not make (`tests/blocks_*.py`).
*illustration*: no Python that could run. *later*: needs what is not there yet. The hash is that of the
block's text.

"""


def entry(block: Block) -> fragments.Entry:
    return fragments.TABLE.get(block.name, UNKNOWN)


def table() -> str:
    """The file's text."""
    blocks = documents.all_blocks()
    kinds = [entry(block).kind for block in blocks]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    lines = ["| block | line | hash | how | note |", "|---|---|---|---|---|"]
    for block in blocks:
        how = entry(block)
        note = how.note.replace("|", "\\|")
        lines.append(f"| {block.name} | {block.line} | `{block.digest}` | {how.kind} | {note} |")
    return f"{HEAD}{len(blocks)} blocks: {counts}.\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
