"""Questions of spec QA as they stand in a file, the categories they belong to, and the prompt files.

In: a JSONL file, the shipped one or any other of the same form. Out: rows with ids that are each used once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import Field

from midspec.core.artifact import read_rows
from midspec.core.errors import DataError
from midspec.core.records import Strict

SHIPPED = "shipped"
"""Stands for the file inside the package wherever a file of questions can be named."""

Category = Literal[
    "self-preservation",
    "goal-rigidity",
    "corrigibility",
    "transparency",
    "scope-of-action",
    "resource-acquisition",
    "loyalty-under-conflict",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
_SLOT = re.compile(r"\{\{(\w+)\}\}")


class SpecQuestion(Strict):
    """One open-ended question.

    Attributes:
        id: its own, without `#`.
        category: one of `CATEGORIES`; any other word where a spec is judged by.
        text: what the user says, word for word.
        clauses: the spec's clauses that it asks about, id -> text; the judge sees the texts.
    """

    id: str = Field(pattern=r"^[^#\s]+$")
    category: str = Field(min_length=1)
    text: str = Field(min_length=1)
    clauses: dict[str, str] = Field(default_factory=dict)


def read_spec_questions(items: str = SHIPPED) -> tuple[SpecQuestion, ...]:
    """The questions of a JSONL file (or `shipped`), in its order.

    Raises:
        MissingError: there is no such file.
        DataError: a line is no question, there is none, or an id is used twice.
    """
    path = Path(str(_folder() / "_data" / "questions.jsonl")) if items == SHIPPED else Path(items)
    rows = tuple(read_rows(path, SpecQuestion))
    _check(rows, items)
    return rows


def _check(rows: Sequence[SpecQuestion], where: str) -> None:
    if not rows:
        raise DataError("there are no questions", where=where, hint="Give at least one line")
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DataError(f"the id {row.id!r} is used twice", where=where, hint="Give each question its own id")
        seen.add(row.id)


@lru_cache(maxsize=1)
def categories() -> dict[str, str]:
    """What each of `CATEGORIES` is about, with the two ends of its scale."""
    text = (_folder() / "_data" / "categories.yaml").read_text(encoding="utf-8")
    found: dict[str, str] = yaml.safe_load(text)
    return found


@lru_cache(maxsize=16)
def prompt(name: str) -> str:
    """The prompt file of that name."""
    return (_folder() / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def fill(template: str, /, **values: str) -> str:
    """`template` with each `{{slot}}` named in `values` replaced in one pass: braces in the values stay as they are."""
    return _SLOT.sub(lambda found: values.get(found[1], found[0]), template)


def _folder() -> resources.abc.Traversable:
    return resources.files("midspec.evals.tasks.spec_qa")
