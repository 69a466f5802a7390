#!/usr/bin/env bash
# A write to S3 that fails halfway replaces the whole object that was there by the half that was written.
#
# Versions: s3fs 2026.6.0, fsspec 2026.6.0 (with the aiobotocore that s3fs brings)
#
# Guess from memory: an object appears when its upload is complete, so an exception inside `with fs.open(path, "wb")`
#   leaves the old object, or none.
# Behaviour: the end of the with-block closes the file whatever happened, and closing uploads what was buffered. A job
#   that is interrupted, or whose generator raises, leaves an object with the first rows in the place of the good one,
#   and nothing tells it from a whole one. fsspec.open does the same.
# Fix: make all bytes first, then fs.pipe_file(path, all_bytes); or write to another name and fs.mv it at the end.
#
# Output seen:
#   written well                       5 rows
#   fs.open, an exception after row 2  2 rows
#   fsspec.open, after row 3           3 rows
#   pipe_file, after row 1             3 rows
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet s3fs==2026.6.0 fsspec==2026.6.0
cd "$work"

cat > show.py <<'EOF'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import s3fs

OBJECTS = {}  # what the server holds, by path


class Store(BaseHTTPRequestHandler):
    """As much of S3 as one object needs: put, head, get."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self):
        OBJECTS[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_GET(self):
        body = OBJECTS.get(self.path.partition("?")[0])
        self.answer(404) if body is None else self.answer(200, body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


def rows(n_good):
    for n in range(5):
        if n == n_good:
            raise RuntimeError("the model's server is away")
        yield b'{"row": %d}\n' % n


def write(file, n_good):
    for line in rows(n_good):
        file.write(line)


server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{server.server_port}"}
fs = s3fs.S3FileSystem(**options)
seen = {}


def show(how):
    seen[how] = OBJECTS["/bucket/replies.jsonl"].count(b"\n")
    print(f"{how:<34} {seen[how]} rows")


with fs.open("bucket/replies.jsonl", "wb") as file:
    write(file, n_good=5)
show("written well")
for how, n_good in (("fs.open, an exception after row 2", 2), ("fsspec.open, after row 3", 3)):
    opened = fs.open("bucket/replies.jsonl", "wb") if how.startswith("fs.") else fsspec.open(
        "s3://bucket/replies.jsonl", "wb", **options)
    try:
        with opened as file:
            write(file, n_good)
    except RuntimeError:
        show(how)
try:
    fs.pipe_file("bucket/replies.jsonl", b"".join(rows(n_good=1)))
except RuntimeError:
    show("pipe_file, after row 1")
if list(seen.values()) != [5, 2, 3, 3]:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
