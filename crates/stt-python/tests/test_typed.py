"""The programs that the type checker reads also run."""

import runpy
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).parent / "typed").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_typed_program(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")
