"""A stand-in for the hub on the loopback: what uploading small files, and loading a data set of them, asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class Hub:
    """What the hub was asked (method and path), by whom, and the files that a commit brought."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.url = ""
        self.asked: list[str] = []
        self.created: dict = {}
        self.files: dict[str, bytes] = {}

    def answer(self, path: str, body: bytes) -> dict:
        """The reply to one request of a client that is let in."""
        self.asked.append(path)
        if path == "/api/repos/create":
            self.created = json.loads(body)
            return {"url": f"{self.url}/datasets/me/data", "name": "me/data", "id": "1"}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        if "/commit/" in path:
            for line in body.splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    self.files[part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            oid = "a" * 40
            return {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/datasets/me/data/commit/{oid}"}
        return {"errors": [], "warnings": []}

    def read(self, path: str) -> bytes | dict | list | None:
        """The reply to one request for a data set that is there: a file, a listing, or what it is."""
        self.asked.append(path)
        name = path.partition("/resolve/")[2].partition("/")[2]
        if name:
            return self.files.get(name)
        if "/tree/" in path:
            below = path.partition("/tree/")[2].partition("/")[2]
            return [
                {"type": "file", "path": file, "oid": digest(data), "size": len(data)}
                for file, data in self.files.items()
                if file.startswith(below)
            ]
        if path.startswith("/api/datasets/me/"):
            files = [{"rfilename": file} for file in self.files]
            return {"id": "me/data", "sha": COMMIT, "private": True, "gated": False, "siblings": files, "tags": []}
        return None


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """The protocol; `hub` decides."""

    hub: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.allowed():
            self.reply(self.hub.answer(self.path, body), 200)

    def allowed(self) -> bool:
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.reply({"error": "no"}, 401)
            return False
        return True

    def do_GET(self) -> None:
        if not self.allowed():
            return
        found = self.hub.read(unquote(urlsplit(self.path).path))
        if isinstance(found, bytes):
            self.send(found, 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(found)}"'})
        else:
            self.reply({"error": "no"} if found is None else found, 404 if found is None else 200)

    do_HEAD = do_GET  # noqa: N815

    def reply(self, content: dict | list, status: int) -> None:
        missing = {"X-Error-Code": "EntryNotFound"} if status == 404 else {}
        self.send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **missing})

    def send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running_hub(token: str) -> Iterator[Hub]:
    """A hub that lets in whoever brings `token`; everyone, where that is empty."""
    hub = Hub(token)

    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
