"""Opens every good vector and refuses every hostile one, with the independent implementation."""

import json
import pathlib
import sys

from blake3 import blake3

import stc_format as stc

ROLES = {"none": 0, "initiator": 1, "responder": 2}


def read(path):
    """Lines `name: value`, an empty line, then the body."""
    head, body = path.read_bytes().split(b"\n\n", 1)
    return dict(line.split(": ", 1) for line in head.decode().splitlines()), body


def root(f):
    kind = f.get("seed-kind", "key")
    seed = bytes.fromhex(f["seed"]) if kind == "key" else f.get("seed", "").encode()
    lattice, depth = int(f.get("lattice", 16)), int(f.get("depth", 1))
    return stc.root_key(kind, seed, f.get("realm", "").encode(), lattice, depth)


def open_vector(f, body):
    kind = f["kind"]
    if kind == "envelope":
        password = f["password"].encode() if "password" in f else None
        content_kind, content = stc.open_envelope(
            body, root(f), password, json.loads(f.get("context", "null"))
        )
        return {"content-kind": content_kind, "content": blake3(content).hexdigest()}
    if kind == "chunk":
        content = stc.open_chunk(body, root(f), ROLES[f.get("role", "none")])
        return {"content": blake3(content).hexdigest()}
    if kind == "metadata":
        depth, nonce = stc.parse_metadata(body)
        return {"stream-depth": str(depth), "nonce": str(nonce)}
    if kind == "state":
        epoch, position, envelopes, size = stc.open_state(body, root(f))
        return {
            "epoch": str(epoch), "position": str(position), "envelopes": str(envelopes),
            "bytes": str(size),
        }
    if kind == "key":
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise stc.Refused("not a text") from None
        return {"key": stc.parse_key(text).hex()}
    raise SystemExit(f"no such kind of vector: {kind}")


def main(folder):
    paths = sorted(pathlib.Path(folder).glob("*.vector"))
    good = hostile = 0
    failures = []
    for path in paths:
        fields, body = read(path)
        try:
            got = open_vector(fields, body)
        except stc.Refused as why:
            got = None
            reason = str(why)
        if fields["expect"] == "ok":
            good += 1
            if got is None:
                failures.append(f"{path.name}: refused ({reason})")
            elif any(fields[name] != value for name, value in got.items()):
                failures.append(f"{path.name}: {got}")
        else:
            hostile += 1
            if got is not None:
                failures.append(f"{path.name}: opened, expected {fields['expect']}")
    print(f"{good} good vectors opened, {hostile} hostile ones refused, {len(failures)} failures")
    print("\n".join(failures))
    if failures or hostile < good or good + hostile < 40:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
