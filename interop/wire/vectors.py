"""The wire's vectors, from docs/protocol.md and docs/streams.md alone.

`vectors.py write DIR` computes the files, `vectors.py check DIR` compares them with what is there.
The Rust tests read the same files.
"""

import pathlib
import sys

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from noise.connection import Keypair, NoiseConnection

NOISE = b"Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s"
AES, CHACHA = 1, 2


def varint(value):
    """RFC 9000, section 16, in as few bytes as can be."""
    for size, bits in ((1, 6), (2, 14), (4, 30), (8, 62)):
        if value < 1 << bits:
            return (value | (size.bit_length() - 1) << size * 8 - 2).to_bytes(size, "big")
    raise ValueError(value)


def derive(root, label, *parts, length=32):
    """KEY-1."""
    h = blake3(key=root)
    for part in (label.encode(), *parts):
        h.update(len(part).to_bytes(8, "little") + part)
    return h.digest(length=length)


class Seed:
    """KEY-2."""

    def __init__(self, root):
        self.id = derive(root, "stt/1 seed id")[:8]
        self.psk = derive(root, "stt/1 noise psk")
        self.initial = derive(root, "stt/1 initial")
        self.knock = derive(root, "stt/1 knock")
        self.mask_long = derive(root, "stt/1 mask long")
        self.mask_short = derive(root, "stt/1 mask short")


def level(root, suite):
    """KEY-3: the secrets of the initiator and the responder."""
    sides = ("initiator", "responder")
    return [derive(root, f"stt/1 secret {side}", bytes([suite])) for side in sides]


def initial_level(seed, connection_id):
    return level(derive(seed.initial, "stt/1 level initial", connection_id), AES)


def packet_keys(secret):
    """PKT-1."""
    return (
        derive(secret, "stt/1 packet key"),
        derive(secret, "stt/1 packet iv", length=12),
        derive(secret, "stt/1 header key"),
    )


def seal_packet(secret, suite, number, header, payload, first_secret=None):
    """PKT-2, PKT-3: `header` ends with the packet number. KEY-6: header keys stay those of the first."""
    key, iv, _ = packet_keys(secret)
    _, _, header_key = packet_keys(first_secret or secret)
    nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big")))
    aead = AESGCM(key) if suite == AES else ChaCha20Poly1305(key)
    packet = bytearray(header + aead.encrypt(nonce, payload, header))
    number_len = (header[0] & 3) + 1
    at = len(header) - number_len
    sample = bytes(packet[at + 4 : at + 20])
    if suite == AES:
        mask = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update(sample)
    else:
        mask = Cipher(algorithms.ChaCha20(header_key, sample), None).encryptor().update(bytes(5))
    packet[0] ^= mask[0] & (0x0F if packet[0] & 0x80 else 0x1F)
    for i in range(number_len):
        packet[at + i] ^= mask[1 + i]
    return bytes(packet)


def knock(seed, node, nonce, time):
    """KNOCK-1, KNOCK-2."""
    parts = [node] if node else []
    mask = blake3(nonce, key=derive(seed.knock, "stt/1 knock mask", *parts)).digest()
    masked = bytes(a ^ b for a, b in zip(time.to_bytes(4, "big"), mask))
    mac = blake3(nonce + masked, key=derive(seed.knock, "stt/1 knock mac", *parts)).digest()
    return nonce + masked + mac[:8]


def mask_long(seed, datagram, padding):
    """MASK-2."""
    body, sample = datagram[:-16], datagram[-16:]
    plain = len(datagram).to_bytes(2, "big") + body + bytes(padding)
    stream = Cipher(algorithms.AES(seed.mask_long), modes.CTR(sample)).encryptor()
    return stream.update(plain) + sample


def mask_short(seed, packet):
    """MASK-3."""
    mask = Cipher(algorithms.AES(seed.mask_short), modes.ECB()).encryptor().update(packet[-16:])
    return bytes(a ^ b for a, b in zip(packet[:9], mask)) + packet[9:]


