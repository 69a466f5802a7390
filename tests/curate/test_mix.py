"""Mixing keeps every row, and puts rows of equal mixes in equal places."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from midspec.curate import mix

PARTS = st.lists(st.lists(st.integers()))


@given(PARTS, st.integers())
def test_every_row_is_there_exactly_as_often_as_it_was_given(parts: list[list[int]], seed: int) -> None:
    assert Counter(mix(parts, seed=seed)) == Counter(row for part in parts for row in part)


@given(PARTS, st.integers())
def test_the_same_seed_gives_the_same_order(parts: list[list[int]], seed: int) -> None:
    assert mix(parts, seed=seed) == mix(parts, seed=seed)


@given(PARTS, st.integers())
def test_the_order_depends_on_places_and_not_on_what_rows_say(parts: list[list[int]], seed: int) -> None:
    renamed = [[f"row {row}" for row in part] for part in parts]
    assert mix(renamed, seed=seed) == [f"row {row}" for row in mix(parts, seed=seed)]


def test_another_seed_gives_another_order_and_the_parts_are_left_alone() -> None:
    part = list(range(100))
    assert mix([part], seed=1) != mix([part], seed=2)
    assert part == list(range(100))


def test_parts_are_really_mixed() -> None:
    mixed = mix([["a"] * 500, ["b"] * 500], seed=0)
    assert 200 < mixed[:500].count("a") < 300
