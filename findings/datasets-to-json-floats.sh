#!/usr/bin/env bash
# Dataset.to_json and DataFrame.to_json write 4e-11 as 0.0, and every other number with ten decimals.
#
# Versions: datasets 5.2.0, pandas 3.1.1
#
# Guess from memory: JSON writers write floats so that they come back as they were, as json.dumps does.
# Behaviour: datasets hands its rows to pandas, and pandas rounds to ten decimals (double_precision=10). P-values and
#   probabilities from 1e-15 to 5e-11 become 0.0, so that their logarithm is -inf, while smaller ones are written as
#   they are: 9e-16 comes out larger than 4e-11. Other numbers lose digits, and rows that went through to_json are not
#   equal to those that did not. double_precision=15 is the most it takes. to_parquet and to_csv keep everything. No
#   warning.
# Fix: json.dumps of each row, or to_parquet.
#
# Output seen:
#   written                     [0.1234567890123456, 4e-11, 2e-15, 9e-16]
#   Dataset.to_json             [0.123456789, 0.0, 0.0, 9e-16]
#     with double_precision=15  [0.123456789012346, 4e-11, 2e-15, 9e-16]
#   DataFrame.to_json           [0.123456789, 0.0, 0.0, 9e-16]
#   json.dumps                  [0.1234567890123456, 4e-11, 2e-15, 9e-16]
#   Dataset.to_csv              [0.1234567890123456, 4e-11, 2e-15, 9e-16]
#   Dataset.to_parquet          [0.1234567890123456, 4e-11, 2e-15, 9e-16]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0 pandas==3.1.1
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1

cat > show.py <<'EOF'
import json
import sys

import pandas as pd
from datasets import Dataset

VALUES = [0.1234567890123456, 4e-11, 2e-15, 9e-16]
data = Dataset.from_dict({"p": VALUES})
data.to_json("datasets.jsonl")
data.to_json("fifteen.jsonl", double_precision=15)
pd.DataFrame({"p": VALUES}).to_json("pandas.jsonl", orient="records", lines=True)
data.to_csv("rows.csv")
data.to_parquet("rows.parquet")


def read(path):
    return [json.loads(line)["p"] for line in open(path)]


seen = {
    "Dataset.to_json": read("datasets.jsonl"),
    "  with double_precision=15": read("fifteen.jsonl"),
    "DataFrame.to_json": read("pandas.jsonl"),
    "json.dumps": [json.loads(json.dumps(value)) for value in VALUES],
    "Dataset.to_csv": [float(line) for line in open("rows.csv").read().split()[1:]],
    "Dataset.to_parquet": Dataset.from_parquet("rows.parquet")["p"][:],
}
print(f"{'written':<27}", VALUES)
for way, values in seen.items():
    print(f"{way:<27}", values)
ten = [0.123456789, 0.0, 0.0, 9e-16]
expected = [ten, [0.123456789012346, 4e-11, 2e-15, 9e-16], ten, VALUES, VALUES, VALUES]
if list(seen.values()) != expected:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
