"""STC's formats, written a second time from docs/formats.md alone.

Nothing here comes from the Rust code: what the two agree on is what the document says.
"""

import struct

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

MIN_KIB, MAX_KIB = 256, 1 << 20
FIXED_LEN, SLOT_LEN = 74, 96
WHOLE = (1 << 64) - 1


class Refused(Exception):
    """The input must not be opened."""


def need(condition, why):
    if not condition:
        raise Refused(why)


# --- primitives ---------------------------------------------------------------------------------


def _absorb(hasher, label, parts):
    for part in [label.encode(), *parts]:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher


def derive(key, label, *parts):
    return _absorb(blake3(key=key), label, parts).digest()


def digest(label, *parts):
    return _absorb(blake3(), label, parts).digest()


def cipher(suite, key):
    return {1: AESGCM, 2: ChaCha20Poly1305}[suite](key)


def unseal(suite, key, nonce, data, associated=b""):
    try:
        return cipher(suite, key).decrypt(nonce, data, associated)
    except InvalidTag:
        raise Refused("does not verify") from None


def stretch(phrase, salt, lattice, depth):
    kib = lattice * lattice * depth
    need(MIN_KIB <= kib <= MAX_KIB, "cost")
    passes = 3 if kib < 256 * 1024 else 2
    return hash_secret_raw(phrase, salt, passes, kib, 1, 32, Type.ID)


def root_key(kind, seed, realm, lattice, depth):
    """`seed`: bytes of a phrase, decimal digits of an integer, or the 32 bytes of a key."""
    if kind == "none":
        return bytes(32)
    if kind == "key":
        return seed
    salt = digest("stc v1 seed salt", kind.encode(), realm)
    return stretch(seed, salt, lattice, depth)


def cbor(value):
    """Deterministic CBOR (RFC 8949, 4.2.1) of what JSON knows, without floats."""

    def head(major, argument):
        if argument < 24:
            return bytes([major << 5 | argument])
        for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if argument < 1 << (8 * size):
                return bytes([major << 5 | code]) + argument.to_bytes(size, "big")
        raise ValueError(argument)

    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    items = sorted((cbor(key), cbor(item)) for key, item in value.items())
    return head(5, len(items)) + b"".join(key + item for key, item in items)


def context_digest(value):
    return digest("stc v1 context data", cbor(value))


# --- envelope -----------------------------------------------------------------------------------


def slot_key(root, password_key, context, fixed):
    return derive(root, "stc v1 slot", password_key, context, fixed)


def sub(key, label):
    return derive(key, "stc v1 " + label)


def chunk_nonce(index, last):
    return bytes(7) + index.to_bytes(4, "big") + bytes([last])


def leaf(chunk, slots):
    """What a chunk contributes to the digest of the envelope."""
    return chunk[-16:] if slots == 1 else blake3(chunk).digest()


def check_region(chunk_len, length):
    full, rest = divmod(length, chunk_len + 16)
    need(length >= 16 and (rest == 0 or rest > 16 or full == 0), "no region has this length")
    need(full + (rest > 0) <= 1 << 32, "no region has this length")


def chunk_sizes(chunk_len, length):
    """Lengths of the sealed chunks of a region of `length` bytes."""
    check_region(chunk_len, length)
    full, rest = divmod(length, chunk_len + 16)
    return [chunk_len + 16] * full + ([rest] if rest else [])


def parse_header(data):
    need(len(data) >= FIXED_LEN, "header too short")
    magic, version, suite, slots, depth, lattice, chunk_len, epoch, region_len, psalt, msalt = (
        struct.unpack(">4sBBBBHIIQ16s32s", data[:FIXED_LEN])
    )
    need(magic == b"STCE" and version == 1, "not an envelope of version 1")
    need(suite in (1, 2), "suite")
    need(slots == 1 or 4 <= slots <= 8, "slots")
    need(MIN_KIB <= lattice * lattice * depth <= MAX_KIB, "cost")
    need(1 << 16 <= chunk_len <= 1 << 22, "chunk length")
    if slots == 1:
        need(region_len == 0, "region length")
    else:
        check_region(chunk_len, region_len)
    end = FIXED_LEN + slots * SLOT_LEN
    need(len(data) >= end, "header too short")
    table = [data[FIXED_LEN + i * SLOT_LEN :][:SLOT_LEN] for i in range(slots)]
    return {
        "suite": suite, "slots": slots, "lattice": lattice, "depth": depth, "epoch": epoch,
        "chunk_len": chunk_len, "region_len": region_len, "password_salt": psalt,
        "message_salt": msalt, "table": table, "fixed": data[:FIXED_LEN], "len": end,
    }


