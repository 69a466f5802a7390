#!/usr/bin/env bash
# read_json turns answers in quotes into numbers: "007" is 7, "0.50" is 0.5, and the digest "12e5" is 1200000.0.
#
# Versions: pandas 3.1.1
#
# Guess from memory: what stands in quotes in JSON is a text, so read_json(lines=True) gives texts. Guessing is what
#   read_csv does.
# Behaviour: a column of texts that can all be read as numbers is a column of numbers, and one named date, modified,
#   timestamp..., ..._at or ..._time is one of dates. Twenty digits of an id lose the last ones, so that two ids become
#   one. Whether it happens depends on the other rows: one reply that is no number keeps the column as text, so two
#   runs of one evaluation do not have comparable columns, and after a concat "7" and 7 stand in one. No warning.
# Fix: read_json(..., dtype=False), or pd.DataFrame(json.loads(line) for line in file).
#
# Output seen:
#   answer     ['007', '042'] -> [7, 42]
#   price      ['0.50', '1.00'] -> [0.5, 1.0]
#   digest     ['12e5', '4e09'] -> [1200000.0, 4000000000.0]
#   big_id     ['12345678901234567890', '12345678901234567891'] -> [1.2345678901234567e+19, 1.2345678901234567e+19]
#   started_at ['1700000000', '1700000001'] -> [Timestamp('2023-11-14 22:13:20'), Timestamp('2023-11-14 22:13:21')]
#   mixed      ['7', 'seven'] -> ['7', 'seven']
#   as written with read_json alone: mixed
#   as written with dtype=False: all
#   as written with json.loads: all
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pandas==3.1.1
cd "$work"

cat > show.py <<'EOF'
import json
import sys

import pandas as pd

ROWS = {
    "answer": ["007", "042"],
    "price": ["0.50", "1.00"],
    "digest": ["12e5", "4e09"],
    "big_id": ["12345678901234567890", "12345678901234567891"],
    "started_at": ["1700000000", "1700000001"],
    "mixed": ["7", "seven"],
}
with open("rows.jsonl", "w") as file:
    for values in zip(*ROWS.values(), strict=True):
        file.write(json.dumps(dict(zip(ROWS, values, strict=True))) + "\n")
read = {
    "read_json alone": pd.read_json("rows.jsonl", lines=True),
    "dtype=False": pd.read_json("rows.jsonl", lines=True, dtype=False),
    "json.loads": pd.DataFrame([json.loads(line) for line in open("rows.jsonl")]),
}
for name, written in ROWS.items():
    print(f"{name:<10} {written} -> {read['read_json alone'][name].tolist()}")
same = {way: [name for name in ROWS if frame[name].tolist() == ROWS[name]] for way, frame in read.items()}
for way, names in same.items():
    print(f"as written with {way}:", "all" if names == list(ROWS) else ", ".join(names))
if same != {"read_json alone": ["mixed"], "dtype=False": list(ROWS), "json.loads": list(ROWS)}:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
