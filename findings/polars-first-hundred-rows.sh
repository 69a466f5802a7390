#!/usr/bin/env bash
# Polars reads rows by what the first hundred have: later keys are dropped, and 2.7 becomes 2.
#
# Versions: polars 2.1.0
#
# Guess from memory: rows that do not fit the types guessed from the first ones are an error, as with pl.read_csv, or
#   the types are widened.
# Behaviour: read_ndjson and DataFrame leave out a key that no row of the first hundred has, such as the error or the
#   judge's note of a rare sample, or a score that was added later. DataFrame cuts the fraction off numbers in a
#   column that had integers until then: grades 1, 1, ... 2.7 end as 2. read_ndjson raises for that, and both read all
#   of it rightly if the odd row is among the first hundred, so a test with few rows shows nothing. No warning.
# Fix: infer_schema_length=None, or a schema.
#
# Output seen (151 rows, all others are {"grade": 1}):
#   a key more  read_ndjson  last                {'grade': 2, 'note': 'odd'} -> {'grade': 2}
#   a key more  read_ndjson  first               {'grade': 2, 'note': 'odd'} -> {'grade': 2, 'note': 'odd'}
#   a key more  read_ndjson  last, whole schema  {'grade': 2, 'note': 'odd'} -> {'grade': 2, 'note': 'odd'}
#   a key more  DataFrame    last                {'grade': 2, 'note': 'odd'} -> {'grade': 2}
#   a key more  DataFrame    first               {'grade': 2, 'note': 'odd'} -> {'grade': 2, 'note': 'odd'}
#   a key more  DataFrame    last, whole schema  {'grade': 2, 'note': 'odd'} -> {'grade': 2, 'note': 'odd'}
#   a fraction  read_ndjson  last                {'grade': 2.7} -> ComputeError
#   a fraction  read_ndjson  first               {'grade': 2.7} -> {'grade': 2.7}
#   a fraction  read_ndjson  last, whole schema  {'grade': 2.7} -> {'grade': 2.7}
#   a fraction  DataFrame    last                {'grade': 2.7} -> {'grade': 2}
#   a fraction  DataFrame    first               {'grade': 2.7} -> {'grade': 2.7}
#   a fraction  DataFrame    last, whole schema  {'grade': 2.7} -> {'grade': 2.7}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet polars==2.1.0
cd "$work"

cat > show.py <<'EOF'
import io
import json
import sys

import polars as pl


def from_file(rows, **options):
    return pl.read_ndjson(io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode()), **options)


plain = [{"grade": 1}] * 150
seen = {}
for title, odd in {"a key more": {"grade": 2, "note": "odd"}, "a fraction": {"grade": 2.7}}.items():
    for name, read in {"read_ndjson": from_file, "DataFrame": pl.DataFrame}.items():
        for place, rows, options in (
            ("last", [*plain, odd], {}),
            ("first", [odd, *plain], {}),
            ("last, whole schema", [*plain, odd], {"infer_schema_length": None}),
        ):
            try:
                frame = read(rows, **options)
                result = frame.row(0 if place == "first" else -1, named=True)
            except pl.exceptions.PolarsError as error:
                result = type(error).__name__
            seen[title, name, place] = result
            print(f"{title:<11} {name:<12} {place:<19} {odd} -> {result}")

if [seen["a key more", name, "last"] for name in ("read_ndjson", "DataFrame")] != [{"grade": 2}] * 2:
    sys.exit("the behaviour changed")
if [seen["a fraction", name, "last"] for name in ("read_ndjson", "DataFrame")] != ["ComputeError", {"grade": 2}]:
    sys.exit("the behaviour changed")
if any(
    result not in ({"grade": 2, "note": "odd"}, {"grade": 2.7})
    for (_, _, place), result in seen.items() if place != "last"
):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
