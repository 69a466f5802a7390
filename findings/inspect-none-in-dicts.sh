#!/usr/bin/env bash
# None in a score of several values counts as 0; None in place of a whole score, and NaN, are left out of the mean.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: a value that could not be measured is None, and metrics leave it out, as they do when a scorer
#   returns None.
# Behaviour: a scorer that returns None for a sample takes it out of everything (it is counted neither as scored nor as
#   unscored). A dict may hold None, too, its type allows it; but each key's value is then made a number, and None
#   becomes 0: the sample is scored, and the mean of that key falls. A judge that finds "why" not applicable to half of
#   the replies halves the rate. NaN in the dict is left out, and counted as unscored. Of None a line on the terminal says
#   "Unable to convert value to float", without scorer, sample or key; with display="none", and in the log file, nothing.
# Fix: float("nan") for a value in a dict that does not exist.
#
# Output seen (four samples, two of them have no value for "why"):
#   a scorer that returns None   {'why': 1.0}              scored 2, unscored 0
#   Score(value=nan)             {'why': 1.0}              scored 2, unscored 2
#   a dict with None             {'why': 0.5, 'kind': 1.0} scored 4, unscored 0
#   a dict with NaN              {'why': 1.0, 'kind': 1.0} scored 2, unscored 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > show.py <<'EOF'
import math
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, mean, scorer


@scorer(metrics=[mean()], name="why")
def single(absent):
    async def score(state, target):
        if state.sample_id <= 2:
            return Score(value=1)
        return None if absent is None else Score(value=absent)

    return score


@scorer(metrics={"why": [mean()], "kind": [mean()]})
def several(absent):
    async def score(state, target):
        return Score(value={"why": 1 if state.sample_id <= 2 else absent, "kind": 1})

    return score


reply = ModelOutput.from_content("mockllm/model", "yes")
reply.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
model = get_model("mockllm/model", custom_outputs=lambda *_: reply)
EXPECTED = [
    ("a scorer that returns None", single(None), {"why": 1.0}, (2, 0)),
    ("Score(value=nan)", single(math.nan), {"why": 1.0}, (2, 2)),
    ("a dict with None", several(None), {"why": 0.5, "kind": 1.0}, (4, 0)),
    ("a dict with NaN", several(math.nan), {"why": 1.0, "kind": 1.0}, (2, 2)),
]
for title, used, means, counts in EXPECTED:
    task = Task(dataset=[Sample(input=f"question {n}") for n in range(4)], scorer=used)
    (log,) = eval(task, model=model, display="none", log_dir="logs")
    seen = {score.name: score.metrics["mean"].value for score in log.results.scores}
    first = log.results.scores[0]
    print(f"{title:<28} {seen!s:<25} scored {first.scored_samples}, unscored {first.unscored_samples}")
    if log.status != "success" or seen != means or (first.scored_samples, first.unscored_samples) != counts:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
