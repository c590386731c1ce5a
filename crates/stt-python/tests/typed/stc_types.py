"""Checked by mypy, and run: the public types of STC are what they say."""

from interfaces.api.streaming_context import ChunkHeader, StreamingContext
from stc import HashValue, Metadata, STCContext

SEED = "a seed of the type tests, longer than 32 bytes"


def main() -> None:
    ctx = STCContext(SEED, 16, 1)
    sealed: tuple[bytes, Metadata] = ctx.encrypt(bytearray(b"x"), password=b"pw")
    encrypted, metadata = sealed
    assert ctx.decrypt(memoryview(encrypted), metadata, "pw") == b"x"
    state: dict[str, bytes] = ctx.save_state()
    ctx.load_state(state)
    value: HashValue = ctx.hash("data", {"a": [1, None, 2.5, b"x"]})
    assert ctx.verify(value, "data", {"a": [1, None, 2.5, b"x"]})
    stream = StreamingContext(SEED, lattice_size=16)
    header, chunk = stream.encrypt_chunk(b"frame")
    raw: bytes = header.to_bytes()
    plain: bytes = stream.decrypt_chunk(ChunkHeader.from_bytes(raw), chunk)
    assert plain == b"frame"


if __name__ == "__main__":
    main()
