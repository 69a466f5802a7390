#!/usr/bin/env bash
# The samples of a log are sorted by id, texts by their characters ("q10" before "q9"), not in the data set's order.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: log.samples are in the order of the data set, so that zip(dataset, log.samples) pairs them.
# Behaviour: they are sorted by epoch and id, numbers first, in the log that eval() returns and in the one that read_eval_log
#   reads; read_eval_log_samples of the same file keeps the data set's order. Ids that Inspect gives by itself (1, 2, 3, ...)
#   hide it, since both orders are one. What is put beside the samples by position belongs to other questions, without any sign of it.
# Fix: look samples up by (sample.id, sample.epoch).
#
# Output seen (the first of three lines):
#   data set ['q8', 'q9', 'q10', 'q11']: eval() ['q10', 'q11', 'q8', 'q9'], read_eval_log ['q10', 'q11', 'q8', 'q9'],
#   read_eval_log_samples ['q8', 'q9', 'q10', 'q11']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > show.py <<'EOF'
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log, read_eval_log_samples
from inspect_ai.model import ModelOutput, ModelUsage, get_model

reply = ModelOutput.from_content("mockllm/model", "yes")
reply.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)


def orders(ids):
    (log,) = eval(
        Task(dataset=[Sample(input=f"question {n}", id=id) for n, id in enumerate(ids)]),
        model=get_model("mockllm/model", custom_outputs=[reply] * len(ids)), display="none", log_dir="logs",
    )
    return [
        [sample.id for sample in samples]
        for samples in (log.samples, read_eval_log(log.location).samples, read_eval_log_samples(log.location))
    ]


EXPECTED = {
    ("q8", "q9", "q10", "q11"): ["q10", "q11", "q8", "q9"],
    ("b", 2, "a", 1): [1, 2, "a", "b"],
    (None, None, None): [1, 2, 3],
}
for ids, expected in EXPECTED.items():
    seen = orders(ids)
    print(f"data set {list(ids)}: eval() {seen[0]}, read_eval_log {seen[1]}, read_eval_log_samples {seen[2]}")
    given = [n if id is None else id for n, id in enumerate(ids, start=1)]
    if seen != [expected, expected, given]:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