class Node:
    """ID-1, ID-2."""

    def __init__(self, root):
        key = Ed25519PrivateKey.from_private_bytes(derive(root, "stt/1 node key"))
        raw = (Encoding.Raw, PublicFormat.Raw)
        self.id = key.public_key().public_bytes(*raw)
        self.static = derive(root, "stt/1 static key")
        public = X25519PrivateKey.from_private_bytes(self.static).public_key().public_bytes(*raw)
        self.static_public = public
        self.proof = {
            role: self.id + key.sign(f"stt/1 static key of the {role}: ".encode() + public)
            for role in ("initiator", "responder")
        }


def noise(seed, node, ephemeral, connection_id, initiator):
    side = NoiseConnection.from_name(NOISE)
    side.set_as_initiator() if initiator else side.set_as_responder()
    side.set_psks(psk=seed.psk)
    side.set_prologue(b"stt/1 " + connection_id)
    side.set_keypair_from_private_bytes(Keypair.STATIC, node.static)
    side.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    side.start_handshake()
    return side


def transcript_root(split, handshake_hash, label, suite):
    """KEY-4."""
    return derive(split[0], label, split[1], handshake_hash, bytes([suite]))


def record(message):
    return len(message).to_bytes(2, "big") + message


def handshake(suite):
    """HS-1 to HS-6."""
    seed = Seed(bytes([1]) * 32)
    alice, bob = Node(bytes([2]) * 32), Node(bytes([3]) * 32)
    connection_id = bytes(range(20))
    a = noise(seed, alice, bytes([4]) * 32, connection_id, True)
    b = noise(seed, bob, bytes([5]) * 32, connection_id, False)

    hello = bytes([1, 1, 1, suite]) + (3).to_bytes(2, "big") + b"abc"
    first = bytes(a.write_message(hello))
    assert b.read_message(first) == hello
    time = (1_800_000_000).to_bytes(4, "big")
    response = bytes([1, suite]) + time + bob.proof["responder"] + (3).to_bytes(2, "big") + b"xyz"
    second = bytes(b.write_message(response))
    assert a.read_message(second) == response

    state = a.noise_protocol.symmetric_state
    split = a.noise_protocol.hkdf(state.ck, b"", 2)[:2]
    root = transcript_root(split, state.h, "stt/1 level handshake", suite)
    early = level(root, suite)
    confirm = derive(root, "stt/1 confirm")

    listens = bytes([1, 4, 127, 0, 0, 1]) + (9).to_bytes(2, "big")
    auth = alice.proof["initiator"] + listens
    third = bytes(a.write_message(auth))
    assert b.read_message(third) == auth
    protocol = a.noise_protocol
    split = (protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k)
    root = transcript_root(split, protocol.handshake_hash, "stt/1 level session", suite)
    session = level(root, suite)
    return {
        "suite": bytes([suite]),
        "hello": record(first),
        "response": record(second),
        "handshake-initiator": early[0],
        "handshake-responder": early[1],
        "confirm": record(confirm),
        "auth-proof": record(third),
        "session-initiator": session[0],
        "session-responder": session[1],
        "updated-initiator": derive(session[0], "stt/1 key update", bytes([suite])),
        "final": derive(root, "stt/1 final"),
        "exporter": derive(root, "stt/1 exporter"),
        "session-id": derive(root, "stt/1 session id")[:8],
    }


def renewal(suite):
    """KEY-7: what goes into the keys of generation 7, and those."""
    exporter = bytes([9]) * 32
    alice, bob = Node(bytes([2]) * 32), Node(bytes([3]) * 32)
    sides = []
    for own, peer, ephemeral, initiator in ((alice, bob, 4, True), (bob, alice, 5, False)):
        side = NoiseConnection.from_name(b"Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s")
        side.set_as_initiator() if initiator else side.set_as_responder()
        side.set_psks(psk=derive(exporter, "stt/1 renewal psk"))
        side.set_prologue(b"stt/1 renewal")
        side.set_keypair_from_private_bytes(Keypair.STATIC, own.static)
        side.set_keypair_from_private_bytes(Keypair.EPHEMERAL, bytes([ephemeral]) * 32)
        side.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, peer.static_public)
        side.start_handshake()
        sides.append(side)
    a, b = sides
    renew = bytes(a.write_message(b""))
    assert b.read_message(renew) == b""
    second = bytes(b.write_message(b""))
    assert a.read_message(second) == b""
    protocol = a.noise_protocol
    split = (protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k)
    fresh = transcript_root(split, protocol.handshake_hash, "stt/1 renewal", suite)
    secrets = level(bytes([8]) * 32, suite)
    for generation in range(1, 8):
        parts = [fresh] if generation == 7 else []
        secrets = [derive(secret, "stt/1 key update", bytes([suite]), *parts) for secret in secrets]
    return {
        "suite": bytes([suite]),
        "renew": renew,
        # The responder has made the keys of generation 3.
        "renewed": (7).to_bytes(8, "big") + second,
        "initiator": secrets[0],
        "responder": secrets[1],
    }


