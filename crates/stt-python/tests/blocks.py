"""BLOCKS.md: how every Python block of the documents is run. Run this file to write it anew."""

from __future__ import annotations

from pathlib import Path

import blocks_000  # noqa: F401
import blocks_001  # noqa: F401
import blocks_002  # noqa: F401
import blocks_003  # noqa: F401
import documents
import fragments
from documents import Block
from undefined import undefined

TABLE = Path(__file__).resolve().parents[1] / "BLOCKS.md"
UNKNOWN = fragments.Entry("unknown")

HEAD = """# The documents' Python blocks, and how each is run

Written by `tests/blocks.py`; a test compares. *program*: runs as printed. *fragment*: runs after a
prelude that supplies the names and files that it uses and does not make (`tests/blocks_*.py`).
*illustration*: no Python that could run. The hash is that of the block's text. *Supplied*: the names
that it uses and does not make; a test holds the prelude to these.

"""


TAIL = """
## Where the documents contradict each other

What tells the forms apart is in the arguments, or the process holds it already; otherwise an error says
what to pass. `tests/test_forms.py` calls each form.

| what | the forms | here |
|---|---|---|
| `StreamDecoder.receive_segment` | with the number that `send` gave (000-01), or the segment alone | both, also number first; the number stands in the segment, and another one beside it is a `ValueError` |
| `encrypt_stream`, `decrypt_stream` | by paths (001-10), or as a generator over pieces | both: two paths, or bytes, an iterable of bytes or a binary file and no output. Only the path form makes an output that appears whole: a generator's pieces are authenticated one by one, and a cut-off end raises |
| `EndpointManager` | by name (000-03), or by id (003-03) | both: a text is the id of its UTF-8 form; `metadata={'name': ...}` is a second name for `route_to_endpoint` |
| `EndpointManager()` | without a callback (000-03), or with one (003-01) | both; it can be set later as `transport_send_callback`. Sending without one is `STTEndpointError` `endpoint.no_sender` |
| `Chamber.put`, `get` | `put(data)` gives a hash (002-15), or `put(key, data)` | both: one argument or two, `bytes` is an address and `str` a name |
| metadata | `decrypt(data, metadata, password)`, or `validate_chunk_fast(chunk, metadata)` and `stream_decrypt_file` without a context (001-08, 001-09) | both: metadata made in this process remembers its context; unpickled metadata needs `context=`, and with a password `password=`: an error says so |
| handlers of events | `handler(session_id)` (003-16), `on_session_closed(session_id, reason)` (000-11), `emit(name, value)` (003-13), `emit(name, key=value)` (003-10) | all: handlers of a node's own events get those values that they name; all others get what `emit` got |
| handlers, plain or coroutine functions | plain (000-11), "must be async" (003-17) | both |
| `EventEmitter` | `emit` replaced on the instance (003-15) | works, and the node calls the replacement |
| `STTNode.connect` | `connect(address, peer_id)` (000-09), `connect_udp(host, port)` (002-05) | both; `connect` takes `(host, port)` or a text |
| `session.get_stream(1)` before the peer opened it | used at once (000-05) | gives the stream, whichever side uses it first |
| `KademliaDHT(node_id=..., port=9337)` | with a port (000-06, 000-12), and "one UDP port" of the node | it is the part of the process's node in the swarm: the port is that node's, and another one is an error that says so |
| `publish` before anybody subscribed | printed so (000-06) | gives 0 after `ready_timeout` (5 seconds); `require_subscribers=True` raises |
| node ids | "generated from `node_seed`", and another at every run (002-22) | another at every start; `persistent_identity=True` keeps it |
| wrong context data | "fail or produce garbage" (001-16) | always fails |
"""


def entry(block: Block) -> fragments.Entry:
    return fragments.TABLE.get(block.name, UNKNOWN)


def table() -> str:
    """The file's text."""
    blocks = documents.all_blocks()
    kinds = [entry(block).kind for block in blocks]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    lines = ["| block | line | hash | how | supplied | note |", "|---|---|---|---|---|---|"]
    for block in blocks:
        how = entry(block)
        note = how.note.replace("|", "\\|")
        names = sorted(undefined(block.text)) if how.kind == "fragment" else []
        supplied = ", ".join(f"`{name}`" for name in names)
        about = f"{block.name} | {block.line} | `{block.digest}` | {how.kind}"
        lines.append(f"| {about} | {supplied} | {note} |")
    return f"{HEAD}{len(blocks)} blocks: {counts}.\n\n" + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
