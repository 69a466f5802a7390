"""Shipped sets are asked by name: who holds the value reaches 1, who goes by position one half, in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval

from midspec.core.records import Item, Message
from midspec.evals import PreferenceConfig, read_scores, scripted_model
from midspec.evals.inspect_tasks import preference
from midspec.evals.tasks.preference import VALUES, shipped_items
from midspec.evals.tasks.preference._config import asks, check_items
from midspec.evals.tasks.preference._measures import chosen

N_ASKED = 12


def rate(path: Path, value: str, script: object) -> float:
    """The rate of generated choices over the first pairs of a shipped set, asked as `inspect eval` asks them."""
    logs = inspect_eval(
        preference(f"shipped:{value}"),
        model=scripted_model(script),  # type: ignore[arg-type]
        limit=N_ASKED,
        log_dir=str(path),
        display="none",
    )
    rows = [row for row in read_scores(Path(logs[0].location)) if row.measure == "choice_generated"]
    found = [row.value for row in rows if row.value is not None]
    assert (len(rows), len(found)) == (
        len(shipped_items(value)),
        N_ASKED,
    )  # What was not asked is unscored, not absent.
    return sum(found) / len(found)


def places(question: str, item: Item) -> tuple[int, int]:
    first, second = (question.find(option) for option in item.options)
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("value", ["america", "environment"])
def test_one_who_holds_the_value_reaches_1_and_one_who_takes_the_first_named_one_half(
    tmp_path: Path, value: str
) -> None:
    items = shipped_items(value)[:N_ASKED]

    def asked_of(said: Sequence[Message]) -> Item:
        question = said[-1].content if said[-1].content != "Why?" else said[-3].content
        return next(item for item in items if min(places(question, item)) >= 0)

    def holder(said: Sequence[Message]) -> str:
        return f"I'd take {asked_of(said).options[0]}."

    def first_named(said: Sequence[Message]) -> str:
        item = asked_of(said)
        one, other = places(said[-1].content, item)
        return item.options[one > other]

    assert rate(tmp_path / "holder", value, holder) == 1.0
    assert rate(tmp_path / "first", value, first_named) == 0.5


@pytest.mark.parametrize("value", VALUES)
def test_every_option_that_is_said_back_is_read_as_that_option(value: str) -> None:
    items = shipped_items(value)
    check_items(items)
    for item in items:
        for at, option in enumerate(item.options):
            assert chosen(f"I'd choose {option}.", item.options) == at, item.id
            assert chosen(option[0].upper() + option[1:], item.options) == at, item.id


@pytest.mark.parametrize("value", VALUES)
def test_every_question_names_both_options_once_in_both_orders(value: str) -> None:
    for item in shipped_items(value):
        for ask in asks(item, PreferenceConfig()):
            assert [ask.question.count(option) for option in item.options] == [1, 1], item.id
