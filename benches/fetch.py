#!/usr/bin/env python3
"""Fetching a file from 1, 2 and 4 providers on this machine beside one `stt send`, in turns.

    cargo build --release -p stt-cli
    benches/fetch.py target/release/stt --mib 1024 --rounds 5

Every program is a process of its own. Speeds are those that the programs tell; the first round is
thrown away, the rest given as median and range. Needs room for the file twice in --dir.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

PATIENCE = 600


def start(*command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def line(process, key):
    """The first line of a process that has the key."""
    for text in process.stdout:
        told = json.loads(text)
        if key in told:
            return told[key]
    sys.exit(f"{process.args[1]} ended without saying {key!r}")


def end(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(PATIENCE)


def send(stt, seed, file, out):
    receiver = start(stt, "receive", "--json", "--once", "--dir", out,
                     "--listen", "127.0.0.1:0", "--seed-file", seed)
    try:
        address = line(receiver, "listening")["address"]
        sent = subprocess.run(
            [stt, "send", file, "--json", "--to", address, "--seed-file", seed],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
            timeout=PATIENCE,
        )
        told = json.loads(sent.stdout.splitlines()[-1])
        return told["sent"]["megabytes_per_second"]
    finally:
        end([receiver])


def fetch(stt, seed, file, out, providers):
    sharing = []
    try:
        for _ in range(providers):
            sharing.append(start(stt, "share", file, "--json",
                                 "--listen", "127.0.0.1:0", "--seed-file", seed))
        tickets = [line(process, "shared")["ticket"] for process in sharing]
        fetched = subprocess.run(
            [stt, "fetch", *tickets, "--json", "--out", out, "--seed-file", seed],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
            timeout=PATIENCE,
        )
        told = json.loads(fetched.stdout.splitlines()[-1])["fetched"]
        return told["megabytes_per_second"], told["duplicates"]
    finally:
        end(sharing)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stt", help="the program, a release build")
    parser.add_argument("--mib", type=int, default=1024, help="length of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None, help="where files are put for the time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as home:
        home = pathlib.Path(home)
        file, seed = str(home / "file"), str(home / "seed")
        with open("/dev/urandom", "rb") as random, open(file, "wb") as to:
            block = random.read(1 << 20)
            for at in range(options.mib):
                # No block is like another one.
                to.write(at.to_bytes(8, "little") + block[8:])
        subprocess.run([options.stt, "seed", "new", "--out", seed], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        speeds, twice = {"send": []}, 0
        for number in range(options.rounds + 1):
            kinds = ["send", 1, 2, 4]
            for kind in kinds if number % 2 else reversed(kinds):
                out = str(home / "out")
                if kind == "send":
                    speed = send(options.stt, seed, file, out)
                else:
                    speed, duplicates = fetch(options.stt, seed, file, out, kind)
                    twice += duplicates if number else 0
                if number:
                    speeds.setdefault(kind, []).append(speed)
                shutil.rmtree(out)
        base = statistics.median(speeds["send"])
        for kind in ["send", 1, 2, 4]:
            of = speeds[kind]
            name = "stt send" if kind == "send" else f"stt fetch, {kind} provider(s)"
            middle = statistics.median(of)
            print(f"{name}: {middle:.0f} MB/s [{min(of):.0f} to {max(of):.0f}], "
                  f"{middle / base:.2f} of stt send")
        print(f"bytes that came twice, all fetches together: {twice}")


if __name__ == "__main__":
    main()
