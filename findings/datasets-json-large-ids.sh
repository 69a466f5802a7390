#!/usr/bin/env bash
# One id above 2**63 makes the whole column of ids floats, and neighbours become equal; orjson does it from 2**64 on.
#
# Versions: datasets 5.2.0, orjson 3.13.0, polars 2.1.0 (with the pyarrow and pandas that datasets brings)
#
# Guess from memory: JSON has integers of any size, so an id or a seed of 64 or 128 bits is read as it is, or refused.
# Behaviour: unsigned hashes of 64 bits (xxhash, row ids, seeds) are above 2**63 half of the time. pyarrow, and
#   datasets with it, then reads every id of the column as a float of 53 bits, the small ones, too: rows that differ
#   in the last digits have one id, joins and deduplication drop or mix them, and 2**53 + 1 is no integer any more. A
#   file without such an id gives integers. orjson keeps 64 bits and rounds the 128 of MD5 or UUID. json and polars
#   keep all. No warning. Dataset.from_list of the same rows raises OverflowError.
# Fix: write such ids as text.
#
# Output seen (of the ids 2**53 + 1, 2**53, and one more):
#   2**53 + 2  json      as written
#   2**53 + 2  orjson    as written
#   2**53 + 2  polars    as written
#   2**53 + 2  pandas    as written
#   2**53 + 2  datasets  as written
#   2**63 + 1  json      as written
#   2**63 + 1  orjson    as written
#   2**63 + 1  polars    as written
#   2**63 + 1  pandas    as written
#   2**63 + 1  datasets  2 ids left: [9007199254740992.0, 9007199254740992.0, 9.223372036854776e+18]
#   2**64 + 1  json      as written
#   2**64 + 1  orjson    3 ids left: [9007199254740993, 9007199254740992, 1.8446744073709552e+19]
#   2**64 + 1  polars    as written
#   2**64 + 1  pandas    ValueError
#   2**64 + 1  datasets  2 ids left: [9007199254740992.0, 9007199254740992.0, 1.8446744073709552e+19]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0 orjson==3.13.0 polars==2.1.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1

cat > show.py <<'EOF'
import json
import sys

import orjson
import pandas as pd
import polars as pl
from datasets import load_dataset

READ = {
    "json": lambda path: [json.loads(line)["id"] for line in open(path)],
    "orjson": lambda path: [orjson.loads(line)["id"] for line in open(path)],
    "polars": lambda path: pl.read_ndjson(path)["id"].to_list(),
    "pandas": lambda path: pd.read_json(path, lines=True)["id"].tolist(),
    "datasets": lambda path: load_dataset("json", data_files=path, split="train")["id"][:],
}
LAST = {"2**53 + 2": 2**53 + 2, "2**63 + 1": 2**63 + 1, "2**64 + 1": 2**64 + 1}
right = {}
for title, last in LAST.items():
    ids = [2**53 + 1, 2**53, last]
    path = f"{last}.jsonl"
    with open(path, "w") as file:
        file.writelines(json.dumps({"id": id}) + "\n" for id in ids)
    for name, read in READ.items():
        try:
            seen = read(path)
            as_written = seen == ids and all(isinstance(id, int) for id in seen)
            wrong = "" if as_written else f"{len(set(seen))} ids left: {seen}"
        except ValueError as error:
            wrong = type(error).__name__
        right[title, name] = not wrong
        print(f"{title}  {name:<9} {wrong or 'as written'}")
not_right = [case for case, is_right in right.items() if not is_right and case[1] in ("orjson", "datasets")]
if not_right != [("2**63 + 1", "datasets"), ("2**64 + 1", "orjson"), ("2**64 + 1", "datasets")]:
    sys.exit(f"the behaviour changed: {not_right}")
EOF
"$work/venv/bin/python" show.py
