#!/usr/bin/env bash
# An answer that reads 2024-01-01 comes out of JSON Lines as a datetime; features= makes it "2024-01-01 00:00:00".
#
# Versions: datasets 5.2.0 (with the pyarrow that it brings)
#
# Guess from memory: JSON has no dates, so what stands in quotes in the file is a str in the data set.
# Behaviour: a field whose texts all look like dates (ISO 8601, to the second) in the first block of a file becomes
#   timestamp[s], in lists and in other fields, too; pyarrow guesses so. The target of a question is then a datetime
#   that equals no reply, and a time with an offset loses it. Each file is guessed anew and cast to the first one's
#   types: if that one has dates only, another text in a second file is an error; if it has other texts, the dates of
#   the second file come back as text with 00:00:00 behind them. features= with Value("string") does the same to all,
#   since it is a cast, too. No warning.
# Fix: Dataset.from_list([json.loads(line) for line in file]), or from_generator.
#
# Output seen:
#   dates only                   ['datetime.datetime(2024, 1, 1, 0, 0)']
#   with an offset               ['datetime.datetime(2024, 1, 1, 8, 0)']
#   another text, one file       ['2024-01-01', 'not known']
#   another text, file two       ArrowInvalid("Failed to parse string: 'not known' as a scalar of type timestamp[s]")
#   another text, file one       ['not known', '2024-01-01 00:00:00']
#   features= with a string      ['2024-01-01 00:00:00', 'not known']
#   from_list                    ['2024-01-01', 'not known']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1

cat > show.py <<'EOF'
import json
import sys

from datasets import Dataset, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError

DATE, ZONED, OTHER = "2024-01-01", "2024-01-01T10:00:00+02:00", "not known"
seen = {}


def show(title, *files, **options):
    paths = []
    for answers in files:
        paths.append(f"{len(seen)}-{len(paths)}.jsonl")
        with open(paths[-1], "w") as file:
            file.writelines(json.dumps({"answer": answer}) + "\n" for answer in answers)
    try:
        answers = load_dataset("json", data_files=paths, split="train", **options)["answer"][:]
        seen[title] = [str(answer) if isinstance(answer, str) else repr(answer) for answer in answers]
    except DatasetGenerationError as error:
        seen[title] = repr(error.__cause__)
    print(f"{title:<28} {seen[title]}")


show("dates only", [DATE])
show("with an offset", [ZONED])
show("another text, one file", [DATE, OTHER])
show("another text, file two", [DATE], [OTHER])
show("another text, file one", [OTHER], [DATE])
show("features= with a string", [DATE], [OTHER], features=Features({"answer": Value("string")}))
title = "from_list"
seen[title] = Dataset.from_list([json.loads(json.dumps({"answer": answer})) for answer in (DATE, OTHER)])["answer"][:]
print(f"{title:<28} {seen[title]}")
expected = [
    ["datetime.datetime(2024, 1, 1, 0, 0)"], ["datetime.datetime(2024, 1, 1, 8, 0)"], [DATE, OTHER],
    """ArrowInvalid("Failed to parse string: 'not known' as a scalar of type timestamp[s]")""",
    [OTHER, DATE + " 00:00:00"], [DATE + " 00:00:00", OTHER], [DATE, OTHER],
]
if list(seen.values()) != expected:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
