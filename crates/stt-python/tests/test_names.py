"""The page for users of the original has every name of the documents, and says what became of it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from typing import Any

import documents
import pytest
from documents import ROOT

PAGE = ROOT / "docs" / "python-moving.md"

#: Names in the documents that are Python's or Go's own, or the reader's.
OTHERS = set(
    """
    Process TimeoutError append cancel capture close create_task decode dump dumps encode error gather
    getpid getsize hex keys load loads memory_info path read rss run sleep time uuid4 wait_for warning
    counters endpoints events handle_broadcast_done health_status send_to_peer get data hash
    asyncio json os pathlib pickle psutil uuid Path
    CancelFunc Context Duration HandlerOptions Level LevelDebug Minute New NewTextHandler Printf Second
    Sleep Stdout Time
    """.split()
)

#: Names of the original that the documents do not have, and that programs use.
PROGRAMS = set(
    """
    UploadFile DownloadFile GetFile DeleteFile ListFiles UpdateFileMetadata ListPeers GetPeer AddPeer
    RemovePeer GetPeerHealth GetSystemInfo GetMetrics HealthCheck GetDetailedHealth GetComponentHealth
    ForceHealthCheck GetHealthMetrics GetHealthTraces GetHealthProfiles StreamFileOperations
    StreamPeerEvents StreamSystemEvents StreamHealthEvents GetStream CloseStream CloseAllStreams
    ReceiveMessage SendError IsHealthy RemoveStream bootstrap ping announce_provider find_providers
    find_value publish_content retrieve_content unsubscribe get_stats CryptoSessionContinuity
    create_resumable_session resume_session save_session_state get_resumption_info
    SessionResumptionError ContentAffinityPool add_session get_session_for_content PoolMissError
    AdaptivePriorityManager STTEvents unregister get_handlers get_events clear_handlers STTSessionError
    STTStreamError STTHandshakeError STTCryptoError STTTimeoutError STTStorageError STTEndpointError
    """.split()
)


def rows() -> list[tuple[str, list[str], str]]:
    """Object, names, and what became of them."""
    text = PAGE.read_text(encoding="utf-8").partition("## Every name")[2]
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            found.append((cells[0].strip("`"), re.findall(r"`([^`]+)`", cells[1]), cells[2]))
    return found


def python_names() -> set[str]:
    names: set[str] = set()
    for block in documents.all_blocks():
        try:
            tree = ast.parse(block.text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {one.name for one in node.names}
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return names


def go_blocks() -> list[str]:
    folder = documents.folder()
    assert folder is not None
    [path] = folder.glob("004_*")
    return re.findall(r"```go\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


def go_names() -> set[str]:
    names: set[str] = set()
    for block in go_blocks():
        code = re.sub(r'"[^"]*"', "", re.sub(r"//.*", "", block))
        names |= set(re.findall(r"\b([A-Z][A-Za-z]+)\b", code))
    return names


def test_every_name_is_listed() -> None:
    if documents.folder() is None:
        pytest.skip("the reference documents were not found")
    listed = {name for _of, names, _text in rows() for name in names}
    missing = (python_names() | go_names() | PROGRAMS) - OTHERS - listed
    assert not missing, sorted(missing)


def resolve(path: str) -> Any:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(path)


def has(of: Any, name: str) -> bool:
    """An attribute, or one that the constructor makes."""
    if hasattr(of, name):
        return True
    return inspect.isclass(of) and f"self.{name}" in inspect.getsource(of)


@pytest.mark.parametrize("of", sorted({of for of, _names, _text in rows()} - {"stt_gateway"}))
def test_what_is_the_same_is_there(of: str) -> None:
    found = resolve(of)
    for path, names, text in rows():
        if path == of and text.startswith("the same"):
            for name in names:
                assert has(found, name), f"{of} has no {name}"


#: The test in test_streaming.py that is the twin of each Go block, or what the block declares.
TWINS = {
    1: "StreamManager",
    2: "Stream",
    3: "BidirectionalStream",
    4: "StreamMultiplexer",
    5: "StreamConfig",
    6: "test_default_configuration",
    7: "test_retry_logic_and_error_types",
    8: "test_backpressure_detection",
    9: "FlowController",
    10: "test_creating_a_stream",
    11: "test_bidirectional_streaming",
    12: "test_stream_multiplexing",
    13: "test_event_broadcasting",
    14: "test_stream_statistics_and_service_health_check",
    15: "test_stream_statistics_and_service_health_check",
    # Go's own logger. Here: logging.getLogger("stt.stt_streams"), from INFO on.
    16: "",
    17: "test_stream_statistics_and_service_health_check",
}


def test_each_go_example_has_a_twin() -> None:
    if documents.folder() is None:
        pytest.skip("the reference documents were not found")
    import test_streaming
    from seigr_toolset_transmissions import streaming

    blocks = go_blocks()
    assert sorted(TWINS) == list(range(1, len(blocks) + 1))
    for number, twin in TWINS.items():
        block = blocks[number - 1]
        if not twin:
            assert "slog." in block
        elif twin.startswith("test_"):
            assert callable(getattr(test_streaming, twin))
        else:
            assert f"type {twin} struct" in block and inspect.isclass(getattr(streaming, twin))
