#!/usr/bin/env bash
# fs.touch(path) empties a file that is there, where the shell's touch and UPath.touch keep it.
#
# Versions: fsspec 2026.6.0, universal_pathlib 0.3.10
#
# Guess from memory: touch makes an empty file where there is none, and otherwise renews its time and leaves the
#   content alone, as touch(1) and pathlib.Path.touch do.
# Behaviour: its argument truncate is True unless said otherwise, so a heartbeat, a lock or a result that is touched is
#   0 bytes long afterwards, on local disks as on S3. UPath.touch() of universal_pathlib, which calls the same function
#   with truncate=False, keeps it: one of the two ways to a file destroys it.
# Fix: fs.touch(path, truncate=False); file systems that can't do that (memory, S3) raise for a file that is there.
#
# Output seen (size of a file of six bytes afterwards):
#   pathlib.Path.touch()                   6
#   UPath.touch()                          6
#   local: fs.touch(path)                  0
#   local: fs.touch(path, truncate=False)  6
#   memory: fs.touch(path)                 0
#   memory: fs.touch(path, truncate=False) NotImplementedError()
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet fsspec==2026.6.0 universal_pathlib==0.3.10
cd "$work"

cat > show.py <<'EOF'
import os
import pathlib
import sys

import fsspec
from upath import UPath

FILE = os.path.abspath("result.json")
seen = {}


def show(title, protocol, path, touch):
    fs = fsspec.filesystem(protocol)
    fs.pipe_file(path, b"six by")
    try:
        touch(fs)
        seen[title] = fs.size(path)
    except NotImplementedError as error:
        seen[title] = repr(error)
    print(f"{title:<38} {seen[title]}")


show("pathlib.Path.touch()", "file", FILE, lambda fs: pathlib.Path(FILE).touch())
show("UPath.touch()", "file", FILE, lambda fs: UPath("file://" + FILE).touch())
show("local: fs.touch(path)", "file", FILE, lambda fs: fs.touch(FILE))
show("local: fs.touch(path, truncate=False)", "file", FILE, lambda fs: fs.touch(FILE, truncate=False))
show("memory: fs.touch(path)", "memory", "/a", lambda fs: fs.touch("/a"))
show("memory: fs.touch(path, truncate=False)", "memory", "/a", lambda fs: fs.touch("/a", truncate=False))
if list(seen.values()) != [6, 6, 0, 6, 0, "NotImplementedError()"]:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
