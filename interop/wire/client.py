"""A second implementation: sends files and folders to `stt receive`, and speaks protocols with a node that answers and asks,
from docs/protocol.md and docs/streams.md alone.

`client.py STT PROTOCOLS`, with the programs to be tried. What is here of QUIC is as little as one transfer over the
loopback interface needs: nothing is sent twice, and windows are wider than what is sent.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from noise.connection import Keypair, NoiseConnection

from vectors import (
    AES,
    CHACHA,
    Node,
    Seed,
    derive,
    file_list,
    hostile_labels,
    hostile_lists,
    initial_level,
    knock,
    label_header,
    level,
    mask_long,
    mask_short,
    noise,
    packet_keys,
    record,
    refusals,
    seal_packet,
    transcript_root,
    varint,
)

VERSION = b"STT\x01"
INITIAL, HANDSHAKE, SESSION = 0, 2, 4


def take_varint(data, at):
    size = 1 << (data[at] >> 6)
    value = int.from_bytes(data[at : at + size], "big") & (1 << size * 8 - 2) - 1
    return value, at + size


def seed_of(text):
    """docs/formats.md: bech32m (BIP 350), whose checksum is not looked at here."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    digits = text.strip().lower().removeprefix("stt1")[:-6]
    bits = "".join(f"{alphabet.index(digit):05b}" for digit in digits)
    return Seed(bytes(int(bits[at : at + 8], 2) for at in range(0, 256, 8)))


def expanded(truncated, length, largest):
    """RFC 9000, appendix A.3: the number that is nearest to the one that is expected."""
    expected, window = largest + 1, 1 << 8 * length
    number = expected & ~(window - 1) | truncated
    if number <= expected - window // 2:
        return number + window
    if number > expected + window // 2 and number >= window:
        return number - window
    return number


def open_packet(secrets, suite, packet, number_at, largest):
    """PKT-2, PKT-3. `largest` is the largest number so far, or -1. `secrets` are those of the peer's first keys,
    of the keys before, and of the newest ones with their number, which the key phase tells apart.
    """
    first, before, newest, generation = secrets
    _, _, header_key = packet_keys(first)
    sample = packet[number_at + 4 : number_at + 20]
    if suite == AES:
        mask = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update(sample)
    else:
        mask = Cipher(algorithms.ChaCha20(header_key, sample), None).encryptor().update(bytes(5))
    packet = bytearray(packet)
    packet[0] ^= mask[0] & (0x0F if packet[0] & 0x80 else 0x1F)
    body_at = number_at + (packet[0] & 3) + 1
    for at in range(number_at, body_at):
        packet[at] ^= mask[1 + at - number_at]
    truncated = int.from_bytes(packet[number_at:body_at], "big")
    number = expanded(truncated, body_at - number_at, largest)
    is_newest = packet[0] & 0x80 or packet[0] >> 2 & 1 == generation & 1
    key, iv, _ = packet_keys(newest if is_newest else before)
    nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big")))
    aead = AESGCM(key) if suite == AES else ChaCha20Poly1305(key)
    return number, aead.decrypt(nonce, bytes(packet[body_at:]), bytes(packet[:body_at]))


def ack_frame(numbers):
    """RFC 9000, section 19.3."""
    ranges = []
    for number in sorted(numbers, reverse=True):
        if ranges and ranges[-1][0] == number + 1:
            ranges[-1][0] = number
        else:
            ranges.append([number, number])
    (low, high), *rest = ranges
    out = b"\x02" + varint(high) + varint(0) + varint(len(rest)) + varint(high - low)
    for next_low, next_high in rest:
        out += varint(low - next_high - 2) + varint(next_high - next_low)
        low = next_low
    return out


class Pieces:
    """Bytes that come at offsets."""

    def __init__(self):
        self.pieces, self.data = {}, b""

    def add(self, offset, data):
        self.pieces[offset] = data
        for start in sorted(self.pieces):
            if start <= len(self.data):
                self.data += self.pieces[start][len(self.data) - start :]


