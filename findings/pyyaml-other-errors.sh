#!/usr/bin/env bash
# A plain value that looks like a date and is none ends safe_load with ValueError, which is no YAMLError.
#
# Versions: PyYAML 6.0.3
#
# Guess from memory: whatever is wrong with a file, yaml.safe_load raises yaml.YAMLError, with line and column; and
#   what is no date is text, as `2024-1` or `2024-13-456` is.
# Behaviour: every unquoted scalar of the form NNNN-NN-NN is a timestamp by its pattern alone, and its parts are given to
#   datetime.date. A version or an id of that form (`2024-13-45`) raises ValueError, without a line. The C loader
#   (CSafeLoader) does the same.
# Fix: catch ValueError beside yaml.YAMLError where files of others are read, and quote such ids.
#
# Output seen:
#   id: 2024-13-456  -> '2024-13-456' (str)
#   id: 2024-12-31   -> datetime.date(2024, 12, 31) (date)
#   id: '2024-13-45' -> '2024-13-45' (str)
#   id: 2024-13-45   -> ValueError: month must be in 1..12; a YAMLError: False; its mark: None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet PyYAML==6.0.3
cd "$work"

cat > show.py <<'EOF'
import sys

import yaml

seen = {}
for text in ("2024-13-456", "2024-12-31", "'2024-13-45'", "2024-13-45"):
    line = f"id: {text}"
    try:
        value = yaml.safe_load(line)["id"]
    except Exception as error:  # what kind it is, is the question
        is_yaml, mark = isinstance(error, yaml.YAMLError), getattr(error, "problem_mark", None)
        print(f"{line:<16} -> {type(error).__name__}: {error}; a YAMLError: {is_yaml}; its mark: {mark}")
        seen[text] = (type(error).__name__, is_yaml, mark)
    else:
        print(f"{line:<16} -> {value!r} ({type(value).__name__})")
        seen[text] = type(value).__name__

expected = {
    "2024-13-456": "str",
    "2024-12-31": "date",
    "'2024-13-45'": "str",
    "2024-13-45": ("ValueError", False, None),
}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
