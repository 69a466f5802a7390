#!/usr/bin/env bash
# match(numeric=True) compares five digits: 123457 is right where 123456 was asked for, and 42% is wrong for 42.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: a numeric match compares numbers, at worst up to a rounding error of floats.
# Behaviour: both numbers are rounded to five significant digits, whatever their size. Sums, dates as numbers, prices
#   and counts of six digits and more are right when the last ones are wrong: 1,000,040 for a million, 20241231 for
#   20241229. Small ones are held to it, too: 0.33333 for 0.333333. A percent sign, on the other hand, makes a number
#   no number (said in the documentation), and so does any other sign behind it, in reply or target: "9x" or "7°" is
#   not found, and the number before it in the reply is taken instead.
# Fix: a scorer of one's own that parses the last number and compares it as a whole.
#
# Output seen:
#   target 123456    reply 'It is 123457.'    C
#   target 1000000   reply 'About 1,000,040'  C
#   target 20241229  reply '20241231'         C
#   target 0.333333  reply '0.33333'          C
#   target 12345     reply 'It is 12346.'     I
#   target 42        reply 'It is 42%'        I
#   target 7         reply 'It is 7°'         I
#   target 2         reply 'Of 2 it is 7°'    C
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
from inspect_ai.scorer import Target, match
from inspect_ai.solver import TaskState

CASES = {
    ("123456", "It is 123457."): "C",
    ("1000000", "About 1,000,040"): "C",
    ("20241229", "20241231"): "C",
    ("0.333333", "0.33333"): "C",
    ("12345", "It is 12346."): "I",
    ("42", "It is 42%"): "I",
    ("7", "It is 7°"): "I",
    ("2", "Of 2 it is 7°"): "C",
}


def value(target, reply):
    output = ModelOutput.from_content("mockllm/model", reply)
    state = TaskState(
        model=ModelName("mockllm/model"), sample_id=1, epoch=1, input="How many?", messages=[], output=output,
    )
    return asyncio.run(match(numeric=True)(state, Target(target))).value


seen = {case: value(*case) for case in CASES}
for (target, reply), score in seen.items():
    print(f"target {target:<9} reply {reply!r:<18} {score}")
if seen != CASES:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
