"""Where a node's gateway is, and its token."""

from __future__ import annotations

import json
import os
from pathlib import Path

#: Bytes of an upload's parts.
PART = 256 << 10

Data = bytes | bytearray | memoryview


def place(directory: str | os.PathLike[str]) -> tuple[str, str]:
    """The target and the token of the node that runs in a directory.

    Raises ``FileNotFoundError`` when none ever ran there.
    """
    up = json.loads((Path(directory) / "up.json").read_text(encoding="utf-8"))
    token = Path(up["token_file"]).read_text(encoding="utf-8").strip()
    return up["gateway"].removeprefix("http://"), token
