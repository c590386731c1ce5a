"""Makes the stubs of the gateway's services from their .proto files while the wheel is built."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).resolve().parent.parent / "proto"


class Generating(build_py):
    """Adds `stt.gateway.v1`, with type information."""

    def run(self) -> None:
        super().run()
        from grpc_tools import protoc

        plugin = shutil.which("protoc-gen-mypy_grpc")
        files = sorted((PROTO / "stt" / "gateway" / "v1").glob("*.proto"))
        if plugin is None or not files:
            raise SystemExit(f"the .proto files ({PROTO}) and mypy-protobuf are needed")
        out = self.build_lib
        arguments = ["protoc", f"-I{PROTO}", f"--plugin=protoc-gen-mypy_grpc={plugin}"]
        arguments += [f"--{what}_out={out}" for what in ("python", "pyi", "grpc_python", "mypy_grpc")]
        if protoc.main([*arguments, *map(str, files)]) != 0:
            raise SystemExit("protoc failed")
        (Path(out) / "stt" / "gateway" / "v1" / "py.typed").touch()


setup(cmdclass={"build_py": Generating})
