#!/usr/bin/env bash
# A number that a pydantic model accepts is refused by jsonschema under that model's own schema: 0.07 in steps of 0.01.
#
# Versions: pydantic 2.14.3, jsonschema 4.26.0
#
# Guess from memory: model_json_schema describes what the model takes, so what one lets through the other does too, up
#   to conversions such as "1" to 1.
# Behaviour: Field(multiple_of=0.01) becomes multipleOf, which pydantic checks up to a rounding error, and jsonschema
#   by whether the quotient of two floats is a whole number: 0.07 / 0.01 is 7.000000000000001. Of the 101 scores 0.00,
#   0.01, ... 1.00 jsonschema refuses 10. A gateway or a test that checks replies by the schema so sends back, or
#   counts as unparsable, grades that are right, and always the same ones, which shifts the mean.
# Fix: whole numbers of the smallest unit (hundredths), or no multiple_of.
#
# Output seen:
#   hundredths refused by pydantic: []; by jsonschema: [0.07, 0.14, 0.28, 0.29, 0.47, 0.56, 0.57, 0.58, 0.59, 0.94]
#   0.075      refused by pydantic: [0.075]; by jsonschema: [0.075]
#   whole      refused by pydantic: []; by jsonschema: []
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pydantic==2.14.3 jsonschema==4.26.0
cd "$work"

cat > show.py <<'EOF'
import sys

from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, ValidationError


class Verdict(BaseModel):
    score: float = Field(multiple_of=0.01)


class Whole(BaseModel):
    score: int = Field(multiple_of=1)


def refused(model, values):
    validator = Draft202012Validator(model.model_json_schema())
    by_pydantic, by_schema = [], []
    for value in values:
        try:
            model(score=value)
        except ValidationError:
            by_pydantic.append(value)
        if not validator.is_valid({"score": value}):
            by_schema.append(value)
    return by_pydantic, by_schema


seen = {
    "hundredths": refused(Verdict, [i / 100 for i in range(101)]),
    "0.075": refused(Verdict, [0.075]),
    "whole": refused(Whole, range(101)),
}
for title, (by_pydantic, by_schema) in seen.items():
    print(f"{title:<10} refused by pydantic: {by_pydantic}; by jsonschema: {by_schema}")
refused_hundredths = [0.07, 0.14, 0.28, 0.29, 0.47, 0.56, 0.57, 0.58, 0.59, 0.94]
if list(seen.values()) != [([], refused_hundredths), ([0.075], [0.075]), ([], [])]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
