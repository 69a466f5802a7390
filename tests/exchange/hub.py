"""A stand-in for the hub on the loopback: the answers that an upload of small files asks for."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
        return {"errors": [], "warnings": [], "sha": "b" * 40, "id": "me/data", "siblings": [], "private": True}


@contextmanager
def running_hub(token: str) -> Iterator[Hub]:
    """A hub that lets in whoever brings `token`."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            allowed = self.headers.get("Authorization") == f"Bearer {hub.token}"
            self.reply(hub.answer(self.path, body) if allowed else {"error": "no"}, 200 if allowed else 401)

        do_GET = do_HEAD = do_POST  # noqa: N815

        def reply(self, content: dict, status: int) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
