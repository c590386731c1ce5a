"""Writes the vectors that are made outside of Rust. Running it again writes the same bytes.

`python make_vectors.py crates/stc/tests/vectors`; files that start with `rust-` come from
`cargo run -p stc --example make_vectors -- crates/stc/tests/vectors` instead.
"""

import pathlib
import struct
import sys

from blake3 import blake3

import stc_format as stc

FOLDER = pathlib.Path(sys.argv[1])
KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
CHUNK = 1 << 16


def noise(label, size):
    """Bytes that look random and are the same every time."""
    return blake3(label.encode()).digest(length=size)


def write(name, expect, body, **fields):
    fields = {key.replace("_", "-"): value for key, value in fields.items()}
    head = "".join(f"{key}: {value}\n" for key, value in ({"expect": expect} | fields).items())
    (FOLDER / f"{name}.vector").write_bytes(head.encode() + b"\n" + body)


def seal(suite, key, nonce, data, associated=b""):
    return stc.cipher(suite, key).encrypt(nonce, data, associated)


class Envelope:
    """Builds an envelope whose every step can be bent."""

    def __init__(self, name, contents, total=None, suite=1, root=KEY, chunk_len=CHUNK, region=256):
        """`contents`: (password or None, context, kind, bytes); the rest of the slots is empty."""
        self.name, self.contents, self.suite, self.root = name, contents, suite, root
        self.total, self.chunk_len, self.region = total or 1, chunk_len, region
        self.box = lambda box: box
        self.nonce = stc.chunk_nonce
        self.sizes = lambda sizes: sizes
        self.trailers = lambda trailers: trailers
        self.seal = lambda tag: tag

    def build(self):
        single = self.total == 1
        plain_len = len(self.contents[0][3]) if single else self.region
        counts = range(max(-(-plain_len // self.chunk_len), 1))
        sizes = self.sizes([min(self.chunk_len, plain_len - i * self.chunk_len) for i in counts])
        region_len = 0 if single else sum(sizes) + 16 * len(sizes)
        psalt, msalt = noise(self.name + " psalt", 16), noise(self.name + " msalt", 32)
        fixed = struct.pack(
            ">4sBBBBHIIQ16s32s", b"STCE", 1, self.suite, self.total, 1, 16, self.chunk_len, 0,
            region_len, psalt, msalt,
        )
        envelope_key = noise(self.name + " envelope key", 32)
        table, body, keys = b"", b"", []
        for index in range(self.total):
            if index < len(self.contents):
                password, context, kind, content = self.contents[index]
                pkey = b"" if password is None else stc.stretch(password.encode(), psalt, 16, 1)
                key = stc.slot_key(self.root, pkey, stc.context_digest(context), fixed)
            else:
                kind, content = 0, b""
                key = noise(f"{self.name} empty {index}", 32)
            keys.append(key)
            length = stc.WHOLE if single else len(content)
            box = envelope_key + struct.pack(">QB", length, kind) + bytes(7)
            table += stc.sub(key, "commitment")
            table += seal(self.suite, stc.sub(key, "box"), bytes(12), self.box(box))
            content, at = content.ljust(plain_len, b"\0"), 0
            for number, size in enumerate(sizes):
                nonce = self.nonce(number, number + 1 == len(sizes))
                body += seal(self.suite, stc.sub(key, "region"), nonce, content[at : at + size])
                at += size
        whole = blake3(fixed + table)
        at = 0
        for _ in range(self.total):
            for size in sizes:
                whole.update(stc.leaf(body[at : at + size + 16], self.total))
                at += size + 16
        whole = whole.digest()
        trailers = b"".join(stc.derive(key, "stc v1 trailer", whole) for key in keys)
        trailers = self.trailers(trailers)
        return fixed + table + body + trailers + self.seal(
            stc.derive(envelope_key, "stc v1 seal", whole, trailers)
        )


def envelope(name, expect, body, content=b"", content_kind="bytes", **fields):
    if expect == "ok":
        fields |= {"content_kind": content_kind, "content": blake3(content).hexdigest()}
    fields = {"seed": KEY.hex()} | fields
    write(name, expect, body, kind="envelope", **fields)


def flip(data, at, mask=1):
    data = bytearray(data)
    data[at] ^= mask
    return bytes(data)


def put(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def swap(data, one, two, size):
    first, second = data[one : one + size], data[two : two + size]
    return put(put(data, one, second), two, first)


def good_envelopes():
    text = "grüße".encode()
    for name, contents, fields in (
        ("bytes", [(None, None, 0, b"some bytes")], {}),
        ("text", [(None, None, 1, text)], {"content_kind": "text"}),
        ("empty", [(None, None, 0, b"")], {}),
        ("password", [("pass", None, 0, b"some bytes")], {"password": "pass"}),
        (
            "context", [(None, {"user": "alice", "id": 7, "tags": ["a", None, True]}, 0, b"bound")],
            {"context": '{"tags": ["a", null, true], "id": 7, "user": "alice"}'},
        ),
        ("two-chunks", [(None, None, 0, noise("two", CHUNK + 5))], {}),
        ("full-chunk", [(None, None, 0, noise("full", CHUNK))], {}),
    ):
        envelope(f"envelope-{name}", "ok", Envelope(name, contents).build(), contents[0][3], **fields)
    chacha = Envelope("chacha", [(None, None, 0, b"chacha")], suite=2)
    envelope("envelope-chacha20", "ok", chacha.build(), b"chacha")
    contents = [("real", None, 1, b"the secret"), ("decoy", None, 1, b"a list")]
    for total in (4, 8):
        body = Envelope(f"decoys {total}", contents, total).build()
        for password, _, _, content in contents:
            envelope(
                f"envelope-{total}-slots-{password}", "ok", body, content, "text", password=password
            )
    for kind, seed, realm in (
        ("phrase", "correct horse", ""), ("integer", "-42", ""), ("phrase", "correct horse", "app"),
        ("none", "", ""),
    ):
        root = stc.root_key(kind, seed.encode(), realm.encode(), 16, 1)
        name = f"seed-{kind}" + ("-realm" if realm else "")
        body = Envelope(name, [("pass", None, 0, b"x")], root=root).build()
        fields = {"seed_kind": kind, "seed": seed, "password": "pass"}
        envelope(f"envelope-{name}", "ok", body, b"x", **fields | ({"realm": realm} if realm else {}))


def hostile_headers():
    good = Envelope("header", [(None, None, 0, b"some bytes")]).build()
    many = Envelope("headers", [(None, None, 0, b"some bytes")], 4).build()
    for name, expect, body in (
        ("empty", "envelope.not_one", b""),
        ("magic", "envelope.not_one", flip(good, 0)),
        ("version", "envelope.version", put(good, 4, b"\2")),
        ("suite-0", "envelope.field", put(good, 5, b"\0")),
        ("suite-3", "envelope.field", put(good, 5, b"\3")),
        ("no-slots", "envelope.field", put(good, 6, b"\0")),
        ("two-slots", "envelope.field", put(good, 6, b"\2")),
        ("nine-slots", "envelope.field", put(many, 6, b"\x09")),
        ("more-slots-than-table", "envelope.nothing_opens", put(many, 6, b"\5")),
        ("cost-too-cheap", "envelope.cost", put(good, 8, b"\0\x0f")),
        ("cost-nothing", "envelope.cost", put(good, 7, b"\0")),
        ("cost-too-dear", "envelope.cost", put(good, 8, b"\xff\xff")),
        ("chunk-too-small", "envelope.field", put(good, 10, struct.pack(">I", CHUNK - 1))),
        ("chunk-too-large", "envelope.field", put(good, 10, struct.pack(">I", (1 << 22) + 1))),
        ("chunk-length-changed", "envelope.nothing_opens", put(good, 10, struct.pack(">I", CHUNK + 1))),
        ("epoch-changed", "envelope.nothing_opens", put(good, 14, b"\0\0\0\1")),
        ("region-in-single", "envelope.field", put(good, 18, struct.pack(">Q", 272))),
        ("region-missing", "envelope.field", put(many, 18, bytes(8))),
        ("region-impossible", "envelope.field", put(many, 18, struct.pack(">Q", 15))),
        ("region-huge", "envelope.field", put(many, 18, b"\xff" * 8)),
        ("region-other", "envelope.nothing_opens", put(many, 18, struct.pack(">Q", 288))),
        ("password-salt", "envelope.nothing_opens", flip(good, 26)),
        ("message-salt", "envelope.nothing_opens", flip(good, 42)),
        ("cut-in-fixed-part", "envelope.header_too_short", good[:73]),
        ("cut-in-slots", "envelope.header_too_short", good[:169]),
        ("cut-after-slots", "envelope.truncated", good[:170]),
        ("commitment", "envelope.nothing_opens", flip(good, 74)),
        ("box", "envelope.nothing_opens", flip(good, 110)),
        ("box-tag", "envelope.nothing_opens", flip(good, 169)),
    ):
        envelope(f"hostile-header-{name}", expect, body)


def hostile_keys():
    name, contents = "keys", [("pass", {"role": "admin"}, 0, b"some bytes")]
    body = Envelope(name, contents).build()
    right = {"password": "pass", "context": '{"role": "admin"}'}
    for name, change in (
        ("password", {"password": "Pass"}),
        ("seed", {"seed": OTHER.hex()}),
        ("context", {"context": '{"role": "user"}'}),
        ("context-with-more", {"context": '{"role": "admin", "x": 1}'}),
    ):
        envelope(f"hostile-wrong-{name}", "envelope.nothing_opens", body, **right | change)
    envelope("hostile-no-context", "envelope.nothing_opens", body, password="pass")
    envelope("hostile-no-password", "envelope.nothing_opens", body, context=right["context"])


def hostile_boxes():
    content = [(None, None, 0, b"some bytes")]
    for name, total, bend, expect in (
        ("kind-2", 1, lambda b: put(b, 40, b"\2"), "envelope.content"),
        ("reserved", 1, lambda b: put(b, 47, b"\1"), "envelope.content"),
        ("length-in-single", 1, lambda b: put(b, 32, struct.pack(">Q", 10)), "envelope.content"),
        ("whole-in-many", 4, lambda b: put(b, 32, b"\xff" * 8), "envelope.content"),
        ("length-beyond-region", 4, lambda b: put(b, 32, struct.pack(">Q", 257)), "envelope.content"),
    ):
        made = Envelope(name, content, total)
        made.box = bend
        envelope(f"hostile-box-{name}", expect, made.build())
    text = Envelope("not text", [(None, None, 1, b"\xff\xfe")])
    envelope("hostile-text-not-utf8", "envelope.not_text", text.build(), api="memory")


def hostile_regions():
    plain = noise("region", 2 * CHUNK)
    made = Envelope("region", [(None, None, 0, plain)])
    good, sealed = made.build(), CHUNK + 16
    first, trailers = 170, 170 + 2 * sealed
    small = Envelope("small", [(None, None, 0, b"some bytes")]).build()
    for name, expect, body in (
        ("first-chunk", "envelope.chunk", flip(small, 170)),
        ("tag", "envelope.chunk", flip(small, 195)),
        ("second-chunk", "envelope.chunk", flip(good, first + sealed + 9)),
        ("cut-at-edge", "envelope.chunk", good[: first + sealed]),
        ("cut-at-edge-with-trailers", "envelope.chunk", good[: first + sealed] + good[trailers:]),
        ("chunks-swapped", "envelope.chunk", swap(good, first, first + sealed, sealed)),
        ("chunk-repeated", "envelope.chunk", good[:trailers] + good[first + sealed :]),
        ("cut-by-one", "envelope.chunk", small[:-1]),
        ("one-more", "envelope.chunk", small + b"\0"),
        ("cut-in-trailers", "envelope.truncated", small[:200]),
        ("trailer", "envelope.trailer", flip(small, len(small) - 64)),
        ("seal", "envelope.trailer", flip(small, len(small) - 1)),
    ):
        envelope(f"hostile-region-{name}", expect, body)
    for name, bend in (
        ("no-last-mark", ("nonce", lambda index, last: stc.chunk_nonce(index, False))),
        ("index-from-one", ("nonce", lambda index, last: stc.chunk_nonce(index + 1, last))),
        ("trailers-of-zeros", ("trailers", lambda trailers: bytes(len(trailers)))),
        ("seal-of-zeros", ("seal", lambda tag: bytes(32))),
    ):
        made = Envelope(name, [(None, None, 0, b"some bytes")])
        setattr(made, *bend)
        code = "envelope.trailer" if "zeros" in name else "envelope.chunk"
        envelope(f"hostile-region-{name}", code, made.build())
    empty_last = Envelope("empty last", [(None, None, 0, noise("full", CHUNK))])
    empty_last.sizes = lambda sizes: [CHUNK, 0]
    envelope("hostile-region-empty-last-chunk", "envelope.chunk", empty_last.build())


def hostile_decoys():
    contents = [("real", None, 0, b"the secret"), ("decoy", None, 0, b"a list")]
    good = Envelope("decoys", contents, 4).build()
    table, body = 74, 74 + 4 * 96
    trailers = body + 4 * 272
    for name, expect, bad in (
        ("other-commitment", "envelope.trailer", flip(good, table + 2 * 96)),
        ("other-box", "envelope.trailer", flip(good, table + 3 * 96 + 40)),
        ("other-region", "envelope.trailer", flip(good, body + 3 * 272 + 100)),
        ("other-trailer", "envelope.trailer", flip(good, trailers + 2 * 32)),
        ("own-trailer", "envelope.trailer", flip(good, trailers)),
        ("seal", "envelope.trailer", flip(good, trailers + 4 * 32)),
        ("slots-swapped", "envelope.chunk", swap(good, table, table + 96, 96)),
        ("regions-swapped", "envelope.chunk", swap(good, body, body + 272, 272)),
        ("empty-regions-swapped", "envelope.trailer", swap(good, body + 544, body + 816, 272)),
        ("empty-slots-swapped", "envelope.trailer", swap(good, table + 192, table + 288, 96)),
        ("own-slot-twice", "envelope.trailer", put(good, table + 288, good[table : table + 96])),
        ("cut-by-one", "envelope.truncated", good[:-1]),
        ("one-more", "envelope.trailing", good + b"\0"),
        ("cut-after-own-region", "envelope.truncated", good[: body + 272]),
    ):
        envelope(f"hostile-decoys-{name}", expect, bad, password="real")
    envelope(
        "hostile-decoys-other-region-by-decoy", "envelope.trailer",
        flip(good, body + 3 * 272), password="decoy",
    )


def chunk_bytes(data, sequence=0, nonce=1, flags=0, role=0, suite=1, size=None, root=KEY):
    header = struct.pack(">IQ", sequence, nonce) + len(data).to_bytes(3, "big") + bytes([flags])
    key = stc.derive(
        root, "stc v1 stream", bytes([suite]), struct.pack(">Q", nonce), bytes([role]),
        struct.pack(">H", sequence >> 16),
    )
    size = size or max(len(data), 1)
    pieces = [data[at : at + size] for at in range(0, max(len(data), 1), size)]
    sealed = [
        seal(suite, key, struct.pack(">IQ", sequence, index), piece, header)
        for index, piece in enumerate(pieces)
    ]
    return header + b"".join(p[:-16] for p in sealed) + b"".join(p[-16:] for p in sealed)


def chunks():
    frame = noise("frame", 20_000)
    for name, data, options, fields in (
        ("small", b"frame", {}, {}),
        ("empty", b"", {}, {}),
        ("split", frame, {"flags": 1, "size": 8192}, {}),
        ("split-1k", frame[:3000], {"flags": 1 | 13 << 1, "size": 1024}, {}),
        ("last-of-range", b"end", {"sequence": 0xFFFFFFFF}, {}),
        ("initiator", b"hi", {"role": 1}, {"role": "initiator"}),
        ("chacha20", b"chacha", {"flags": 32, "suite": 2}, {}),
    ):
        write(
            f"chunk-{name}", "ok", chunk_bytes(data, **options), kind="chunk", seed=KEY.hex(),
            content=blake3(data).hexdigest(), **fields,
        )
    good, split = chunk_bytes(b"frame"), chunk_bytes(frame, flags=1, size=8192)
    for name, expect, body, fields in (
        ("short-header", "chunk.header", good[:15], {}),
        ("reserved-flag", "chunk.header", flip(good, 15, 0x80), {}),
        ("size-without-split", "chunk.header", flip(good, 15, 2), {}),
        ("split-not-needed", "chunk.header", flip(good, 15, 1), {}),
        ("size-too-small", "chunk.header", put(split, 15, bytes([1 | 8 << 1])), {}),
        ("length", "chunk.length", flip(good, 14), {}),
        ("cut", "chunk.length", good[:-1], {}),
        ("sequence", "chunk.forged", flip(good, 3), {}),
        ("epoch", "chunk.forged", flip(good, 1), {}),
        ("nonce", "chunk.forged", flip(good, 11), {}),
        ("suite", "chunk.forged", flip(good, 15, 32), {}),
        ("body", "chunk.forged", flip(good, 16), {}),
        ("last-tag-of-split", "chunk.forged", flip(split, len(split) - 1), {}),
        ("pieces-swapped", "chunk.forged", swap(split, 16, 16 + 8192, 8192), {}),
        ("wrong-role", "chunk.forged", good, {"role": "responder"}),
        ("wrong-seed", "chunk.forged", good, {"seed": OTHER.hex()}),
    ):
        fields = {"seed": KEY.hex()} | fields
        write(f"hostile-chunk-{name}", expect, body, kind="chunk", **fields)
    write("metadata", "ok", b"\x12" + struct.pack(">Q", 99), kind="metadata", stream_depth=2, nonce=99)
    for name, body in (
        ("version", b"\x22" + bytes(8)), ("no-depth", b"\x10" + bytes(8)), ("short", b"\x12" + bytes(7)),
    ):
        write(f"hostile-metadata-{name}", "chunk.metadata", body, kind="metadata")


def record(magic, content, label):
    head = magic + b"\1" + noise(label, 32)
    key = stc.derive(KEY, "stc v1 record", magic, b"\1", head[5:])
    return head + seal(1, key, bytes(12), content)


def states():
    def parts(snapshot, label):
        return [
            record(b"STC1", snapshot + struct.pack(">I", 3) + noise("salt", 16), label + "1"),
            record(b"STC2", snapshot + struct.pack(">Q", 41), label + "2"),
            record(b"STC3", snapshot + struct.pack(">QQ", 5, 6), label + "3"),
        ]

    def join(parts):
        return b"STCS" + b"".join(struct.pack(">H", len(part)) + part for part in parts)

    one, two = parts(noise("one", 16), "a"), parts(noise("two", 16), "b")
    good = join(one)
    fields = {"kind": "state", "seed": KEY.hex()}
    write("state", "ok", good, **fields, epoch=3, position=41, envelopes=5, bytes=6)
    long_part = record(b"STC2", noise("one", 16) + bytes(9), "c")
    for name, expect, body in (
        ("empty", "record.not_one", b""),
        ("cut", "record.not_one", good[:-1]),
        ("one-more", "record.not_one", good + b"\0"),
        ("flipped", "record.forged", flip(good, len(good) - 1)),
        ("mixed", "record.mixed", join([one[0], two[1], one[2]])),
        ("parts-swapped", "record.not_one", join([one[1], one[0], one[2]])),
        ("long-part", "record.content", join([one[0], long_part, one[2]])),
        ("suite", "record.not_one", flip(good, 10, 4)),
    ):
        write(f"hostile-state-{name}", expect, body, **fields)
    write("hostile-state-wrong-seed", "record.forged", good, kind="state", seed=OTHER.hex())


def main():
    for path in FOLDER.glob("*.vector"):
        if not path.name.startswith("rust-"):
            path.unlink()
    good_envelopes()
    hostile_headers()
    hostile_keys()
    hostile_boxes()
    hostile_regions()
    hostile_decoys()
    chunks()
    states()
    for name, expect, text in (
        ("typo", "key.checksum", "stt1" + "q" * 58),
        ("phrase", "key.not_a_key", "correct horse battery staple"),
        ("prefix", "key.not_a_key", "sst1" + "q" * 58),
    ):
        write(f"hostile-key-{name}", expect, text.encode(), kind="key")


if __name__ == "__main__":
    main()
