"""A list is asked for until it is long enough, and never without end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from midspec.generation import ListRound, sample_list


def sample(
    replies: Sequence[Sequence[str] | None], n_wanted: int, **given: object
) -> tuple[list[str], list[ListRound]]:
    """Sample a list from a model that gives these replies, then nothing new; with the rounds that it was asked in."""
    rounds: list[ListRound] = []

    async def ask(wanted: ListRound) -> Sequence[str] | None:
        rounds.append(wanted)
        return replies[wanted.draw] if wanted.draw < len(replies) else ()

    async def work() -> list[str]:
        batches = sample_list(ask, n_wanted, name=str, **given)  # type: ignore[arg-type]
        return [entry async for batch in batches for entry in batch]

    return asyncio.run(work()), rounds


def test_what_is_missing_is_asked_for_with_what_exists() -> None:
    entries, rounds = sample([["a", "b"], ["c", "d", "e"]], 4, batch_size=3)
    assert entries == ["a", "b", "c", "d"]
    assert rounds == [ListRound(0, 3, 0, ()), ListRound(1, 2, 2, ("a", "b"))]


def test_a_name_counts_once_however_it_is_written() -> None:
    entries, _ = sample([["One case", "one  CASE.", "Two"], ["two!"]], 3, taken=("Three",))
    assert entries == ["One case", "Two"]


def test_what_is_taken_is_shown_and_does_not_count() -> None:
    entries, rounds = sample([["Tea", "Rum", "Ale"]], 2, taken=("tea",))
    assert entries == ["Rum", "Ale"]
    assert rounds[0].names == ("tea",)
    assert rounds[0].n_have == 0


def test_two_rounds_in_a_row_without_anything_new_end_it() -> None:
    entries, rounds = sample([["a"], [], ["b"], ["A"], []], 9)
    assert entries == ["a", "b"]
    assert len(rounds) == 5


def test_a_request_that_would_fail_again_ends_it() -> None:
    entries, rounds = sample([["a"], None, ["b"]], 3)
    assert entries == ["a"]
    assert len(rounds) == 2


def test_rounds_that_bring_little_are_bounded() -> None:
    entries, rounds = sample([[str(n)] for n in range(100)], 50, batch_size=25)
    assert len(rounds) == 50 // 25 + 6 == len(entries)
