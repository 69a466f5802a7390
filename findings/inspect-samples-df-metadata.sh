#!/usr/bin/env bash
# samples_df rewrites the text of a sample's metadata: line breaks go, and unlike long values become one and the same.
#
# Versions: inspect_ai 0.3.285, pandas 3.1.1, pyarrow 26.0.1
#
# Guess from memory: the metadata_ columns of samples_df hold what the metadata of the samples held; at worst a long
#   text is cut.
# Behaviour: they come from summaries in the log, in which a text is shortened as prose is. Every run of spaces and
#   line breaks becomes one space, in a text of five characters, too, so code, tables and chat markup are not what was
#   run. Above 1,000 characters it is cut at a space, and a text without spaces (a list of ids, a digest) becomes
#   "..." alone. Variants that differ in layout or behind the cut fall into one group of groupby. No warning.
# Fix: samples_df(..., full=True), or read_eval_log, which have them whole.
#
# Output seen:
#   two lines            5 characters, in samples_df    3: 'a b'
#   one line             3 characters, in samples_df    3: 'a b'
#   long, first       1505 characters, in samples_df 1022: 'rd word...'
#   long, second      1506 characters, in samples_df 1022: 'rd word...'
#   no spaces, first  1500 characters, in samples_df    3: '...'
#   no spaces, second 1500 characters, in samples_df    3: '...'
#   groups of six variants: {'log': 6, 'samples_df': 3, 'full=True': 6}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285 pandas==3.1.1 pyarrow==26.0.1
cd "$work"

cat > show.py <<'EOF'
import sys

from inspect_ai import Task, eval
from inspect_ai.analysis import samples_df
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model

VARIANTS = {
    "two lines": "a\n  b",
    "one line": "a b",
    "long, first": "word " * 300 + "first",
    "long, second": "word " * 300 + "second",
    "no spaces, first": "0123456789" * 150,
    "no spaces, second": "9876543210" * 150,
}
reply = ModelOutput.from_content("mockllm/model", "yes")
reply.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
(log,) = eval(
    Task(dataset=[Sample(input="?", id=name, metadata={"layout": text}) for name, text in VARIANTS.items()]),
    model=get_model("mockllm/model", custom_outputs=[reply] * len(VARIANTS)), display="none", log_dir="logs",
)


def column(**options):
    frame = samples_df("logs", quiet=True, **options)
    return dict(zip(frame["id"], frame["metadata_layout"], strict=True))


read = {
    "log": {sample.id: sample.metadata["layout"] for sample in read_eval_log(log.location).samples},
    "samples_df": column(),
    "full=True": column(full=True),
}
for name, text in VARIANTS.items():
    got = read["samples_df"][name]
    print(f"{name:<17} {len(text):4} characters, in samples_df {len(got):4}: {got[-10:]!r}")
groups = {way: len(set(texts.values())) for way, texts in read.items()}
print("groups of six variants:", groups)
if groups != {"log": 6, "samples_df": 3, "full=True": 6} or read["samples_df"]["no spaces, first"] != "...":
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
