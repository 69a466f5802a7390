"""The pool: every piece of work once, no barriers, nothing left behind, the server always busy."""

from __future__ import annotations

import asyncio
import heapq
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.generation import Pool

from .outside import on_a_skipping_clock

TREE = st.recursive(st.just(()), lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=30)


@given(trees=st.lists(TREE, max_size=10), width=st.integers(1, 5), seed=st.integers(0, 9))
def test_every_piece_of_work_runs_exactly_once_whatever_adds_what(trees, width: int, seed: int) -> None:
    pool, ran, chance = Pool(width), [], random.Random(seed)
    n_running = 0

    def count(tree: tuple) -> int:
        return 1 + sum(map(count, tree))

    async def piece(name: str, tree: tuple) -> None:
        nonlocal n_running
        n_running += 1
        assert n_running <= 2 * width
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        ran.append(name)
        for index, child in enumerate(tree):
            pool.add(partial(piece, f"{name}.{index}", child), first=chance.random() < 0.5)
        n_running -= 1

    for index, tree in enumerate(trees):
        pool.add(partial(piece, str(index), tree), first=chance.random() < 0.5)
    asyncio.run(pool.run())
    assert len(ran) == len(set(ran)) == sum(map(count, trees))
    assert (pool.n_running, pool.n_waiting) == (0, 0)


def test_a_pool_without_work_ends_at_once() -> None:
    asyncio.run(Pool(3).run())


def test_lists_go_first_until_enough_of_the_rest_waits() -> None:
    order: list[str] = []
    pool = Pool(1)

    async def piece(name: str) -> None:
        order.append(name)
        if name == "list":
            for _ in range(3):
                pool.add(partial(piece, "document"))

    for _ in range(2):
        pool.add(partial(piece, "document"))
    for _ in range(4):
        pool.add(partial(piece, "list"), first=True)
    asyncio.run(pool.run())
    # One list makes 2 + 3 documents wait, which is enough (4 times the width), so the next one waits for two of them.
    assert "".join(name[0] for name in order) == "ldd" + "lddd" * 2 + "lddd" + "ddd"


def test_an_error_ends_the_run_after_what_had_begun() -> None:
    ended: list[int] = []
    pool = Pool(2)

    async def piece(index: int) -> None:
        await asyncio.sleep(0)
        if index == 1:
            raise ValueError("work 1")
        await asyncio.sleep(0.01)
        ended.append(index)
        pool.add(partial(piece, 100 + index))

    for index in range(10):
        pool.add(partial(piece, index))
    with pytest.raises(ValueError, match="work 1"):
        asyncio.run(pool.run())
    assert ended == [0, 2, 3]
    assert (pool.n_running, pool.n_waiting) == (0, 9)


def test_a_cancelled_run_leaves_nothing_running() -> None:
    ended: list[str] = []

    async def piece() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")

    async def main() -> None:
        pool = Pool(2)
        for _ in range(9):
            pool.add(piece)
        run = asyncio.ensure_future(pool.run())
        await asyncio.sleep(0.01)
        assert (pool.n_running, pool.n_waiting) == (4, 5)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert pool.n_running == 0

    asyncio.run(main())
    assert ended == ["cleaned up"] * 4


def test_work_that_never_waits_leaves_others_their_turn() -> None:
    done = 0

    async def piece() -> None:
        nonlocal done
        done += 1

    async def main() -> None:
        pool = Pool(2)
        for _ in range(1000):
            pool.add(piece)
        run = asyncio.ensure_future(pool.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < done < 100
        await run

    asyncio.run(main())


def test_what_waits_costs_a_few_hundred_bytes() -> None:
    pool = Pool(10)

    async def piece(index: int) -> None: ...

    tracemalloc.start()
    for index in range(10_000):
        pool.add(partial(piece, index))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 10_000 < 300


WIDTH = 50


def _latencies(n: int, median_s: float) -> list[float]:
    chance = random.Random(7)
    return [median_s * chance.lognormvariate(0, 0.6) for _ in range(n)]


def _list_schedule_s(latencies: list[float]) -> float:
    """The time in which `WIDTH` servers work through `latencies` in order, none idle while anything is left."""
    free = [0.0] * WIDTH
    for latency in latencies:
        heapq.heappush(free, heapq.heappop(free) + latency)
    return max(free)


def _served(n: int, ideas_per_list: int) -> tuple[float, float]:
    """Lists of ideas, then a document for each: seconds, and mean requests in flight while work waits."""
    pool, slots, n_in_flight = Pool(WIDTH), asyncio.Semaphore(WIDTH), 0
    areas: list[tuple[float, int]] = []
    lists, documents = iter(_latencies(n // ideas_per_list, 0.2)), iter(_latencies(n, 0.5))

    async def request(latency_s: float) -> None:
        nonlocal n_in_flight
        async with slots:
            for change in (1, -1):
                n_in_flight += change
                areas.append((asyncio.get_running_loop().time(), n_in_flight))
                if change == 1:
                    await asyncio.sleep(latency_s)

    async def ideas() -> None:
        await request(next(lists))
        for _ in range(ideas_per_list):
            pool.add(document)

    async def document() -> None:
        await request(next(documents))
        await asyncio.sleep(0.05)  # Reading a reply, or waiting before a retry, holds no slot.

    for _ in range(n // ideas_per_list):
        pool.add(ideas, first=True)
    _, took_s = on_a_skipping_clock(pool.run())
    last = max(at for at, n in areas if n == WIDTH)
    parts = [(min(b, last) - a) * n for (a, n), (b, _) in pairwise(areas) if a < last]
    return took_s, sum(parts) / last


def test_the_server_is_kept_busy_without_barriers() -> None:
    took_s, mean_in_flight = _served(2000, ideas_per_list=10)
    at_best_s = _list_schedule_s(_latencies(200, 0.2) + _latencies(2000, 0.5))
    assert mean_in_flight >= 0.99 * WIDTH
    assert took_s / at_best_s <= 1.03


def test_progress_can_be_read_while_it_runs() -> None:
    seen: list[tuple[int, int]] = []
    pool = Pool(1)

    async def piece() -> None:
        seen.append((pool.n_running, pool.n_waiting))

    work: list[Callable[[], Awaitable[None]]] = [piece] * 3
    for run in work:
        pool.add(run)
    asyncio.run(pool.run())
    assert seen == [(2, 2), (2, 1), (2, 0)]
