"""A process ends as it should, however it ends: right exit code, nothing on stderr, no delay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

NODES = """
import asyncio, os, sys, threading
from seigr_toolset_transmissions import STTNode, new_seed

seed = new_seed()

async def pair():
    server = STTNode(shared_seed=seed, host="127.0.0.1")
    client = STTNode(shared_seed=seed, host="127.0.0.1")
    _, port = await server.start(server_mode=True)
    await client.start()
    session = await client.connect_udp("127.0.0.1", port)
    await client.send_to_sessions([session.session_id], b"hello")
    async for packet in server.receive():
        break
    return server, client
"""

ENDS = {
    "stopped": (
        "async def main():\n"
        "    server, client = await pair()\n"
        "    await client.stop()\n"
        "    await server.stop()\n"
        "asyncio.run(main())\n",
        0,
    ),
    "left running": ("asyncio.run(pair())\n", 0),
    "kept": ("kept = asyncio.run(pair())\n", 0),
    "receiving": (
        "async def main():\n"
        "    server, client = await pair()\n"
        "    asyncio.create_task(anext(client.receive()))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n",
        0,
    ),
    "sys.exit": (
        "async def main():\n"
        "    kept = await pair()\n"
        "    sys.exit(7)\n"
        "asyncio.run(main())\n",
        7,
    ),
    "daemon thread": (
        "ready = threading.Event()\n"
        "async def main():\n"
        "    server, client = await pair()\n"
        "    ready.set()\n"
        "    async for packet in client.receive():\n"
        "        pass\n"
        "threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()\n"
        "assert ready.wait(60)\n",
        0,
    ),
}


@pytest.mark.parametrize("way", ENDS)
def test_the_end(way: str) -> None:
    program, code = ENDS[way]
    runs = int(os.environ.get("STT_TEST_EXITS", "3"))
    for _number in range(runs):
        done = subprocess.run(
            [sys.executable, "-W", "ignore::ResourceWarning", "-c", NODES + program],
            capture_output=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (code, b"")


def test_an_exception_is_the_only_thing_on_stderr() -> None:
    program = NODES + (
        "async def main():\n"
        "    kept = await pair()\n"
        "    raise LookupError('mine')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    complaint = done.stderr.decode()
    assert done.returncode == 1
    assert complaint.count("Traceback") == 1 and complaint.endswith("LookupError: mine\n")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_waiting_program() -> None:
    program = NODES + (
        "async def main():\n"
        "    server, client = await pair()\n"
        "    print('ready', flush=True)\n"
        "    try:\n"
        "        async for packet in server.receive():\n"
        "            pass\n"
        "    finally:\n"
        "        await client.stop()\n"
        "        await server.stop()\n"
        "        print('closed', flush=True)\n"
        "asyncio.run(main())\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    output, complaint = child.communicate(timeout=60)
    assert output == b"closed\n" and complaint.strip().endswith(b"KeyboardInterrupt")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_gets_an_error_at_once() -> None:
    program = NODES + (
        "import time\n"
        "async def main():\n"
        "    server, client = await pair()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        started, said = time.monotonic(), ''\n"
        "        try:\n"
        "            server.get_stats()\n"
        "        except RuntimeError as error:\n"
        "            said = str(error)\n"
        "        os._exit(0 if 'fork' in said and time.monotonic() - started < 1 else 1)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "    await client.send_to_all(b'again')\n"
        "    await client.stop()\n"
        "    await server.stop()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_begins_at_import() -> None:
    program = (
        "import os, threading, seigr_toolset_transmissions, stc, core.streaming\n"
        "assert threading.active_count() == 1\n"
        "tasks = os.listdir('/proc/self/task') if os.path.isdir('/proc/self/task') else [0]\n"
        "assert len(tasks) == 1, tasks\n"
        "here = '/proc/self/fd'\n"
        "open_files = os.listdir(here) if os.path.isdir(here) else []\n"
        "for one in open_files:\n"
        "    try:\n"
        "        target = os.readlink(f'{here}/{one}')\n"
        "    except FileNotFoundError:\n"
        "        continue\n"
        "    assert not target.startswith('socket:'), target\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert time.monotonic() - started < 30
