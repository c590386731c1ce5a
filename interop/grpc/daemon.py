"""`stt up` as a process, and a channel that shows its token."""

import json
import pathlib
import signal
import subprocess

import grpc

PATIENCE = 60


class Token(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Shows a token with every call."""

    def __init__(self, token):
        self.header = ("authorization", f"Bearer {token}")

    def call(self, continuation, details, request):
        details = details._replace(metadata=[*(details.metadata or ()), self.header])
        return continuation(details, request)

    intercept_unary_unary = intercept_unary_stream = call
    intercept_stream_unary = intercept_stream_stream = call


class Daemon:
    """A node that runs in a directory."""

    def __init__(self, program, home, name):
        command = [program, "up", "--json", "--listen", "127.0.0.1:0", "--drain", "20"]
        command += ["--dir", home / name, "--seed-file", home / "seed"]
        # However this program ends, the node ends with it.
        command.append("--end-with-stdin")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        try:
            self.up = json.loads(self.process.stdout.readline())["up"]
            # As any client of a page of the gateway does: without the token.
            self.plain = grpc.insecure_channel(self.up["gateway"].removeprefix("http://"))
            token = pathlib.Path(self.up["token_file"]).read_text().strip()
            self.channel = grpc.intercept_channel(self.plain, Token(token))
        except BaseException:
            self.kill()
            raise

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        return self.process.wait(PATIENCE)

    def kill(self):
        self.process.kill()
        self.process.wait()
