from __future__ import annotations

from collections.abc import Sequence

import anyio
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals.tasks.preference._task import BatchTurns


async def _order(arrivals: Sequence[int], n_items: int, size: int) -> list[tuple[int, int]]:
    lots = BatchTurns(n_items, size)
    answered: list[tuple[int, int]] = []

    async def sample(index: int) -> None:
        async with lots.turn(index) as n_beside:
            await anyio.sleep(0)
            answered.append((index, n_beside))

    async with anyio.create_task_group() as group:
        for index in arrivals:
            group.start_soon(sample, index)
    return answered


@given(st.integers(1, 60), st.integers(1, 9))
def test_samples_that_come_in_order_are_answered_lot_by_lot(n_items: int, size: int) -> None:
    answered = anyio.run(_order, range(n_items), n_items, size)
    assert [index // size for index, _ in answered] == [index // size for index in range(n_items)]
    assert all(
        n_beside == sum(other // size == index // size for other in range(n_items)) for index, n_beside in answered
    )


@given(st.sets(st.integers(0, 59)), st.integers(1, 9), st.randoms())
def test_every_sample_that_comes_has_its_turn_whoever_stays_away(came: set[int], size: int, order: object) -> None:
    arrivals = sorted(came, key=lambda _index: order.random())  # type: ignore[attr-defined]
    answered = anyio.run(_order, arrivals, 60, size)
    assert sorted(index for index, _ in answered) == sorted(came)


def test_a_sample_that_fails_lets_the_next_lot_have_its_turn() -> None:
    async def run() -> bool:
        lots = BatchTurns(2, 1)
        failed = False
        try:
            async with lots.turn(0):
                raise ValueError
        except ValueError:
            failed = True
        async with lots.turn(1):
            return failed

    assert anyio.run(run)