def seeds():
    out = {}
    for byte in (0, 1, 0xFF):
        seed = Seed(bytes([byte]) * 32)
        for name, value in vars(seed).items():
            out[f"{byte}-{name.replace('_', '-')}"] = value
    return out


def knocks():
    seed, node = Seed(bytes([1]) * 32), bytes([7]) * 32
    out = {}
    for name, time in (("timeless", 0), ("now", 1_800_000_000), ("last", 2**32 - 1)):
        out[f"anyone-{name}"] = knock(seed, None, bytes(range(8)), time)
        out[f"pinned-{name}"] = knock(seed, node, bytes(range(8)), time)
    return out


def masks():
    seed = Seed(bytes([1]) * 32)
    datagram = bytes([0xC1]) + b"STT\x01" + bytes([8]) + bytes(range(200))
    short = bytes(range(64))
    return {
        "datagram": datagram,
        "long": mask_long(seed, datagram, 0),
        "long-padded": mask_long(seed, datagram, 30),
        "packet": short,
        "short": mask_short(seed, short),
    }


def packets():
    out = {}
    for suite, name in ((AES, "aes"), (CHACHA, "chacha")):
        secret = bytes([9]) * 32
        for field, value in zip(("key", "iv", "header-key"), packet_keys(secret)):
            out[f"{name}-{field}"] = value
        header = bytes([0x41]) + bytes(range(8)) + bytes([0x12, 0x34])
        out[f"{name}-packet"] = seal_packet(secret, suite, 0x1234, header, b"payload of a packet")
    initiator, responder = initial_level(Seed(bytes([1]) * 32), bytes(range(20)))
    out["initial-initiator"], out["initial-responder"] = initiator, responder
    return out


def route_body(sequence, kind, challenge, echo, detail, address):
    """ROUTE-2, ROUTE-3, without padding."""
    family, ip, port = address
    address = bytes([family]) + ip.ljust(16, b"\0") + port.to_bytes(2, "big")
    return sequence.to_bytes(8, "big") + bytes([kind]) + challenge + echo + bytes([detail]) + address


def routes():
    """ROUTE-1: what either side seals first, not masked and masked."""
    exporter, out = bytes([9]) * 32, {}
    v4, v6 = (4, bytes([10, 0, 0, 1]), 4433), (6, bytes(range(16)), 9)
    none, nowhere = bytes(16), (4, bytes(4), 0)
    challenge, echo = bytes([1]) * 16, bytes([2]) * 16
    messages = {
        "ask": (1, challenge, none, 1, nowhere),
        "move": (2, challenge, echo, 0, nowhere),
        "answer": (3, challenge, echo, 1, v4),
        "answer-v6": (3, challenge, echo, 0, v6),
        "come": (4, none, none, 2, (4, bytes(4), 7)),
    }
    for suite, cipher, name in ((AES, AESGCM, "aes"), (CHACHA, ChaCha20Poly1305, "chacha")):
        for side in ("initiator", "responder"):
            key = derive(exporter, f"stt/1 route key {side}", bytes([suite]))
            head = bytes([1]) + derive(exporter, f"stt/1 route id {side}", length=8)
            nonce = bytes(range(2, 14))
            for message, fields in messages.items():
                body = route_body(1, *fields) + bytes(5)
                sealed = head + nonce + cipher(key).encrypt(nonce, body, head + nonce)
                out[f"{name}-{side}-{message}"] = sealed
                masked = mask_short(Seed(bytes([1]) * 32), sealed)
                out[f"{name}-{side}-{message}-masked"] = masked
    return out


