#!/usr/bin/env bash
# In Polars a score that is NaN passes every threshold: NaN > 0.5 is true, and it equals itself.
#
# Versions: polars 2.1.0, numpy 2.4.6
#
# Guess from memory: NaN compares as IEEE 754 says and as numpy and pandas do: false with everything, so a filter of
#   scores above a threshold leaves it out.
# Behaviour: NaN is larger than every number. filter(score > 0.5) keeps the sample that has no score, the share of
#   scores from 0.5 on counts it as a success, and top_k gives it first. max() and arg_max leave it out, so that the
#   best sample by arg_max is another one than by top_k or by sort. A null is left out of all of them, and a table
#   from pandas or numpy has NaN where one from JSON or parquet has null. No warning.
# Fix: fill_nan(None) on the column before anything is compared.
#
# Output seen (scores 0.2, NaN, 0.9, 0.4):
#   numpy
#     kept by > 0.5    ['c']
#     share of >= 0.5  0.25
#     best by arg_max  ['c']
#     max              0.9
#   polars, NaN
#     kept by > 0.5    ['b', 'c']
#     share of >= 0.5  0.5
#     best by top_k    ['b']
#     best by arg_max  ['c']
#     max              0.9
#   polars, fill_nan(None)
#     kept by > 0.5    ['c']
#     share of >= 0.5  0.33
#     best by top_k    ['c']
#     best by arg_max  ['c']
#     max              0.9
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet polars==2.1.0 numpy==2.4.6
cd "$work"

cat > show.py <<'EOF'
import sys

import numpy as np
import polars as pl

SCORES = [0.2, float("nan"), 0.9, 0.4]
IDS = ["a", "b", "c", "d"]
score = pl.col("score")


def row(frame):
    return {
        "kept by > 0.5": frame.filter(score > 0.5)["id"].to_list(),
        "share of >= 0.5": round(frame.select((score >= 0.5).mean()).item(), 2),
        "best by top_k": frame.top_k(1, by="score")["id"].to_list(),
        "best by arg_max": [frame["id"][frame["score"].arg_max()]],
        "max": frame["score"].max(),
    }


values = np.array(SCORES)
seen = {
    "numpy": {
        "kept by > 0.5": [id for id, kept in zip(IDS, values > 0.5) if kept],
        "share of >= 0.5": float((values >= 0.5).mean()),
        "best by arg_max": [IDS[int(np.nanargmax(values))]],
        "max": float(np.nanmax(values)),
    },
    "polars, NaN": row(pl.DataFrame({"id": IDS, "score": SCORES})),
    "polars, fill_nan(None)": row(pl.DataFrame({"id": IDS, "score": SCORES}).with_columns(score.fill_nan(None))),
}
for title, results in seen.items():
    print(title)
    for question, answer in results.items():
        print(f"  {question:<16} {answer}")
expected = {
    "kept by > 0.5": ["b", "c"], "share of >= 0.5": 0.5, "best by top_k": ["b"], "best by arg_max": ["c"], "max": 0.9,
}
if seen["polars, NaN"] != expected or seen["polars, fill_nan(None)"]["kept by > 0.5"] != ["c"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
