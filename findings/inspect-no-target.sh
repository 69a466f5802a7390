#!/usr/bin/env bash
# A data set whose answers stand under another name is scored as all right: match() and includes() take any reply.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: a sample without a target is an error, or wrong, or left without a score.
# Behaviour: json_dataset reads the target from the field target. If the rows call it answer, the target is the empty
#   text, which is how every reply ends and what every reply includes: accuracy 1.0, whatever was said. The same for
#   single rows where the field is absent, empty or null, which raise the accuracy a little, and for a target of
#   punctuation alone ("-", "."), which match() takes off first. exact() scores such samples as wrong. No warning.
# Fix: FieldSpec(target="answer"), and a look at min(len(sample.target) for sample in dataset).
#
# Output seen:
#   field answer, nothing said        targets ['', '']             match 1.0, includes 1.0, exact 0.0
#   field answer, FieldSpec           targets ['Paris', 'Lima']    match 0.0, includes 0.0, exact 0.0
#   field target, one of two is null  targets ['', 'Lima']         match 0.5, includes 0.5, exact 0.0
#   field target, one of two is -     targets ['-', 'Lima']        match 0.5, includes 0.0, exact 0.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > show.py <<'EOF'
import json
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import exact, includes, match

reply = ModelOutput.from_content("mockllm/model", "I would rather not say")
reply.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)


def accuracies(title, field, answers, spec=None):
    with open("rows.jsonl", "w") as file:
        file.writelines(json.dumps({"input": "Which city?", field: answer}) + "\n" for answer in answers)
    dataset = json_dataset("rows.jsonl", spec)
    (log,) = eval(
        Task(dataset=dataset, scorer=[match(), includes(), exact()]), display="none", log_dir="logs",
        model=get_model("mockllm/model", custom_outputs=[reply] * 2),
    )
    scores = {score.name: next(iter(score.metrics.values())).value for score in log.results.scores}
    targets = [sample.target for sample in dataset]
    print(f"{title:<33} targets {targets!s:<20} " + ", ".join(f"{name} {value}" for name, value in scores.items()))
    return list(scores.values())


seen = [
    accuracies("field answer, nothing said", "answer", ["Paris", "Lima"]),
    accuracies("field answer, FieldSpec", "answer", ["Paris", "Lima"], FieldSpec(target="answer")),
    accuracies("field target, one of two is null", "target", [None, "Lima"]),
    accuracies("field target, one of two is -", "target", ["-", "Lima"]),
]
if seen != [[1, 1, 0], [0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0]]:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
