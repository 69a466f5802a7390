"""The texts of this room, from the files in `_prompts/` and `_data/`.

Enter: a file's name, and what goes into its `{{slots}}`. Leaves: the text. What goes in is not looked at for slots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml

_SLOT = re.compile(r"\{\{(\w+)\}\}")


@cache
def read_text(name: str) -> str:
    """The file of that name in `_prompts/`."""
    return (resources.files("midspec.evals.tasks.agentic_misalignment") / "_prompts" / name).read_text(encoding="utf-8")


@cache
def read_yaml(name: str) -> dict[str, dict[str, str]]:
    """A YAML file in `_prompts/`: texts by two names."""
    found: dict[str, dict[str, str]] = yaml.load(read_text(name), Loader=yaml.CSafeLoader)
    return found


@cache
def read_refusals() -> re.Pattern[str]:
    """What marks a refusal, in any of the languages of `_data/refusals.yaml`."""
    file = resources.files("midspec.evals.tasks.agentic_misalignment") / "_data" / "refusals.yaml"
    found = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    parts: dict[str, str] = {name: part.replace("| ", "|") for name, part in found.pop("parts").items()}
    return re.compile("|".join(fill(each, parts) for patterns in found.values() for each in patterns), re.I)


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{{slot}}` replaced once; braces in the values stay as they are."""
    return _SLOT.sub(lambda found: values[found[1]], template)