class Client:
    def __init__(self, address, seed, suites, expect):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(address)
        self.socket.settimeout(5)
        self.seed, self.node = seed, Node(os.urandom(32))
        self.own_id, self.peer_id = os.urandom(8), None
        self.knock = knock(seed, expect, os.urandom(8), int(time.time()))
        # Of each level: the secrets of all generations, and the suite.
        self.secrets = {INITIAL: ([initial_level(seed, self.knock)], AES)}
        self.next_number = {INITIAL: 0, HANDSHAKE: 0, SESSION: 0}
        self.seen = {INITIAL: set(), HANDSHAKE: set(), SESSION: set()}
        self.crypto = {INITIAL: Pieces(), HANDSHAKE: Pieces(), SESSION: Pieces()}
        self.sent, self.streams, self.waiting = {}, {}, []
        # What the update to a generation mixes in.
        self.fresh = {}
        # Streams of the peer that ended, and how; streams of ours that it stopped, and with what code.
        self.ends, self.stops = {}, {}
        self.confirmed = False
        self.connect(suites)

    # --- datagrams ---

    def packet(self, space, payload):
        generations, suite = self.secrets[space]
        number = self.next_number[space]
        self.next_number[space] += 1
        payload = payload.ljust(4, b"\0")
        if space == SESSION:
            phase = (len(generations) - 1 & 1) << 2
            header = bytes([0x41 | phase]) + self.peer_id + number.to_bytes(2, "big")
        else:
            header = bytes([0xC1 | space << 4]) + VERSION
            for name in (self.peer_id or self.knock, self.own_id):
                header += bytes([len(name)]) + name
            header += b"\0" if space == INITIAL else b""
            length = 2 + len(payload) + 16
            header += (length | 0x4000).to_bytes(2, "big") + number.to_bytes(2, "big")
        newest, first = generations[-1][0], generations[0][0]
        return seal_packet(newest, suite, number, header, payload, first)

    def send_long(self, packet):
        room = min(255, max(0, 1232 - 2 - len(packet)))
        self.socket.send(mask_long(self.seed, packet, os.urandom(1)[0] % (room + 1)))

    def send(self, payload):
        self.socket.send(mask_short(self.seed, self.packet(SESSION, payload)))

    def receive(self):
        """MASK-1."""
        datagram = self.socket.recv(65_536)
        short = mask_short(self.seed, datagram)
        if short[0] & 0xC0 == 0x40 and short[1:9] == self.own_id:
            self.take(SESSION, short, 9)
        else:
            sample = datagram[-16:]
            stream = Cipher(algorithms.AES(self.seed.mask_long), modes.CTR(sample)).decryptor()
            plain = stream.update(datagram[:-16])
            length = int.from_bytes(plain[:2], "big")
            # What is neither is a datagram about routes, which this side answers none of.
            if length <= len(plain) + 14 and plain[2] & 0xC0 == 0xC0 and plain[3:7] == VERSION:
                self.take_all(plain[2 : 2 + length - 16] + sample)
        if SESSION in self.secrets and self.seen[SESSION]:
            self.send(ack_frame(self.seen[SESSION]))

    def take_all(self, datagram):
        while datagram:
            # MASK-3: a short packet has a mask of its own.
            short = mask_short(self.seed, datagram)
            if short[0] & 0xC0 == 0x40 and short[1:9] == self.own_id:
                return self.take(SESSION, short, 9)
            assert datagram[0] & 0xC0 == 0xC0 and datagram[1:5] == VERSION
            space, at = datagram[0] >> 4 & 3, 5
            names = []
            for _ in range(2):
                names.append(datagram[at + 1 : at + 1 + datagram[at]])
                at += 1 + datagram[at]
            assert names[0] == self.own_id
            self.peer_id = names[1]
            if space == INITIAL:
                token, at = take_varint(datagram, at)
                assert token == 0
            length, at = take_varint(datagram, at)
            self.take(space, datagram[: at + length], at)
            datagram = datagram[at + length :]

    def take(self, space, packet, number_at):
        if space not in self.secrets:
            # It came in one datagram with what gives its keys.
            return self.waiting.append((space, packet, number_at))
        try:
            number, payload = self.open(space, packet, number_at)
        except InvalidTag:
            # RFC 9001, section 6.2: the peer updates its keys when it likes, and this side follows.
            assert space == SESSION
            self.update()
            number, payload = self.open(space, packet, number_at)
        self.seen[space].add(number)
        self.take_frames(space, payload)

    def open(self, space, packet, number_at):
        generations, suite = self.secrets[space]
        first, before, newest = (generations[at][1] for at in (0, -2 if generations[1:] else 0, -1))
        secrets = (first, before, newest, len(generations) - 1)
        return open_packet(secrets, suite, packet, number_at, max(self.seen[space], default=-1))

    def take_frames(self, space, data):
        """RFC 9000, section 19: what a responder may send."""
        at = 0
        fields = {0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1, 0x19: 1}
        while at < len(data):
            kind, at = take_varint(data, at)
            if kind in (0x00, 0x01):
                pass
            elif kind in (0x02, 0x03):
                _, at = take_varint(data, at)
                _, at = take_varint(data, at)
                count, at = take_varint(data, at)
                for _ in range(1 + 2 * count + (3 if kind == 3 else 0)):
                    _, at = take_varint(data, at)
            elif kind == 0x06:
                offset, at = take_varint(data, at)
                length, at = take_varint(data, at)
                self.crypto[space].add(offset, data[at : at + length])
                at += length
            elif kind == 0x04:
                stream, at = take_varint(data, at)
                code, at = take_varint(data, at)
                _, at = take_varint(data, at)
                self.ends[stream] = f"reset {code:#x}"
            elif kind == 0x05:
                stream, at = take_varint(data, at)
                self.stops[stream], at = take_varint(data, at)
                # RFC 9000, section 3.5.
                final = varint(self.sent.get(stream, 0))
                self.send(b"\x04" + varint(stream) + varint(self.stops[stream]) + final)
            elif kind & 0xF8 == 0x08:
                stream, at = take_varint(data, at)
                offset, at = take_varint(data, at) if kind & 4 else (0, at)
                length, at = take_varint(data, at) if kind & 2 else (len(data) - at, at)
                self.streams.setdefault(stream, Pieces()).add(offset, data[at : at + length])
                if kind & 1:
                    self.ends.setdefault(stream, "finished")
                at += length
            elif kind == 0x18:
                _, at = take_varint(data, at)
                _, at = take_varint(data, at)
                assert data[at] == 8, "PKT-4"
                at += 1 + 8 + 16
            elif kind == 0x1E:
                self.confirmed = True
            elif kind in fields:
                for _ in range(fields[kind]):
                    _, at = take_varint(data, at)
            else:
                sys.exit(f"frame {kind:#x}: {data[at:]!r}")

    # --- the handshake ---

    def record(self, space):
        """HS-1."""
        crypto = self.crypto[space]
        while len(crypto.data) < 2 or len(crypto.data) < 2 + int.from_bytes(crypto.data[:2], "big"):
            self.receive()
        return crypto.data[2 : 2 + int.from_bytes(crypto.data[:2], "big")]

    def connect(self, suites):
        side = noise(self.seed, self.node, os.urandom(32), self.knock, True)
        parameters = b""
        for name, value in (
            (0x01, varint(30_000)),
            (0x04, varint(1 << 20)),
            (0x07, varint(1 << 20)),
            (0x09, varint(64)),
            (0x0F, self.own_id),
            (0x20, varint(65_535)),
        ):
            parameters += varint(name) + varint(len(value)) + value
        hello = bytes([2, 77, 1, len(suites)]) + suites + len(parameters).to_bytes(2, "big") + parameters
        message = record(bytes(side.write_message(hello + b"what a later version adds")))
        crypto = b"\x06" + varint(0) + varint(len(message)) + message
        self.send_long(self.packet(INITIAL, crypto.ljust(1_150, b"\0")))

        response = bytes(side.read_message(self.record(INITIAL)))
        version, suite = response[0], response[1]
        assert version == 1 and suite in suites and suite != 77
        assert abs(int.from_bytes(response[2:6], "big") - time.time()) < 5
        self.suite, self.responder = suite, response[6:38]
        static = bytes(side.noise_protocol.handshake_state.rs.public_bytes)
        self.peer_static = static
        signed = b"stt/1 static key of the responder: " + static
        Ed25519PublicKey.from_public_bytes(self.responder).verify(response[38:102], signed)
        state = side.noise_protocol.symmetric_state
        split = side.noise_protocol.hkdf(state.ck, b"", 2)[:2]
        root = transcript_root(split, state.h, "stt/1 level handshake", suite)
        self.install(HANDSHAKE, root)
        assert self.record(HANDSHAKE) == derive(root, "stt/1 confirm"), "HS-4"

        auth = self.node.proof["initiator"] + bytes([0])
        message = record(bytes(side.write_message(auth)))
        protocol = side.noise_protocol
        split = (protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k)
        root = transcript_root(split, protocol.handshake_hash, "stt/1 level session", suite)
        crypto = b"\x06" + varint(0) + varint(len(message)) + message
        self.send_long(self.packet(HANDSHAKE, ack_frame(self.seen[HANDSHAKE]) + crypto))
        self.install(SESSION, root)
        self.exporter = derive(root, "stt/1 exporter")
        self.session_id = derive(root, "stt/1 session id")[:8].hex()
        final = self.read(3, 32)
        assert final == derive(root, "stt/1 final"), "HS-6"

    def install(self, space, root):
        self.secrets[space] = ([level(root, self.suite)], self.suite)
        waiting, self.waiting = self.waiting, []
        for packet in waiting:
            self.take(*packet)

    def generation(self):
        return len(self.secrets[SESSION][0]) - 1

    def update(self):
        """KEY-6, KEY-7."""
        generations, suite = self.secrets[SESSION]
        newest, fresh = generations[-1], self.fresh.get(len(generations), [])
        generations.append(
            [derive(secret, "stt/1 key update", bytes([suite]), *fresh) for secret in newest]
        )

    def renew(self, control):
        """KEY-7, CTL-2. `control` says a record and gives the answer."""
        side = NoiseConnection.from_name(b"Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s")
        side.set_as_initiator()
        side.set_psks(psk=derive(self.exporter, "stt/1 renewal psk"))
        side.set_prologue(b"stt/1 renewal")
        side.set_keypair_from_private_bytes(Keypair.STATIC, self.node.static)
        side.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, self.peer_static)
        side.start_handshake()
        renewed = control(4, bytes(side.write_message(b"")), 5, 8 + 48)
        side.read_message(renewed[8:])
        protocol = side.noise_protocol
        split = (protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k)
        hash_ = protocol.handshake_hash
        goal = int.from_bytes(renewed[:8], "big")
        self.fresh[goal] = [transcript_root(split, hash_, "stt/1 renewal", self.suite)]
        assert self.generation() < goal
        while self.generation() < goal:
            self.update()
            # The answer comes under the new keys.
            number = varint(self.generation())
            assert control(2, number, 3, len(number)) == number

    # --- streams ---

    def write(self, stream, data, end=False):
        offset = self.sent.get(stream, 0)
        for at in range(0, len(data), 1_000) or [0]:
            piece = data[at : at + 1_000]
            last = end and at + 1_000 >= len(data)
            self.send(
                bytes([0x0E | last])
                + varint(stream)
                + varint(offset + at)
                + varint(len(piece))
                + piece
            )
        self.sent[stream] = offset + len(data)

    def read(self, stream, length):
        """The first bytes of a stream of the peer."""
        while len(self.streams.get(stream, Pieces()).data) < length:
            self.receive()
        return self.streams[stream].data[:length]

    def find(self, header):
        """STREAM-2: which stream of the peer begins with that."""
        while True:
            for stream, pieces in self.streams.items():
                if stream != 3 and pieces.data.startswith(header):
                    return stream
            self.receive()

    def end(self, stream):
        """How a stream of the peer ended."""
        while stream not in self.ends:
            self.receive()
        return self.ends[stream]

    def stopped(self, stream):
        """The code with which the peer stopped a stream of ours."""
        while stream not in self.stops:
            self.receive()
        return self.stops[stream]

    def reset(self, stream, code):
        final = varint(self.sent.get(stream, 0))
        self.send(b"\x04" + varint(stream) + varint(code) + final)

    def stop(self, stream, code):
        self.send(b"\x05" + varint(stream) + varint(code))

    def close(self, reason):
        """CLOSE-1."""
        self.send(b"\x1d" + varint(0) + varint(len(reason)) + reason)


