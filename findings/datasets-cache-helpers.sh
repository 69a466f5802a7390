#!/usr/bin/env bash
# A filter that was changed in an imported file still gives the rows that the old one kept.
#
# Versions: datasets 5.2.0
#
# Guess from memory: map and filter hash the function and all that it reaches, so a change of its code makes them run
#   again.
# Behaviour: that holds for what stands in the script itself, constants included. What comes from an imported module
#   is hashed by its name: a function that is given to filter, and one that a function or a lambda of the script
#   calls. After an edit of the module the next run reads the rows of the old code from the cache. Nothing is said.
# Fix: load_from_cache_file=False, or a version number of the rules among fn_kwargs.
#
# Output seen (rows of ten that are kept, where the rule was "under 5" and is then changed to "under 8"):
#   code in the script                   5, then 8
#   constant in the script               5, then 8
#   imported function                    5, then 5  STALE
#   function that calls an imported one  5, then 5  STALE
#   lambda that calls an imported one    5, then 5  STALE
#   imported, cache not read             5, then 8
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1 PYTHONDONTWRITEBYTECODE=1

cat > show.py <<'EOF'
import json
import subprocess
import sys
from pathlib import Path

CURATE = """
import json
import rules
from datasets import load_dataset

LIMIT = {limit}


def here(row):
    return row["n"] < {limit}


def calls_helper(row):
    return rules.keep(row)


rows = load_dataset("json", data_files="rows.jsonl", split="train")
print(json.dumps({{
    "code in the script": len(rows.filter(here)),
    "constant in the script": len(rows.filter(lambda row: row["n"] < LIMIT)),
    "imported function": len(rows.filter(rules.keep)),
    "function that calls an imported one": len(rows.filter(calls_helper)),
    "lambda that calls an imported one": len(rows.filter(lambda row: rules.keep(row))),
    "imported, cache not read": len(rows.filter(rules.keep, load_from_cache_file=False)),
}}))
"""
Path("rows.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(10)))
runs = []
for limit in (5, 8):
    Path("rules.py").write_text(f'def keep(row):\n    return row["n"] < {limit}\n')
    Path("curate.py").write_text(CURATE.format(limit=limit))
    run = subprocess.run([sys.executable, "curate.py"], capture_output=True, text=True, check=True)
    runs.append(json.loads(run.stdout.splitlines()[-1]))
for way, n_kept in runs[0].items():
    print(f"  {way:<36} {n_kept}, then {runs[1][way]}{'' if runs[1][way] == 8 else '  STALE'}")

stale = [way for way, n_kept in runs[1].items() if n_kept == 5]
expected = ["imported function", "function that calls an imported one", "lambda that calls an imported one"]
if stale != expected or set(runs[0].values()) != {5}:
    sys.exit(f"the behaviour changed: {runs}")
EOF
"$work/venv/bin/python" show.py
