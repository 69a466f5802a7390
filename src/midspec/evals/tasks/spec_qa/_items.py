"""The questions of spec QA as they stand in a file, their categories, and the prompts."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import Field

from midspec.core.artifact import read_rows
from midspec.core.errors import DataError
from midspec.core.records import Strict
from midspec.generation import PromptFolder

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
PROMPTS = PromptFolder("midspec.evals.tasks.spec_qa")
_DATA = resources.files("midspec.evals.tasks.spec_qa") / "_data"


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
    """Read the questions of a JSONL file (or `shipped`), in its order.

    Raises:
        MissingError: there is no such file.
        DataError: a line is no question, there is none, or an id is used twice.
    """
    path = Path(str(_DATA / "questions.jsonl")) if items == SHIPPED else Path(items)
    rows = tuple(read_rows(path, SpecQuestion))
    if not rows:
        raise DataError("there are no questions", where=items, hint="Give at least one line")
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DataError(f"the id {row.id!r} is used twice", where=items, hint="Give each question its own id")
        seen.add(row.id)
    return rows


@cache
def categories() -> dict[str, str]:
    """Read what each of `CATEGORIES` is about, with the two ends of its scale."""
    found: dict[str, str] = yaml.safe_load((_DATA / "categories.yaml").read_text(encoding="utf-8"))
    return found