def file_record(kind, body):
    """FILE-1."""
    return varint(1 + len(body)) + bytes([kind]) + body


def transfers(client, name, content):
    # CTL-1: a record of a type that nobody knows, and a sign of life.
    client.write(2, b"\0" + b"\x2a\x03abc" + b"\x02\x01\x2a")
    records = client.find(b"\0")
    heard = b"\0" + b"\x03\x01\x2a"
    assert client.read(records, len(heard)) == heard

    def control(kind, body, answer, length):
        nonlocal heard
        client.write(2, bytes([kind, len(body)]) + body)
        whole = client.read(records, len(heard) + 2 + length)
        new = whole[len(heard) :]
        assert whole.startswith(heard) and new[:2] == bytes([answer, length])
        heard = whole
        return new[2:]

    for _ in range(2):
        client.renew(control)
    assert client.confirmed and client.generation() > 8
    def transfer(stream, number, entries, contents):
        """FILE-1 to FILE-4."""
        header = label_header(b"stt/file/2", number)
        listed = file_list(entries)
        offer = file_record(1, varint(len(entries)) + varint(len(listed)))
        client.write(stream, header + offer + listed)
        back, heard = client.find(header), header
        for content in contents:
            heard += file_record(2, varint(0) + blake3(b"").digest())
        assert client.read(back, len(heard)) == heard
        for content in contents:
            client.write(stream, file_record(3, varint(0)) + content + blake3(content).digest())
        client.write(stream, b"", end=True)
        heard += file_record(4, bytes([0]))
        assert client.read(back, len(heard)) == heard

    transfer(6, 1, [(False, name, len(content))], [content])
    folder = [(True, f"{name}, folder", 0), (True, "sub", 0), (False, "sub/a", 3), (False, "b", 0)]
    transfer(10, 3, folder, [b"abc", b""])
    # Hostile lists are declined, and the stream of the first version, too.
    for stream, number, (_, listed, entries, verdict) in zip(range(14, 400, 4), range(5, 400, 2), hostile_lists()):
        header = label_header(b"stt/file/2", number)
        client.write(stream, header + file_record(1, varint(entries) + varint(len(listed))) + listed)
        back, heard = client.find(header), header + file_record(4, bytes([verdict]))
        assert client.read(back, len(heard)) == heard
    old = bytes([1]) + varint(len(content)) + bytes(8) + name.encode()
    client.write(stream + 4, b"\x02\x01" + file_record(1, old))
    back, heard = client.find(b"\x02\x01"), b"\x02\x01" + file_record(4, bytes([6]))
    assert client.read(back, len(heard)) == heard
    client.close(b"thank you")


