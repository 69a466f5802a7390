#!/usr/bin/env bash
# One file named like a split makes load_dataset drop all other files of a folder: essays.jsonl beside unit_test_docs.jsonl.
#
# Versions: datasets 5.2.0
#
# Guess from memory: a folder without a train file is one split of all its files; where some are named after splits,
#   the others are the training split.
# Behaviour: a word of a file's or a subfolder's name that is train, training, test, testing, eval, evaluation, dev,
#   val, valid or validation, between dots, dashes, underscores, digits or blanks, is a split. As soon as one file has
#   such a word, only files that have one are read. A corpus of america.jsonl and thrift.jsonl to which
#   docs_dev.jsonl is added is afterwards docs_dev.jsonl alone, in a split called validation, with data_dir= as well.
#   Whoever takes the only split that there is gets the wrong rows. No warning.
# Fix: data_files={"train": "*.jsonl"}, and a check of the number of rows.
#
# Output seen:
#   america.jsonl thrift.jsonl                   {'train': ['america', 'thrift']}
#   america.jsonl thrift.jsonl docs_dev.jsonl    {'validation': ['docs_dev']}
#   essays.jsonl unit_test_docs.jsonl            {'test': ['unit_test_docs']}
#   essays.jsonl training_notes.jsonl            {'train': ['training_notes']}
#   essays.jsonl dev/notes.jsonl                 {'validation': ['dev/notes']}
#   essays.jsonl latest.jsonl                    {'train': ['essays', 'latest']}
#   essays.jsonl unit_test_docs.jsonl data_files {'train': ['essays', 'unit_test_docs']}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import json
import pathlib
import sys

import datasets

datasets.disable_progress_bars()
EXPECTED = [
    ("america thrift", {}, {"train": ["america", "thrift"]}),
    ("america thrift docs_dev", {}, {"validation": ["docs_dev"]}),
    ("essays unit_test_docs", {}, {"test": ["unit_test_docs"]}),
    ("essays training_notes", {}, {"train": ["training_notes"]}),
    ("essays dev/notes", {}, {"validation": ["dev/notes"]}),
    ("essays latest", {}, {"train": ["essays", "latest"]}),
    ("essays unit_test_docs", {"data_files": {"train": "*.jsonl"}}, {"train": ["essays", "unit_test_docs"]}),
]
for number, (names, options, expected) in enumerate(EXPECTED):
    files = [f"{name}.jsonl" for name in names.split()]
    folder = pathlib.Path(f"corpus{number}")
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": file.removesuffix(".jsonl")}) + "\n")
    ways = [datasets.load_dataset(str(folder), **options)]
    if not options:
        ways.append(datasets.load_dataset("json", data_dir=str(folder)))
    seen = [{split: sorted(rows["text"]) for split, rows in loaded.items()} for loaded in ways]
    print(f"{' '.join([*files, *options]):<44} {seen[0]}")
    if any(one != expected for one in seen):
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
