"""The example programs, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from seigr_toolset_transmissions import new_seed

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def start(name: str, *arguments: Any) -> subprocess.Popen[str]:
    """A program whose first line ends with its port."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(name: str, *arguments: Any) -> tuple[int, str, str]:
    child = start(name, *arguments)
    output, complaint = child.communicate(timeout=120)
    return child.returncode, output, complaint


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "seed.txt"
    path.write_text(new_seed() + "\n")
    return path


def port_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip().rpartition(":")[2]


def test_echo(seed: Path) -> None:
    server = start("echo_server.py", seed, "--port", 0)
    try:
        port = port_of(server)
        code, output, complaint = run("echo_client.py", seed, "--port", port, "--message", "hi")
        assert (code, complaint) == (0, "")
        assert output.endswith("Client received: b'ECHO: hi'\n")
    finally:
        server.send_signal(signal.SIGINT)
    output, complaint = server.communicate(timeout=60)
    assert (server.returncode, output, complaint) == (0, "Server received: b'hi'\n", "")


def test_a_file(seed: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "movie.bin", tmp_path / "arrived.bin"
    source.write_bytes(os.urandom(3 << 20))
    receiver = start("receive_file.py", seed, target, "--port", 0)
    try:
        code, output, complaint = run("send_file.py", seed, source, "--port", port_of(receiver))
        assert (code, complaint) == (0, "")
        assert "Progress: 33.3%" in output and "The peer has 3145728 bytes" in output
        output, complaint = receiver.communicate(timeout=60)
    finally:
        receiver.kill()
        receiver.wait()
    assert (receiver.returncode, output, complaint) == (0, "Received 3145728 bytes\n", "")
    assert target.read_bytes() == source.read_bytes()


def test_nobody_there_is_a_sentence(seed: Path) -> None:
    server = start("echo_server.py", seed, "--port", 0)
    try:
        port = port_of(server)
        stranger = seed.with_name("other.txt")
        stranger.write_text(new_seed())
        # Strangers are not answered: the client gives up after ten seconds.
        code, output, complaint = run("echo_client.py", stranger, "--port", port)
    finally:
        server.send_signal(signal.SIGINT)
    assert code == 1 and output == ""
    assert complaint.startswith("Handshake failed") and "connect.no_answer" in complaint
    assert server.communicate(timeout=60) == ("", "")