def message(text):
    """STREAM-2: a message of a stream."""
    return varint(len(text)) + text


def protocols(client, said):
    """STREAM-9 to STREAM-12, CTL-3. `said` gives the next line of the node."""
    ids = iter(range(6, 400, 4))

    def opened(header, end=False):
        stream = next(ids)
        client.write(stream, header, end)
        return stream

    def echo(number):
        header = label_header(b"example.echo/1", number)
        stream = opened(header + message(b"hello") + message(b""))
        back = client.find(header)
        answer = header + message(b"hello") + message(b"")
        assert client.read(back, len(answer)) == answer
        client.write(stream, message(b"again"), end=True)
        answer += message(b"again")
        assert client.read(back, len(answer)) == answer and client.end(back) == "finished"

    # Hostile ones first: each is stopped, and the session goes on.
    hostile = hostile_labels()
    for name, header in hostile.items():
        if name.startswith("header-"):
            assert client.stopped(opened(header)) == hostile["code"][0], name
        elif name.startswith("cut-"):
            # QUIC stops no stream that has ended.
            opened(header, end=True)
    assert client.stopped(opened(label_header(b"nobody", 1))) == 0x05
    assert client.stopped(opened(label_header(b"example.echo/2", 1))) == 0x05
    assert client.stopped(opened(label_header(b"example.echo/1", 2))) == 0x06
    echo(1)
    # A second header for a number that is in use: its first one has been answered.
    header = label_header(b"example.echo/1", 5)
    held = opened(header + message(b"1"))
    back = client.find(header)
    assert client.read(back, len(header) + 2) == header + message(b"1")
    assert client.stopped(opened(header)) == 0x01
    client.write(held, message(b"2"), end=True)
    assert client.read(back, len(header) + 4) == header + message(b"1") + message(b"2")

    # The same number of another label is another stream.
    header = label_header(b"example.count/1", 5)
    opened(header + message(b"1") + message(b"2"), end=True)
    back = client.find(header)
    assert client.read(back, len(header) + 5) == header + message(bytes([0, 0, 0, 2]))

    # The node asks: it is answered, then by a peer of the first version, then by one that does not know
    # the label, and then it is given up before the header is there.
    asked = [label_header(b"example.question/1", number) for number in (2, 4, 6, 8)]
    question = message(b"who are you?")
    for header in asked:
        stream = client.find(header)
        assert client.read(stream, len(header + question)) == header + question
        if header == asked[0]:
            opened(header + message(b"another"), end=True)
            assert said() == "answer another"
        elif header == asked[1]:
            client.stop(stream, refusals()["first-version-code"][0])
            line = said()
            assert line.startswith("protocol.unsupported: ") and "update the other side" in line, line
        elif header == asked[2]:
            client.stop(stream, refusals()["unknown-code"][0])
            assert said().startswith("protocol.unknown: ")
        else:
            client.reset(next(ids), 0x123)
            body = header[1:] + varint(0x123)
            client.write(2, b"\0" + varint(6) + varint(len(body)) + body)
            assert said().startswith("stream.reset: ")

    # A handler that gives up says so in a record, too.
    header = label_header(b"example.no/1", 1)
    assert client.stopped(opened(header)) == 0x123
    body = header[1:] + varint(0x123)
    wanted, records = varint(6) + varint(len(body)) + body, client.find(b"\0")
    while wanted not in client.streams[records].data:
        client.receive()
    echo(3)
    client.close(b"thank you")


