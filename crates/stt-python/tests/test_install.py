"""What an installed package refuses, and what works in a process that was spawned."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import pytest
import seigr_toolset_transmissions


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )


def test_free_threaded_python_is_refused_with_a_sentence() -> None:
    program = (
        "import sysconfig\n"
        "sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1\n"
        "import seigr_toolset_transmissions\n"
    )
    done = run(program)
    assert done.returncode == 1
    assert "ImportError: seigr_toolset_transmissions does not run on free-threaded" in done.stderr


def test_core_and_interfaces_leave_room_for_others() -> None:
    program = (
        "import core.streaming, interfaces.api.stc_api\n"
        "for package in (core, interfaces):\n"
        "    assert getattr(package, '__file__', None) is None, package\n"
    )
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")


def test_core_and_interfaces_of_another_project_work_beside(tmp_path: Path) -> None:
    for name in ("core", "interfaces"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(f"WHERE = {name!r}\n", encoding="utf-8")
    places = (f"sys.path.insert(0, {str(tmp_path)!r})", f"sys.path.append({str(tmp_path)!r})")
    for place in places:
        program = (
            f"import sys\n{place}\n"
            "import core.mine, core.streaming, interfaces.mine, interfaces.api.streaming_context\n"
            "assert (core.mine.WHERE, interfaces.mine.WHERE) == ('core', 'interfaces')\n"
        )
        done = run(program)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_that_of_the_wheel() -> None:
    assert seigr_toolset_transmissions.__version__ == version("seigr-toolset-transmissions")


def test_every_package_says_that_it_has_types() -> None:
    for package in ("seigr_toolset_transmissions", "stc", "core", "interfaces.api"):
        assert resources.files(package).joinpath("py.typed").is_file(), package


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_processes_work(method: str, tmp_path: object) -> None:
    program = (
        "import asyncio, multiprocessing, sys\n"
        "from seigr_toolset_transmissions import STTNode, new_seed\n"
        "async def port(seed):\n"
        "    async with STTNode(shared_seed=seed, host='127.0.0.1') as node:\n"
        "        return node.local_address[1]\n"
        "def child(seed, queue):\n"
        "    queue.put(asyncio.run(port(seed)))\n"
        "if __name__ == '__main__':\n"
        "    seed = new_seed()\n"
        "    assert asyncio.run(port(seed)) > 0\n"
        f"    context = multiprocessing.get_context('{method}')\n"
        "    queue = context.SimpleQueue()\n"
        "    one = context.Process(target=child, args=(seed, queue))\n"
        "    one.start()\n"
        "    one.join(60)\n"
        "    assert one.exitcode == 0 and queue.get() > 0\n"
    )
    path = f"{tmp_path}/spawning.py"
    with open(path, "w", encoding="utf-8") as file:
        file.write(program)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
