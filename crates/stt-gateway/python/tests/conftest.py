"""Two nodes of `stt up`, the program that STT names."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Node:
    """A node in a directory; it ends with this object."""

    def __init__(self, program: str, home: Path, name: str) -> None:
        self.directory = home / name
        command = [program, "up", "--json", "--listen", "127.0.0.1:0", "--drain", "20"]
        command += ["--dir", str(self.directory), "--seed-file", str(home / "seed")]
        command.append("--end-with-stdin")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.up: dict[str, Any] = json.loads(self.process.stdout.readline())["up"]

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    program = os.environ["STT"]
    home = tmp_path_factory.mktemp("home")
    seed = [program, "seed", "new", "--out", str(home / "seed")]
    subprocess.run(seed, check=True, capture_output=True)
    started: list[Node] = []
    try:
        for name in ("a", "b"):
            started.append(Node(program, home, name))
        yield started[0], started[1]
        assert [node.end() for node in started] == [0, 0]
    finally:
        for node in started:
            node.process.kill()
            node.process.wait()
