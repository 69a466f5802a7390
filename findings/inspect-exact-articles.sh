#!/usr/bin/env bash
# exact() scores the reply "A" to a question whose answer is "A" as wrong, and "1" for "-1" as right.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: exact() compares texts; what it does away with are spaces, case and a full stop.
# Behaviour: texts are normalized as for SQuAD first. Articles go, so that of the letters A to D the answer A can
#   never be right: a model that knows everything has 75% in a balanced set, and one that always says B is above one
#   that always says A. Signs go, too: "C++" is "C", and "-1" is "1". f1() does the same. match(location="exact")
#   keeps the article and drops the sign, too. No warning.
# Fix: match(location="exact", ignore_case=...) for letters, choice() for choices, a scorer of one's own for signs.
#
# Output seen:
#   target A    reply A   exact I  f1 0.0  match(location='exact') C
#   target B    reply B   exact C  f1 1.0  match(location='exact') C
#   target C    reply C   exact C  f1 1.0  match(location='exact') C
#   target D    reply D   exact C  f1 1.0  match(location='exact') C
#   target C++  reply C   exact C  f1 1.0  match(location='exact') C
#   target -1   reply 1   exact C  f1 1.0  match(location='exact') C
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > show.py <<'EOF'
import asyncio
import sys

from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.scorer import Target, exact, f1, match
from inspect_ai.solver import TaskState

# target and reply: values of exact, f1, match(location="exact")
CASES = {
    ("A", "A"): ["I", 0.0, "C"],
    ("B", "B"): ["C", 1.0, "C"],
    ("C", "C"): ["C", 1.0, "C"],
    ("D", "D"): ["C", 1.0, "C"],
    ("C++", "C"): ["C", 1.0, "C"],
    ("-1", "1"): ["C", 1.0, "C"],
}


def values(target, reply):
    output = ModelOutput.from_content("mockllm/model", reply)
    state = TaskState(
        model=ModelName("mockllm/model"), sample_id=1, epoch=1, input="Which one?", messages=[], output=output,
    )
    return [asyncio.run(scorer(state, Target(target))).value for scorer in (exact(), f1(), match(location="exact"))]


seen = {case: values(*case) for case in CASES}
for (target, reply), (by_exact, by_f1, by_match) in seen.items():
    print(f"target {target:<4} reply {reply:<3} exact {by_exact}  f1 {by_f1}  match(location='exact') {by_match}")
if seen != CASES:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