def label_header(label, number):
    """STREAM-2, STREAM-9: how each direction of a protocol's stream begins."""
    return varint(4) + bytes([len(label)]) + label + varint(number)


def hostile_labels():
    """Beginnings of streams that are stopped with the code, the cut ones when the stream ends there; and
    bodies of GIVEN_UP that are none."""
    wide = (1 << 32 | 3 << 62).to_bytes(8, "big")
    whole = label_header(b"chat/1", 77)
    out = {
        "code": bytes([0x01]),
        "header-empty-label": b"\x04\x00\x01",
        "header-label-of-65": b"\x04\x41" + b"a" * 65 + b"\x01",
        "header-label-of-255": b"\x04\xff" + b"a" * 255 + b"\x01",
        "header-number-of-33-bits": b"\x04\x01a" + wide,
        "header-number-of-62-bits": b"\x04\x01a" + b"\xff" * 8,
        "header-kind-5": b"\x05\x01a\x01",
        "header-kind-of-62-bits": b"\xff" * 8 + b"\x01a\x01",
        "given-up-empty-label": b"\x00\x01\x10",
        "given-up-label-of-65": b"\x41" + b"a" * 65 + b"\x01\x10",
        "given-up-label-beyond-the-body": b"\x04abc",
        "given-up-number-of-33-bits": b"\x01a" + wide + b"\x10",
        "given-up-without-code": b"\x01a\x01",
        "given-up-code-cut": b"\x01a\x01\x50",
        "given-up-nothing": b"",
    }
    for length in (1, 2, 5, 8, 9):
        out[f"cut-{length}"] = whole[:length]
    return out


def labels():
    """Headers of kind 4 with what is in them, and GIVEN_UP as a whole record."""
    out = {}
    for name, label, number in (
        ("first", b"a", 1),
        ("text", b"chat/1", 77),
        ("longest", bytes(range(64)), 2**32 - 1),
        ("any-bytes", b"\0\xff\n/", 2),
        ("number-of-two-bytes", b"a", 64),
        ("number-of-four-bytes", b"a", 1 << 14),
    ):
        out[f"{name}-label"] = label
        out[f"{name}-number"] = number.to_bytes(4, "big")
        out[f"{name}-header"] = label_header(label, number)
        body = bytes([len(label)]) + label + varint(number) + varint(0x123)
        out[f"{name}-given-up"] = varint(6) + varint(len(body)) + body
    # Varints may be longer than they need to be; the length of a label is no varint.
    out["wide-label"], out["wide-number"] = b"a", bytes([0, 0, 0, 1])
    out["wide-header"] = bytes.fromhex("c000000000000004") + b"\x01a" + bytes.fromhex("80000001")
    out["wide-given-up"] = bytes.fromhex("4006400c") + b"\x01a" + bytes.fromhex("c000000000000001") + b"\x41\x23"
    return out


def refusals():
    """STREAM-11, STREAM-12: with which code a header is stopped. The side that stops it did not connect,
    handles `chat/1` and nothing else, and has a stream 1 of it that is not over."""
    out = {}
    for name, label, number, code in (
        ("unknown-label", b"nobody", 1, 0x05),
        ("unknown-longer-label", b"chat/10", 3, 0x05),
        ("unknown-shorter-label", b"chat/", 3, 0x05),
        ("unknown-case", b"Chat/1", 3, 0x05),
        ("second-header", b"chat/1", 1, 0x01),
        ("no-stream", b"chat/1", 2, 0x06),
        ("no-stream-of-unknown-label", b"nobody", 2, 0x06),
    ):
        out[f"{name}-label"] = label
        out[f"{name}-number"] = number.to_bytes(4, "big")
        out[f"{name}-header"] = label_header(label, number)
        out[f"{name}-code"] = bytes([code])
    # Of a peer that knows no kind 4, of one that knows it and not the label, and of one that is full.
    out["first-version-code"] = bytes([0x01])
    out["unknown-code"] = bytes([0x05])
    out["too-many-code"] = bytes([0x02])
    return out


def file_list(entries, mode=0o644, modified=0):
    """FILE-2."""
    out = b""
    for is_dir, path, size in entries:
        path = path if isinstance(path, bytes) else path.encode()
        out += bytes([is_dir]) + mode.to_bytes(2, "big") + modified.to_bytes(8, "big")
        out += varint(size) + varint(len(path)) + path
    return out


