#!/usr/bin/env bash
# Chat rows whose messages have differing keys reach other parquet readers as JSON text, not as structs.
#
# Versions: datasets 5.2.0 (with the pyarrow and pandas that it brings)
#
# Guess from memory: datasets gives a list of messages one struct type with the union of all keys, None where a key
#   is absent, and any parquet reader sees the same list of structs.
# Behaviour: as soon as one message has a key more than another (tool_calls, say), the JSON loader types the message
#   as Json. datasets itself hides that, and gives dicts. In the parquet file each message is a string, marked by an
#   Arrow extension type only: pyarrow and pandas give a list of strings where they gave a list of dicts for a file
#   of plain turns. Absent keys are no longer filled with None, either.
# Fix: decode with json.loads after reading elsewhere, or pass features= that spell the struct out.
#
# Output seen:
#   plain: messages is List({'role': Value('string'), 'content': Value('string')})
#     datasets  {'role': 'assistant', 'content': "I can't tell."}
#     pyarrow   {'role': 'assistant', 'content': "I can't tell."}
#     pandas    {'role': 'assistant', 'content': "I can't tell."}
#   tools: messages is List(Json(decode=True))
#     datasets  {'role': 'assistant', 'content': '', 'tool_calls': [{'name': 'weather', 'arguments': {'city': 'Oslo'}}]}
#     pyarrow   '{"role":"assistant","content":"","tool_calls":[{"name":"weather","arguments":{"city":"Oslo"}}]}'
#     pandas    '{"role":"assistant","content":"","tool_calls":[{"name":"weather","arguments":{"city":"Oslo"}}]}'
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

import pandas as pd
import pyarrow.parquet as pq
from datasets import load_dataset

USER = {"role": "user", "content": "How warm is Oslo?"}
PLAIN = {"role": "assistant", "content": "I can't tell."}
CALL = {
    "role": "assistant", "content": "",
    "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}],
}
seen = {}
for name, reply in {"plain": PLAIN, "tools": CALL}.items():
    source, target = Path(f"{name}.jsonl"), Path(f"{name}.parquet")
    source.write_text("".join(json.dumps({"messages": [USER, m]}) + "\n" for m in (PLAIN, reply)))
    rows = load_dataset("json", data_files=str(source), split="train")
    rows.to_parquet(str(target))
    by_datasets = rows[1]["messages"]
    by_pyarrow = pq.read_table(target).to_pylist()[1]["messages"]
    by_pandas = list(pd.read_parquet(target)["messages"][1])
    print(f"{name}: messages is {rows.features['messages']}")
    print(f"  datasets  {by_datasets[1]!r}")
    print(f"  pyarrow   {by_pyarrow[1]!r}")
    print(f"  pandas    {by_pandas[1]!r}")
    seen[name] = tuple(type(messages[1]).__name__ for messages in (by_datasets, by_pyarrow, by_pandas))

expected = {"plain": ("dict", "dict", "dict"), "tools": ("dict", "str", "str")}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
