#!/usr/bin/env bash
# In a column of mixed types, a string that happens to be JSON does not come back as a string.
#
# Versions: datasets 5.2.0
#
# Guess from memory: a JSON lines file whose field is text in one row and an object or a number in another either
#   fails to load, or every value comes back as it was written.
# Behaviour: such a field gets the feature type Json, which stores JSON text. A string that parses as JSON is taken
#   for text that has been encoded before, and is stored without quotes. It comes back as what it spells: "42" as a
#   number, "true" as a truth value, "null" as None, and the arguments of a tool call that were text as a dict.
#   Strings that are no JSON are safe, so a look at the first rows shows nothing.
# Fix: give all rows of such a field one type before writing the file. Features with Value("string") are no way out:
#   they keep "42" as text, but put "plain words" and every other string that is no JSON into quotes.
#
# Output seen:
#   answers: {'field': Json(decode=True)}
#     written 'plain words'                  read 'plain words'                  same
#     written '42'                           read 42                             CHANGED
#     written 'true'                         read True                           CHANGED
#     written 'null'                         read None                           CHANGED
#     written '007'                          read 7                              CHANGED
#     written {'value': 7}                   read {'value': 7}                   same
#   arguments: {'field': Json(decode=True)}
#     written {'city': 'Rome', 'days': 2}    read {'city': 'Rome', 'days': 2}    same
#     written '{"city": "Oslo"}'             read {'city': 'Oslo'}               CHANGED
#     written '{}'                           read {}                             CHANGED
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1

cat > show.py <<'EOF'
import json
import sys
from pathlib import Path

from datasets import load_dataset

COLUMNS = {
    "answers": ["plain words", "42", "true", "null", "007", {"value": 7}],
    "arguments": [{"city": "Rome", "days": 2}, '{"city": "Oslo"}', "{}"],
}
changed = {}
for name, written in COLUMNS.items():
    path = Path(f"{name}.jsonl")
    path.write_text("".join(json.dumps({"field": value}) + "\n" for value in written))
    rows = load_dataset("json", data_files=str(path), split="train")
    print(f"{name}: {rows.features}")
    for value, read in zip(written, rows["field"], strict=True):
        same = type(value) is type(read) and value == read
        print(f"  written {value!r:<30} read {read!r:<30} {'same' if same else 'CHANGED'}")
        if not same:
            changed[json.dumps(value)] = read

expected = {'"42"': 42, '"true"': True, '"null"': None, '"{\\"city\\": \\"Oslo\\"}"': {"city": "Oslo"}, '"{}"': {}}
if {key: changed.get(key, "same") for key in expected} != expected:
    sys.exit(f"the behaviour changed: {changed}")
EOF
"$work/venv/bin/python" show.py