def speak(program, home):
    server = subprocess.Popen([program, home / "seed"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _, address, _ = server.stdout.readline().split()
        host, port = address.rsplit(":", 1)
        seed = seed_of((home / "seed").read_text())
        client = Client((host, int(port)), seed, bytes([AES]), None)
        protocols(client, lambda: server.stdout.readline().strip())
        print(f"protocols were spoken, answered and refused in session {client.session_id}")
    finally:
        server.kill()
        server.wait()


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    content = bytes(range(256)) * 400
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        subprocess.run([program, "seed", "new", "--out", home / "seed"], check=True, capture_output=True)
        command = [program, "receive", "--json", "--listen", "127.0.0.1:0", "--dir", home / "in"]
        receiver = subprocess.Popen([*command, "--seed-file", home / "seed"], stdout=subprocess.PIPE)
        try:
            listening = json.loads(receiver.stdout.readline())["listening"]
            host, port = listening["address"].rsplit(":", 1)
            seed = seed_of((home / "seed").read_text())
            responder = bytes.fromhex(listening["node_id"])
            for suites, expect in (
                (bytes([AES]), None),
                (bytes([CHACHA]), responder),
                (bytes([77, CHACHA, AES]), None),
            ):
                client = Client((host, int(port)), seed, suites, expect)
                assert client.responder == responder
                name = f"by suite {client.suite}, offered {suites.hex()}"
                transfers(client, name, content)
                # The file, and the folder.
                for _ in range(2):
                    line = {}
                    while "received" not in line:
                        line = json.loads(receiver.stdout.readline())
                    received = line["received"]
                    assert received["session"]["session_id"] == client.session_id
                    assert received["session"]["peer_id"] == client.node.id.hex()
                assert (home / "in" / name).read_bytes() == content
                folder = home / "in" / f"{name}, folder"
                assert (folder / "sub" / "a").read_bytes() == b"abc"
                assert (folder / "b").read_bytes() == b""
                left = {file.name for file in (home / "in").iterdir() if file.name.startswith(".")}
                assert not left, left
                print(f"a file and a folder went to stt in session {client.session_id}, {name}, keys renewed twice")
        finally:
            receiver.kill()
            receiver.wait()
        speak(pathlib.Path(sys.argv[2]).resolve(), home)


if __name__ == "__main__":
    main()
