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
        # Strangers are not answered: the client gives up.
        code, output, complaint = run("echo_client.py", stranger, "--port", port, "--timeout", 1)
    finally:
        server.send_signal(signal.SIGINT)
    assert code == 1 and output == ""
    assert complaint.startswith("Handshake failed") and "connect.no_answer" in complaint
    assert server.communicate(timeout=60) == ("", "")


def test_sensors(seed: Path) -> None:
    publisher = start("sensor_publisher.py", seed, "--port", 0, "--pause", 0.05)
    try:
        port = port_of(publisher)
        code, output, complaint = run("sensor_subscriber.py", seed, "--port", port, "--count", 3)
        assert (code, complaint) == (0, "")
        assert output.count(" degrees from ") == 3
    finally:
        publisher.send_signal(signal.SIGINT)
    output, complaint = publisher.communicate(timeout=60)
    assert (publisher.returncode, complaint) == (0, "") and " reached 1" in output


def test_content_by_a_ticket(seed: Path, tmp_path: Path) -> None:
    source = tmp_path / "movie.bin"
    source.write_bytes(os.urandom(2 << 20))
    sharing = start("share_content.py", seed, source, "--port", 0)
    try:
        assert sharing.stdout is not None
        assert sharing.stdout.readline() == "movie.bin: 1 files, 2097152 bytes\n"
        ticket = sharing.stdout.readline().strip()
        code, output, complaint = run("fetch_content.py", seed, ticket, tmp_path / "inbox")
        assert code == 0 and "2097152 bytes in" in output and "done: 100%" in complaint
        assert (tmp_path / "inbox" / "movie.bin").read_bytes() == source.read_bytes()
    finally:
        sharing.send_signal(signal.SIGINT)
    output, complaint = sharing.communicate(timeout=60)
    assert (sharing.returncode, output, complaint) == (0, "", "")


def test_video_frames_without_a_screen() -> None:
    code, output, complaint = run("video_frames.py")
    assert (code, complaint) == (0, "")
    line, told = output.splitlines()
    assert set(line) == {"#", "."} and told.endswith(" of 100 frames arrived, 0 of them wrong")
    assert int(told.split()[0]) >= 50
