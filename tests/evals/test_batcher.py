"""Concurrent requests: answered together, each with its own answer, a failing one alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals._provider import DynamicBatcher


class Doubler:
    """Doubles numbers, notes the batches it was given, and fails on what it is told to."""

    def __init__(self, fails_on: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.fails_on = fails_on

    def __call__(self, requests: Sequence[int]) -> list[int]:
        self.batches.append(list(requests))
        self.threads.add(threading.current_thread().name)
        if self.fails_on in requests:
            raise ValueError(f"not {self.fails_on}")
        return [2 * request for request in requests]


def ask_all(run: Doubler, numbers: Sequence[int]) -> dict[int, int | str]:
    answers: dict[int, int | str] = {}

    async def ask(batcher: DynamicBatcher[int, int], number: int) -> None:
        try:
            answers[number] = await batcher.submit(number, n_concurrent=len(numbers))
        except ValueError as error:
            answers[number] = str(error)

    async def main() -> None:
        batcher = DynamicBatcher(run, lambda number: (f"{number:04}",))
        async with anyio.create_task_group() as group:
            for number in numbers:
                group.start_soon(ask, batcher, number)
        batcher.close()

    anyio.run(main)
    return answers


@given(st.permutations(range(12)))
def test_whatever_order_they_come_in_they_make_one_and_the_same_batch(order: list[int]) -> None:
    run = Doubler()
    assert ask_all(run, order) == {number: 2 * number for number in range(12)}
    assert run.batches == [list(range(12))]


def test_the_work_is_done_in_one_thread_that_is_not_the_event_loops() -> None:
    run = Doubler()
    ask_all(run, range(5))
    [name] = run.threads
    assert name != threading.current_thread().name


def test_a_request_that_fails_takes_no_other_with_it() -> None:
    run = Doubler(fails_on=3)
    assert ask_all(run, range(5)) == {0: 0, 1: 2, 2: 4, 3: "not 3", 4: 8}


def test_a_hint_that_is_never_met_delays_and_does_not_block() -> None:
    async def main() -> int:
        batcher = DynamicBatcher(Doubler(), lambda number: (str(number),))
        with anyio.fail_after(5):
            answer = await batcher.submit(4, n_concurrent=1000)
        batcher.close()
        return answer

    assert anyio.run(main) == 8


def test_whoever_gives_up_waiting_leaves_the_others_their_answers() -> None:
    async def main() -> int:
        batcher = DynamicBatcher(Doubler(), lambda number: (str(number),))
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await batcher.submit(2, n_concurrent=2))

        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.001):
                await batcher.submit(1, n_concurrent=3)
            group.start_soon(ask)
        batcher.close()
        return answers[0]

    assert anyio.run(main) == 4


def test_after_it_was_closed_nothing_is_answered() -> None:
    async def main() -> None:
        batcher = DynamicBatcher(Doubler(), lambda number: (str(number),))
        batcher.close()
        await batcher.submit(1)

    with pytest.raises(RuntimeError):
        anyio.run(main)
