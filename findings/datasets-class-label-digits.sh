#!/usr/bin/env bash
# Grades 1, 2, 3 cast to ClassLabel(names=["1", "2", "3"]) come out one too high, and the text "0" as "1".
#
# Versions: datasets 5.2.0
#
# Guess from memory: ClassLabel(names=["1", "2", "3"]) maps each label by its name, and one that is no name raises
#   ValueError ("Invalid string class label").
# Behaviour: a text that is no name but a number is taken as the place of a class, from 0 on. The grade "0" among
#   names 1 to 3 becomes "1" in silence, while "4" raises. The same grades as integers are never looked up: 1, 2, 3
#   are "2", "3" and a fourth class that does not exist, and int2str raises at the first look. A column that was read
#   as numbers so is a point higher than the same one that was read as text. class_encode_column is right with both.
# Fix: class_encode_column, or map each value by names.index(str(value)).
#
# Output seen (names ["1", "2", "3"]):
#   by_cast         ['1', '2', '3']  -> ['1', '2', '3']
#   by_cast         ['0', '2', '3']  -> ['1', '2', '3']
#   by_cast         ['4', '2', '3']  -> Invalid string class label 4
#   by_cast         [1, 2, 3]        -> ['2', '3', 'none']
#   by_class_encode ['1', '2', '3']  -> ['1', '2', '3']
#   by_class_encode [1, 2, 3]        -> ['1', '2', '3']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1

cat > show.py <<'EOF'
import sys

from datasets import ClassLabel, Dataset

NAMES = ["1", "2", "3"]


def by_cast(grades):
    return Dataset.from_dict({"grade": grades}).cast_column("grade", ClassLabel(names=NAMES))


def by_class_encode(grades):
    return Dataset.from_dict({"grade": grades}).class_encode_column("grade")


def labels(make, grades):
    try:
        data = make(grades)
        feature = data.features["grade"]
        return [feature.names[place] if 0 <= place < len(feature.names) else "none" for place in data["grade"]]
    except ValueError as error:
        return str(error)


CASES = [
    (by_cast, ["1", "2", "3"]), (by_cast, ["0", "2", "3"]), (by_cast, ["4", "2", "3"]), (by_cast, [1, 2, 3]),
    (by_class_encode, ["1", "2", "3"]), (by_class_encode, [1, 2, 3]),
]
seen = []
for make, grades in CASES:
    seen.append(labels(make, grades))
    print(f"{make.__name__:<15} {grades!s:<16} -> {seen[-1]}")
expected = [
    ["1", "2", "3"], ["1", "2", "3"], "Invalid string class label 4", ["2", "3", "none"], ["1", "2", "3"],
    ["1", "2", "3"],
]
if seen != expected:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