def hostile_lists():
    """FILE-2, FILE-5: name, list, entries, and the VERDICT on it."""
    root, last = (True, "root", 0), 2**62 - 1

    def of(name, verdict, *below, entries=None, mode=0o644):
        listed = file_list([root, *below], mode)
        return name, listed, len(below) + 1 if entries is None else entries, verdict

    return [
        of("up", 4, (False, "../x", 1)),
        of("up-below", 4, (True, "a", 0), (False, "a/../../x", 1)),
        of("absolute", 4, (False, "/etc/x", 1)),
        of("dots", 4, (True, "..", 0)),
        of("dot", 4, (False, ".", 1)),
        of("no-name", 4, (False, "", 1)),
        of("slash-at-the-end", 4, (True, "a/", 0)),
        of("zero-byte", 4, (False, "a\0b", 1)),
        of("too-deep", 4, *((True, "/".join("d" * depth), 0) for depth in range(1, 34))),
        of("one-here", 4, (False, "a:b", 1), (False, "a?b", 1)),
        of("twice", 6, (False, "a", 1), (False, "a", 1)),
        of("in-a-file", 6, (False, "a", 1), (False, "a/b", 1)),
        of("in-nothing", 6, (False, "a/b", 1)),
        of("before-its-directory", 6, (False, "a/b", 1), (True, "a", 0)),
        of("not-utf-8", 6, (False, b"\xff", 1)),
        of("path-of-1025", 6, (False, "a" * 1025, 1)),
        of("sum-too-large", 6, (False, "a", last), (False, "b", 1)),
        of("set-user-id", 6, (False, "a", 1), mode=0o4755),
        of("directory-with-size", 6, (True, "a", 1)),
        of("one-fewer", 6, (False, "a", 1), entries=1),
        of("one-more", 6, (False, "a", 1), entries=3),
        ("file-with-more", file_list([(False, "f", 1), (False, "a", 1)]), 2, 6),
        ("kind-2", b"\x02" + file_list([root])[1:], 1, 6),
        ("cut", file_list([root, (False, "abc", 1)])[:-1], 2, 6),
        ("empty", b"", 0, 6),
    ]


def lists():
    """FILE-2: lists, with the number of their entries."""
    tree = [(True, "root", 0), (True, "a", 0), (False, "a/.b", 5), (True, "a/c", 0), (False, "d", 2**62 - 6)]
    return {
        "file": file_list([(False, "../name", 70_000)], 0o600, 1_700_000_000_123_456_789),
        "file-entries": bytes([1]),
        "tree": file_list(tree, 0o755, 7),
        "tree-entries": bytes([5]),
        "empty-directory": file_list([tree[0]]),
        "empty-directory-entries": bytes([1]),
    }


def hostile_files():
    out = {}
    for name, listed, entries, verdict in hostile_lists():
        out[name], out[f"{name}-entries"], out[f"{name}-verdict"] = listed, bytes([entries]), bytes([verdict])
    return out


FILES = {
    "files-hostile": hostile_files,
    "files": lists,
    "labels-hostile": hostile_labels,
    "labels-refused": refusals,
    "labels": labels,
    "seeds": seeds,
    "knocks": knocks,
    "masks": masks,
    "packets": packets,
    "routes": routes,
    "handshake-aes": lambda: handshake(AES),
    "handshake-chacha": lambda: handshake(CHACHA),
    "renewal-aes": lambda: renewal(AES),
    "renewal-chacha": lambda: renewal(CHACHA),
}


def main():
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    wrong = 0
    for name, compute in FILES.items():
        text = "".join(f"{key}: {value.hex()}\n" for key, value in compute().items())
        path = folder / f"{name}.vector"
        if command == "write":
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path} differs from what the specification gives", file=sys.stderr)
            wrong += 1
    if command == "check":
        others = {path.stem for path in folder.iterdir()} - set(FILES)
        if others:
            sys.exit(f"vectors that nobody computes: {sorted(others)}")
        print(f"{len(FILES)} files of vectors, {wrong} wrong")
        sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
