#!/usr/bin/env bash
# After one look into a folder, s3fs never sees what others put there: a marker is not found, a replaced file EINVAL.
#
# Versions: s3fs 2026.6.0, fsspec 2026.6.0 (with the aiobotocore that s3fs brings)
#
# Guess from memory: exists() and open() ask the server; at worst they lag by some seconds.
# Behaviour: what ls, glob, find or walk saw of a folder is kept without an end, for the whole process: a second
#   S3FileSystem with the same settings is the same object. exists(), info(), open() and cat() answer from it. A loop
#   that waits for another job's marker waits forever, also if it tries to read instead of asking, and a file that
#   was replaced after the look is an OSError of EINVAL, which is neither a missing file nor one to be tried again.
# Fix: S3FileSystem(use_listings_cache=False), or fs.invalidate_cache() before each look.
#
# Output seen:
#   another job wrote both: exists(done), read of done, read of config.yaml
#       False
#       FileNotFoundError('bucket/run/done')
#       OSError(22, 'Precondition Failed')
#   a second S3FileSystem with the same settings
#       False
#       FileNotFoundError('bucket/run/done')
#       OSError(22, 'Precondition Failed')
#   use_listings_cache=False
#       True
#       'yes'
#       'seed: 1\nsteps: 100'
#   after invalidate_cache()
#       True
#       'yes'
#       'seed: 1\nsteps: 100'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet s3fs==2026.6.0 fsspec==2026.6.0
cd "$work"

cat > show.py <<'EOF'
import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import s3fs

OBJECTS = {"run/config.yaml": b"seed: 1"}  # what the server holds, by key


def etag(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


class Store(BaseHTTPRequestHandler):
    """As much of S3 as reading needs: head, get (of a range), list."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        body = OBJECTS.get(path.removeprefix("/bucket/"))
        if "list-type=2" in query:
            items = "".join(
                f"<Contents><Key>{key}</Key><Size>{len(body)}</Size><ETag>{etag(body)}</ETag></Contents>"
                for key, body in OBJECTS.items()
            )
            body = f"<ListBucketResult><KeyCount>{len(OBJECTS)}</KeyCount>{items}</ListBucketResult>".encode()
        tag = etag(body or b"")
        if self.headers.get("If-Match", tag) != tag:
            status, body = 412, b""
        elif body is None:
            status, body = 404, b""
        elif span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            status, body = 206, body[int(first) : int(last) + 1]
        else:
            status = 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{server.server_port}"}
seen = {}


def read(fs, path):
    try:
        with fs.open(path) as file:
            return repr(file.read().decode())
    except OSError as error:
        return repr(error)


def show(title, fs):
    seen[title] = (fs.exists("bucket/run/done"), read(fs, "bucket/run/done"), read(fs, "bucket/run/config.yaml"))
    print(title, *seen[title], sep="\n    ")


fs = s3fs.S3FileSystem(**options)
fs.ls("bucket/run")
OBJECTS.update({"run/done": b"yes", "run/config.yaml": b"seed: 1\nsteps: 100"})  # another job does this
show("another job wrote both: exists(done), read of done, read of config.yaml", fs)
show("a second S3FileSystem with the same settings", s3fs.S3FileSystem(**options))
show("use_listings_cache=False", s3fs.S3FileSystem(**options, use_listings_cache=False))
fs.invalidate_cache()
show("after invalidate_cache()", fs)
stale = (False, "FileNotFoundError('bucket/run/done')", "OSError(22, 'Precondition Failed')")
fresh = (True, "'yes'", "'seed: 1\\nsteps: 100'")
if list(seen.values()) != [stale, stale, fresh, fresh]:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
