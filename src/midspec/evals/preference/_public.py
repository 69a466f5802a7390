"""Pairs that others published, as items: rows of a data set whose columns name two options and which is the target.

In: a row, in one of the forms that such data sets have. Out: an item, or an error that says what the row lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from midspec.errors import DataError
from midspec.records import Item

__all__ = ["items_of_rows"]

# Columns that name the target and the other option outright; the first pair that a row has counts.
_NAMED = (
    ("liked_item", "disliked_item"),
    ("target", "other"),
    ("preferred", "dispreferred"),
    ("chosen", "rejected"),
    ("aligned", "misaligned"),
)
# Columns of two options in a fixed order, beside which an answer says which one is the target.
_ORDERED = (("option_a", "option_b"), ("choice_a", "choice_b"), ("a", "b"))
_LISTS = ("options", "choices")
_QUESTIONS = ("question", "prompt")
_ANSWERS = ("answer", "label", "aligned_answer", "answer_matching_behavior", "correct")
_DOMAINS = ("domain", "category", "topic", "subject")
_OPTIONS = r"\(?A[).:]\s*(?P<first>.+?)\s+{before_b}\(?B[).:]\s*(?P<second>[^\n]+)(?P<rest>.*)\Z"
# Letters at the beginnings of lines go before letters in running text, where an "A." may be something else.
_LETTERED = (
    re.compile(r"^[ \t]*" + _OPTIONS.format(before_b=r"^[ \t]*"), re.DOTALL | re.IGNORECASE | re.MULTILINE),
    re.compile(r"(?:^|\s)" + _OPTIONS.format(before_b=""), re.DOTALL),
)
_LETTER = re.compile(r"\W*([AB])(?:\W*|[).:]\s.*)", re.IGNORECASE | re.DOTALL)


class _Pair(NamedTuple):
    """Target, other option, and the question that stood before them, where it says more than they do."""

    target: str
    other: str
    question: str | None = None


def items_of_rows(rows: Iterable[Mapping[str, object]], name: str) -> list[Item]:
    """An item for each row, in order.

    Three forms are read, whatever the case of the column names: two columns that name the target and the other option
    (`liked_item`, `disliked_item`, among others); two options, as columns or a list, beside an answer (`A`, `(B)`, a
    number from 0, or the option's own text); and a question with lettered options in its text beside such an answer.
    A question that is no part of the options is kept as the item's system message.

    Args:
        rows: of a data set.
        name: what the data set is called; its last part names the set and begins each id.

    Raises:
        DataError: a row has none of these forms, or an answer that is neither option; names the row.
    """
    short = name.rstrip("/").rsplit("/", 1)[-1]
    items = []
    for number, row in enumerate(rows, start=1):
        columns = {key.strip().casefold().replace(" ", "_").replace("-", "_"): value for key, value in row.items()}
        found = _pair(columns, f"{name}:{number}")
        domain = _text(columns, _DOMAINS) or short
        items.append(
            Item(
                id=f"{short}-{number:04d}",
                set=short,
                domain=domain,
                options=(found.target, found.other),
                system=found.question,
            )
        )
    return items


def _pair(columns: Mapping[str, object], where: str) -> _Pair:
    for target, other in _NAMED:
        if (first := _text(columns, (target,))) and (second := _text(columns, (other,))):
            return _Pair(first, second)
    question = _text(columns, _QUESTIONS)
    listed = _listed(columns)
    if listed is None and question and (found := _lettered(question)):
        listed = _line(found["first"]), _line(found["second"])
        question = _line(question[: found.start()] + " " + found["rest"])
    if listed is None:
        raise DataError(
            f"holds no two options (its columns are {', '.join(sorted(columns))})",
            where=where,
            mend="Give a JSONL file of items instead: id, set, domain, options with the target first",
        )
    at = _answer(columns, listed, where)
    return _Pair(listed[at], listed[1 - at], question or None)


def _lettered(question: str) -> re.Match[str] | None:
    return next((found for pattern in _LETTERED if (found := pattern.search(question))), None)


def _listed(columns: Mapping[str, object]) -> tuple[str, str] | None:
    for names in _ORDERED:
        first, second = (_text(columns, (name,)) for name in names)
        if first and second:
            return first, second
    for name in _LISTS:
        value = columns.get(name)
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(each, str) for each in value):
            return _line(value[0]), _line(value[1])
    return None


def _answer(columns: Mapping[str, object], listed: tuple[str, str], where: str) -> int:
    """Which of the two options the row's answer names."""
    value = next((columns[name] for name in _ANSWERS if columns.get(name) is not None), None)
    if isinstance(value, int) and value in (0, 1):
        return int(value)
    if isinstance(value, str):
        if letter := _LETTER.fullmatch(value):
            return "ab".index(letter[1].casefold())
        said = _line(value).casefold()
        for at, option in enumerate(listed):
            if said == option.casefold():
                return at
    raise DataError(
        f"the answer {value!r} is neither option", where=where, mend="Give A, B or the text of one of the options"
    )


def _text(columns: Mapping[str, object], names: Iterable[str]) -> str:
    """The first of these columns that holds text, on one line; nothing where there is none."""
    values = (columns.get(name) for name in names)
    return next((line for value in values if isinstance(value, str) and (line := value.strip())), "")


def _line(text: str) -> str:
    return " ".join(text.split())
