#!/usr/bin/env bash
# Dataset.from_generator gives yesterday's rows when the file that its generator reads has changed.
#
# Versions: datasets 5.2.0
#
# Guess from memory: from_generator runs the generator, since only running it can tell what it yields.
# Behaviour: its rows are kept in the cache under a hash of the function and of gen_kwargs, and a second call, in
#   another process, too, does not run it. The path of a file is part of the hash, its content is not: a corpus that
#   was generated anew under its old name, a database, a server are read once and never again. load_dataset of the same
#   file sees the change. No warning, and no load_from_cache_file=False here.
# Fix: a digest of the source among gen_kwargs, or Dataset.from_list.
#
# Output seen (the file has one row, and two after it was written anew):
#   from_generator                     1, then 1  STALE
#   from_generator, of a named split   1, then 1  STALE
#   from_generator with a digest       1, then 2
#   load_dataset                       1, then 2
#   from_list                          1, then 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > read.py <<'EOF'
import hashlib
import json
import pathlib

import datasets

datasets.disable_progress_bars()


def rows(path, digest=""):
    for line in open(path):
        yield json.loads(line)


def digest():
    return hashlib.sha256(pathlib.Path("rows.jsonl").read_bytes()).hexdigest()


print(json.dumps({
    "from_generator": len(datasets.Dataset.from_generator(rows, gen_kwargs={"path": "rows.jsonl"})),
    "from_generator, of a named split": len(datasets.Dataset.from_generator(
        rows, gen_kwargs={"path": "rows.jsonl"}, split=datasets.Split.TEST)),
    "from_generator with a digest": len(datasets.Dataset.from_generator(
        rows, gen_kwargs={"path": "rows.jsonl", "digest": digest()})),
    "load_dataset": len(datasets.load_dataset("json", data_files="rows.jsonl", split="train")),
    "from_list": len(datasets.Dataset.from_list(list(rows("rows.jsonl")))),
}))
EOF
cat > show.py <<'EOF'
import json
import pathlib
import subprocess
import sys

seen = []
for n_rows in (1, 2):
    pathlib.Path("rows.jsonl").write_text('{"text": "a document"}\n' * n_rows)
    out = subprocess.run([sys.executable, "read.py"], check=True, capture_output=True, text=True).stdout
    seen.append(json.loads(out.splitlines()[-1]))
for title, first in seen[0].items():
    second = seen[1][title]
    print(f"{title:<34} {first}, then {second}{'' if second == 2 else '  STALE'}")
stale = [title for title, second in seen[1].items() if second != 2]
if set(seen[0].values()) != {1} or stale != ["from_generator", "from_generator, of a named split"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
