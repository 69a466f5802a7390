#!/usr/bin/env bash
# Asking Inspect for any model imports every installed extension whole: a mock model loads inspect_evals.
#
# Versions: inspect_ai 0.3.285, inspect_evals 0.26.0, Python 3.11 or later
#
# Guess from memory: an entry point of the group inspect_ai is imported when a name of that package is asked for
#   (`inspect eval mypackage/task`, `--model mypackage/model`), as pytest's or pip's plug-ins of unused names are not.
# Behaviour: `get_model("mockllm/model")`, as every evaluation calls it, imports the entry points of all installed packages,
#   whose modules hold their tasks. With inspect_evals installed that is each of its evaluations and what these import
#   (datasets, pandas). What such a module imports at its top every user of Inspect pays for in every process.
# Fix: in a package of your own, decorators and names alone in the module of the entry point, the rest where it is used.
#
# Output seen:
#   inspect_ai alone: 0 modules of inspect_evals, datasets loaded: False, 0.0 s of CPU
#   inspect_evals beside it: 936 modules of inspect_evals, datasets loaded: True, 2.5 s of CPU
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"
export CUDA_VISIBLE_DEVICES="" INSPECT_CACHE_DIR="$work/cache"

cat > show.py <<'EOF'
import sys
import time

from inspect_ai.model import get_model

start = time.process_time()
model = get_model("mockllm/model")
seconds = time.process_time() - start
assert type(model.api).__name__ == "MockLLM"
ours = sum(name.split(".")[0] == "inspect_evals" for name in sys.modules)
print(f"{ours} modules of inspect_evals, datasets loaded: {'datasets' in sys.modules}, {seconds:.1f} s of CPU", file=sys.stderr)
print(ours, int("datasets" in sys.modules))
EOF

echo "inspect_ai alone:" && alone=$("$work/venv/bin/python" show.py)
"$work/venv/bin/pip" install --quiet inspect_evals==0.26.0
echo "inspect_evals beside it:" && beside=$("$work/venv/bin/python" show.py)

[ "$alone" = "0 0" ] || { echo "changed: $alone without inspect_evals" >&2; exit 1; }
read -r modules has_datasets <<< "$beside"
[ "$modules" -gt 500 ] && [ "$has_datasets" = 1 ] || { echo "changed: $beside with inspect_evals" >&2; exit 1; }
