"""The JSON schema that editors use is that of the models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import yaml

from midspec.lab import data_path
from midspec.study import study_schema

SHIPPED = Path(__file__).parents[2] / "examples" / "study.schema.json"


def test_the_shipped_schema_is_the_one_of_the_models() -> None:
    text = json.dumps(study_schema(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("MIDSPEC_GOLDEN") == "write":
        SHIPPED.write_text(text, encoding="utf-8")
    assert SHIPPED.read_text(encoding="utf-8") == text


def test_the_schema_accepts_what_the_models_accept() -> None:
    validator = jsonschema.Draft202012Validator(study_schema())
    for path in (data_path("nano.yaml"), SHIPPED.parent / "qwen3.yaml", SHIPPED.parent / "evaluations.yaml"):
        validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_schema_refuses_an_unknown_key() -> None:
    study = yaml.safe_load(data_path("nano.yaml").read_text(encoding="utf-8"))
    study["training"]["midtrain"]["learning_rat"] = 1
    assert not jsonschema.Draft202012Validator(study_schema()).is_valid(study)
