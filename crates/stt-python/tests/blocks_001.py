"""Document 001: STC."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fragments import Run, fragment, illustration, program
from interfaces.api.streaming_context import StreamingContext
from stc import Metadata, STCContext

SEED = "a seed of the preludes, longer than 32 bytes"

# --- streams of frames ---


@program("001-01", "a seed shorter than 32 bytes is a UserWarning")
def _(run: Run):
    result = yield {}
    assert result["decrypted"] == result["frame_data"]
    assert len(result["header_bytes"]) == 16
    assert len(result["encrypted"]) - len(result["frame_data"]) == 16
    assert any(issubclass(one.category, UserWarning) for one in result.warnings)


@fragment("001-02")
def _(run: Run):
    sent: list[bytes] = []
    result = yield {"StreamingContext": StreamingContext, "send_to_client": sent.append}
    assert [len(one) for one in sent] == [9]
    chunk = result["server_ctx"].encrypt_chunk(b"to the client")
    assert result["client_ctx"].decrypt_chunk(*chunk) == b"to the client"
    back = result["client_ctx"].encrypt_chunk(b"to the server")
    assert result["server_ctx"].decrypt_chunk(*back) == b"to the server"


@fragment("001-03")
def _(run: Run):
    stream_ctx = StreamingContext(SEED)
    result = yield {"stream_ctx": stream_ctx}
    # Without AES in the processor another bit says that the cipher is ChaCha20-Poly1305.
    assert (result["h1"].flags, result["h2"].flags) in [(0x0000, 0x0001), (0x0020, 0x0021)]
    assert stream_ctx.subchunks_created == 8
    assert "Sub-chunks created: 8" in result.output


@fragment("001-04", "document: 132.9 frames of 5 KB a second, 7.52 ms, 16 bytes more; asserted: better")
def _(run: Run):
    stream_ctx = StreamingContext(SEED)
    frame = bytes(5000)
    started = time.perf_counter()
    for _number in range(1000):
        header, encrypted = stream_ctx.encrypt_chunk(frame)
    rate = 1000 / (time.perf_counter() - started)
    assert rate > 132.9
    assert len(encrypted) - len(frame) == 16 and len(header.to_bytes()) == 16
    result = yield {"stream_ctx": stream_ctx}
    stats = result["stats"]
    assert stats["chunks_encrypted"] == 1000
    assert 0 < stats["avg_encrypt_ms"] < 7.52
    assert stats["encrypt_throughput_mbps"] > 0.65
    assert stats["cel_depth"] == 2


@fragment("001-05")
def _(run: Run):
    result = yield {"StreamingContext": StreamingContext}
    ctx = result["ctx"]
    assert ctx.decrypt_chunk(*ctx.encrypt_chunk(b"x")) == b"x"
    assert ctx.get_performance_stats()["cel_depth"] == 2
    with pytest.raises(ValueError):
        StreamingContext(SEED, initial_depth=7, max_depth=6)


@fragment("001-06", "the loop `while receiving` ends after the last packet")
def _(run: Run):
    frames = [bytes([number]) * (3000 + 9000 * number) for number in range(4)]
    packets: list[bytes] = []
    shown: list[bytes] = []

    class Receiving:
        def __bool__(self) -> bool:
            return bool(packets)

    yield {
        "video_stream": [SimpleNamespace(data=frame) for frame in frames],
        "send_packet": packets.append,
        "receiving": Receiving(),
        "receive_packet": lambda: packets.pop(0),
        "display_video_frame": shown.append,
    }
    assert shown == frames


# --- large files ---

illustration("001-07", "a `return` outside of a function, about how earlier versions worked")


@fragment("001-08", "the metadata comes from a context of this process, without a password")
def _(run: Run):
    ctx = STCContext(SEED)
    encrypted, metadata = ctx.encrypt(bytes(200_000), decoys=[("other", b"harmless")])
    result = yield {"data": encrypted, "metadata": metadata}
    assert 0 <= result["real_decoy_index"] < metadata.slots
    assert 0 <= result["validation_info"]["validation_time"] < 60
    from core.streaming import validate_chunk_fast

    again, _ = validate_chunk_fast(encrypted[:65536], metadata)
    decoy, _ = validate_chunk_fast(encrypted[:65536], metadata, "other")
    assert again == result["real_decoy_index"] != decoy
    foreign = pickle.loads(pickle.dumps(metadata))
    with pytest.raises(ValueError, match="pass context="):
        validate_chunk_fast(encrypted[:65536], foreign)
    assert validate_chunk_fast(encrypted, foreign, context=STCContext(SEED))[0] == again


@fragment("001-09", "document: 7 MB whatever the size; asserted: buffers of at most 14 MiB")
def _(run: Run):
    content = bytes(range(256)) * 12_000
    Path("large_video.mp4").write_bytes(content)
    metadata = STCContext(SEED).encrypt_stream(
        "large_video.mp4", "large_video.mp4.enc", "my_password"
    )
    Path("large_video.mp4").unlink()
    result = yield {"metadata": metadata}
    assert Path("large_video.mp4").read_bytes() == content
    assert result["stats"]["chunks_processed"] == 3
    assert result["stats"]["peak_memory_usage"] <= 14 << 20


@program("001-10", "movie.mp4 has 2.5 MB here")
def _(run: Run):
    content = bytes(range(250)) * 10_000
    Path("movie.mp4").write_bytes(content)
    result = yield {}
    assert "Progress: 100.0%" in result.output
    assert isinstance(pickle.loads(Path("movie_encrypted.bin.meta").read_bytes()), Metadata)
    assert content not in Path("movie_encrypted.bin").read_bytes()
    assert Path("movie_encrypted.bin").stat().st_size - len(content) < 400


@program("001-11", "movie_encrypted.bin and its metadata were made as block 10 makes them")
def _(run: Run):
    content = bytes(range(250)) * 10_000
    Path("movie.mp4").write_bytes(content)
    metadata = STCContext("large-file-seed").encrypt_stream(
        "movie.mp4", "movie_encrypted.bin", "strong_password"
    )
    Path("movie_encrypted.bin.meta").write_bytes(pickle.dumps(metadata))
    result = yield {}
    assert Path("movie_restored.mp4").read_bytes() == content
    assert "Decrypted: movie_restored.mp4" in result.output


# --- context data ---


@program("001-12")
def _(run: Run):
    result = yield {}
    assert result["encrypted1"] != result["encrypted2"]


@fragment("001-13")
def _(run: Run):
    result = yield {"STCContext": STCContext}
    assert result["alice_enc"] != result["bob_enc"]
    ctx = STCContext("app-seed")
    alice = result["alice_enc"], result["alice_meta"], "pw"
    assert ctx.decrypt(*alice, {"user_id": "alice@example.com"}) == "shared data"
    with pytest.raises(ValueError):
        ctx.decrypt(*alice, {"user_id": "bob@example.com"})


@fragment("001-14")
def _(run: Run):
    result = yield {"STCContext": STCContext}
    assert result["enc1"] != result["enc2"] and result["time1"] < result["time2"]


@fragment("001-15")
def _(run: Run):
    result = yield {"STCContext": STCContext}
    kinds = {result["backup_enc"], result["share_enc"], result["archive_enc"]}
    assert len(kinds) == 3


@fragment("001-16")
def _(run: Run):
    result = yield {"ctx": STCContext(SEED)}
    assert result["decrypted"] == "Secret data"
    assert "Wrong context - decryption failed!" in result.output


@fragment("001-17", "`ctx` has the seed of the function in the block")
def _(run: Run):
    result = yield {"STCContext": STCContext, "ctx": STCContext("session-seed")}
    assert result["decrypted"] == "Session data"


@fragment("001-18", "`ctx` has the seed of the function in the block")
def _(run: Run):
    result = yield {"STCContext": STCContext, "ctx": STCContext("rbac-seed")}
    assert result["decrypted"] == "Admin-only data"
    assert "Access denied - wrong role!" in result.output


# --- state ---


@program("001-19")
def _(run: Run):
    result = yield {}
    assert list(result["state"]) == ["cel_state", "phe_state", "pcf_state"]
    assert "['cel_state', 'phe_state', 'pcf_state']" in result.output


@fragment("001-20")
def _(run: Run):
    ctx = STCContext("my-seed")
    ctx.hash("operation1")
    state = pickle.loads(pickle.dumps(ctx.save_state()))
    result = yield {"STCContext": STCContext, "state": state}
    ctx2 = result["ctx2"]
    assert ctx.save_state().keys() == ctx2.save_state().keys()
    for _number in range(3):
        assert ctx.hash("the same") == ctx2.hash("the same")


@fragment("001-21")
def _(run: Run):
    result = yield {"STCContext": STCContext}
    assert result.output.count("Checkpoint saved") == 10
    saved = pickle.loads(Path("checkpoint.dat").read_bytes())
    assert saved["progress"] == 900 and len(saved["results"]) == 901
    encrypted, metadata = saved["results"][-1]
    assert STCContext("checkpoint-seed").decrypt(encrypted, metadata, "pw") == "Item 900"


@fragment("001-22")
def _(run: Run):
    result = yield {"STCContext": STCContext}
    ctx = STCContext("checkpoint-seed")
    items = [f"Item {number}" for number in range(6)]
    results = [ctx.encrypt(item, password="pw") for item in items[:4]]
    state = {"state": ctx.save_state(), "progress": 4, "results": results}
    Path("checkpoint.dat").write_bytes(pickle.dumps(state))
    all_results = result["resume_encryption"](items, "checkpoint.dat")
    assert [ctx.decrypt(*one, password="pw") for one in all_results] == items


# --- performance ---


@fragment("001-23")
def _(run: Run):
    result = yield {"STCContext": STCContext, "items": ["one", "two"]}
    opened = result["ctx"].decrypt(result["encrypted"], result["meta"], "pw")
    assert opened == "two"


@fragment("001-24", "document: 486 KB of metadata for each encryption; asserted: under 1 KB")
def _(run: Run):
    result = yield {"ctx": STCContext(SEED)}
    assert result["items_restored"] == ["item1", "item2", "item3"]
    assert len(result["metadata"]) < 1000


@fragment("001-25", "document: metadata of 150 KB to 1.8 MB; asserted: under 1 KB at every size")
def _(run: Run):
    result = yield {"STCContext": STCContext}
    fast, normal, secure = (result[name] for name in ("ctx_fast", "ctx_normal", "ctx_secure"))
    assert (fast.lattice_size, fast.depth) == (64, 4)
    assert (normal.lattice_size, normal.depth) == (128, 6)
    assert (secure.lattice_size, secure.depth) == (256, 8)
    encrypted, metadata = fast.encrypt("x", password="pw")
    assert len(metadata) < 1000
    with pytest.raises(ValueError):
        normal.decrypt(encrypted, metadata, "pw")


@fragment("001-26")
def _(run: Run):
    ctx = STCContext(SEED)
    result = yield {"ctx": ctx, "non_sensitive_data": b"plain" * 1000}
    assert len(result["encrypted"]) + len(result["metadata"]) == 5000 + 250
    assert result["metadata"].slots == 1
    opened = ctx.decrypt(result["encrypted"], result["metadata"], "pw")
    assert opened == b"plain" * 1000


@fragment("001-27", "`update` restores freshness; a weak seed stays weak")
def _(run: Run):
    result = yield {"STCContext": STCContext, "items": ["one", "two", "three"]}
    assert result["operations"] == 3
    assert result["health"]["quality_score"] < 0.7
    assert result["ctx"].cel.epoch == 1


@fragment("001-28")
def _(run: Run):
    ctx = STCContext(SEED)
    Path("large.bin").write_bytes(b"large" * 30_000)
    result = yield {"ctx": ctx}
    ctx.decrypt_stream("large.enc", result["metadata"], "again.bin", "pw")
    assert Path("again.bin").read_bytes() == b"large" * 30_000
    assert ctx.decrypt(result["encrypted"], result["meta"], "pw") == b"large" * 30_000


@fragment("001-29", "document: 1.8 s; asserted: under that with a password that was used before")
def _(run: Run):
    ctx = STCContext(SEED)
    ctx.encrypt("", password="pw")
    result = yield {"ctx": ctx}
    assert ctx.decrypt(result["enc"], result["meta"], "pw") == "test data"
    assert float(result.output.split()[2]) < 1.8


@fragment("001-30", "needs psutil")
def _(run: Run):
    pytest.importorskip("psutil")
    large = bytes(1_000_000)
    result = yield {"ctx": STCContext(SEED), "large_data": large}
    assert result["ctx"].decrypt(result["encrypted"], result["metadata"], "pw") == large


@fragment("001-31")
def _(run: Run):
    Path("file.bin").write_bytes(b"file" * 500_000)
    ctx = STCContext(SEED)
    result = yield {"ctx": ctx}
    assert result["metadata"].chunk_size == 524_288
    ctx.decrypt_stream("file.enc", None, "again.bin", "pw")
    assert Path("again.bin").read_bytes() == b"file" * 500_000


# --- quick reference ---


@fragment("001-32")
def _(run: Run):
    Path("large.bin").write_bytes(b"large" * 30_000)
    yield {"ctx": STCContext(SEED)}
    assert Path("large_restored.bin").read_bytes() == b"large" * 30_000


@fragment("001-33")
def _(run: Run):
    result = yield {"ctx": STCContext(SEED), "data": "some data"}
    assert result["decrypted"] == "some data"


@fragment("001-34")
def _(run: Run):
    ctx = STCContext("same-seed")
    result = yield {"STCContext": STCContext, "ctx": ctx}
    assert result["ctx2"].hash("x") == ctx.hash("x")


@fragment("001-35")
def _(run: Run):
    ctx = STCContext("seed")
    result = yield {"STCContext": STCContext, "data": "some", "items": ["one", "two"]}
    assert json.loads(result["batch"]) == ["one", "two"]
    assert result["ctx"].hash("x") == ctx.hash("x")
    assert ctx.decrypt(result["encrypted"], result["meta"], "pw") == result["batch"]