def open_envelope(data, root, password, context):
    """(kind, content), or Refused."""
    h = parse_header(data)
    password_key = b""
    if password is not None:
        password_key = stretch(password, h["password_salt"], h["lattice"], h["depth"])
    key = slot_key(root, password_key, context_digest(context), h["fixed"])
    commitment = sub(key, "commitment")
    mine = [i for i, slot in enumerate(h["table"]) if slot[:32] == commitment]
    need(mine, "nothing opens")
    mine = mine[0]
    box = unseal(h["suite"], sub(key, "box"), bytes(12), h["table"][mine][32:])
    envelope_key, length, kind = box[:32], int.from_bytes(box[32:40], "big"), box[40]
    need(kind in (0, 1) and box[41:] == bytes(7), "content of the box")

    trailers_len = 32 * (h["slots"] + 1)
    need(len(data) >= h["len"] + trailers_len, "truncated")
    body, trailers = data[h["len"] : -trailers_len], data[-trailers_len:]
    if h["slots"] == 1:
        need(length == WHOLE, "content length")
    else:
        need(len(body) == h["slots"] * h["region_len"], "length")
    region_len = h["region_len"] or len(body)
    sizes = chunk_sizes(h["chunk_len"], region_len)

    whole, plain, at = blake3(data[: h["len"]]), b"", 0
    for slot in range(h["slots"]):
        for index, size in enumerate(sizes):
            chunk = body[at : at + size]
            whole.update(leaf(chunk, h["slots"]))
            at += size
            if slot == mine:
                nonce = chunk_nonce(index, index + 1 == len(sizes))
                plain += unseal(h["suite"], sub(key, "region"), nonce, chunk)
    if h["slots"] > 1:
        need(length <= len(plain), "content length")
        plain = plain[:length]

    whole = whole.digest()
    need(trailers[mine * 32 :][:32] == derive(key, "stc v1 trailer", whole), "trailer")
    need(trailers[-32:] == derive(envelope_key, "stc v1 seal", whole, trailers[:-32]), "seal")
    if kind == 1:
        try:
            plain.decode()
        except UnicodeDecodeError:
            raise Refused("not a text") from None
    return ("bytes", "text")[kind], plain


# --- stream -------------------------------------------------------------------------------------


def open_chunk(data, root, role):
    """`role`: that of the sender; 0 none, 1 initiator, 2 responder."""
    need(len(data) >= 16, "header too short")
    header, sealed = data[:16], data[16:]
    sequence, nonce = struct.unpack(">IQ", header[:12])
    length, flags = int.from_bytes(header[12:15], "big"), header[15]
    need(flags & 0xC0 == 0, "flags")
    suite = 2 if flags & 0x20 else 1
    code = flags >> 1 & 15
    size = max(length, 1)
    if flags & 1:
        log2 = 13 + (code - 16 if code > 7 else code)
        need(10 <= log2 <= 20 and length > 1 << log2, "split")
        size = 1 << log2
    else:
        need(code == 0, "flags")
    count = max(-(-length // size), 1)
    need(len(sealed) == length + 16 * count, "length")
    key = derive(
        root, "stc v1 stream", bytes([suite]), nonce.to_bytes(8, "big"), bytes([role]),
        (sequence >> 16).to_bytes(2, "big"),
    )
    plain = b""
    for index in range(count):
        piece = sealed[index * size : min((index + 1) * size, length)]
        tag = sealed[length + 16 * index :][:16]
        iv = sequence.to_bytes(4, "big") + index.to_bytes(8, "big")
        plain += unseal(suite, key, iv, piece + tag, header)
    return plain


def parse_metadata(data):
    need(len(data) == 9 and data[0] >> 4 == 1 and data[0] & 15, "metadata")
    return data[0] & 15, int.from_bytes(data[1:], "big")


# --- saved state --------------------------------------------------------------------------------


def open_record(data, root, magic):
    need(len(data) >= 37 and data[:4] == magic and data[4] in (1, 2), "record")
    key = derive(root, "stc v1 record", magic, data[4:5], data[5:37])
    return unseal(data[4], key, bytes(12), data[37:])


def open_state(data, root):
    """(epoch, position, envelopes, bytes)."""
    need(data[:4] == b"STCS" and len(data) <= 1024, "state")
    parts, rest = [], data[4:]
    for magic in (b"STC1", b"STC2", b"STC3"):
        need(len(rest) >= 2, "state")
        size = int.from_bytes(rest[:2], "big")
        need(len(rest) >= 2 + size, "state")
        parts.append(open_record(rest[2 : 2 + size], root, magic))
        rest = rest[2 + size :]
    need(not rest, "state")
    cel, phe, pcf = parts
    need(cel[:16] == phe[:16] == pcf[:16], "mixed")
    need((len(cel), len(phe), len(pcf)) == (36, 24, 32), "state")
    return (
        int.from_bytes(cel[16:20], "big"), int.from_bytes(phe[16:], "big"),
        int.from_bytes(pcf[16:24], "big"), int.from_bytes(pcf[24:], "big"),
    )


# --- printed key --------------------------------------------------------------------------------

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def parse_key(text):
    """bech32m (BIP 350) with the prefix `stt`, 32 bytes."""
    text = text.strip()
    need(text in (text.lower(), text.upper()), "mixed case")
    text = text.lower()
    need(text.startswith("stt1") and len(text) >= 10, "prefix")
    need(all(c in _CHARSET for c in text[4:]), "character")
    values = [_CHARSET.index(c) for c in text[4:]]
    check = 1
    expanded = [ord(c) >> 5 for c in "stt"] + [0] + [ord(c) & 31 for c in "stt"]
    for value in expanded + values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(
            (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
        ):
            check ^= generator if top >> bit & 1 else 0
    need(check == 0x2BC830A3, "checksum")
    number = 0
    for value in values[:-6]:
        number = number << 5 | value
    bits = 5 * len(values[:-6])
    need(bits // 8 == 32 and bits % 8 < 5 and number & ((1 << bits % 8) - 1) == 0, "length")
    return (number >> bits % 8).to_bytes(32, "big")
