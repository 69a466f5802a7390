"""Deadlines near the stage's own p99.9."""

from __future__ import annotations

import asyncio
import math
import random
from pathlib import Path

import pytest
from tests.loopback import Fate, Settings, serve
from tests.loopback._asked import Asked

from midspec.llm import Access, Outcome, Store, open_client
from midspec.llm._attempts import Timed
from midspec.llm._errors import DeadlineError
from midspec.llm._server import Deadlines, Silence

from .outside import OPENAI, Carrier, on_a_skipping_clock, wish


def taught(deadlines: Deadlines, stage: str, n: int, median_s: float, sigma: float, seed: int = 0) -> None:
    draw = random.Random(seed)
    for _ in range(n):
        deadlines.answered(stage, median_s * draw.lognormvariate(0.0, sigma), 1000)


def test_before_anything_is_known_the_longest_holds() -> None:
    assert Deadlines(600.0).seconds("documents", 1000) == 600.0


def test_with_many_samples_the_deadline_is_near_the_p999() -> None:
    deadlines = Deadlines(600.0)
    taught(deadlines, "documents", 2000, 5.0, 0.6)
    p999 = 5.0 * math.exp(3.09 * 0.6)
    assert p999 < deadlines.seconds("documents", 1000) < 2 * p999


def test_of_a_hundred_thousand_good_replies_hardly_one_is_killed() -> None:
    deadlines = Deadlines(600.0)
    taught(deadlines, "documents", 200, 5.0, 0.6)
    draw = random.Random(1)
    deadline_s = deadlines.seconds("documents", 1000)
    n_killed = sum(5.0 * draw.lognormvariate(0.0, 0.6) > deadline_s for _ in range(100_000))
    assert n_killed < 60


def test_a_deadline_is_never_under_a_second_nor_over_what_access_says() -> None:
    deadlines = Deadlines(20.0)
    taught(deadlines, "lists", 100, 0.01, 0.1)
    taught(deadlines, "documents", 100, 15.0, 0.6)
    assert deadlines.seconds("lists", 1000) == 1.0
    assert deadlines.seconds("documents", 1000) == 20.0


def test_a_new_stage_borrows_from_the_others_with_room_for_longer_replies() -> None:
    deadlines = Deadlines(600.0)
    taught(deadlines, "lists", 40, 0.2, 0.6)
    same, longer = deadlines.seconds("documents", 1000), deadlines.seconds("documents", 4000)
    assert deadlines.seconds("lists", 1000) < same < 60.0
    assert longer == pytest.approx(4 * same)


def test_a_server_that_becomes_slow_is_not_killed_for_ever() -> None:
    deadlines = Deadlines(600.0)
    taught(deadlines, "documents", 200, 1.0, 0.3)
    before_s = deadlines.seconds("documents", 1000)
    now = 0.0
    for _ in range(50):  # all in flight at once die once: one widening
        deadlines.late("documents", 0.0, now + before_s)
    assert deadlines.seconds("documents", 1000) == pytest.approx(2 * before_s)
    for _ in range(10):
        now += 100.0
        for _ in range(3):
            deadlines.late("documents", now, now + before_s)
    assert deadlines.seconds("documents", 1000) == 600.0


def test_a_lone_late_one_among_good_ones_widens_nothing() -> None:
    deadlines = Deadlines(600.0)
    taught(deadlines, "documents", 200, 1.0, 0.3)
    before_s = deadlines.seconds("documents", 1000)
    for number in range(20):
        deadlines.late("documents", float(number), float(number) + 1)
        deadlines.late("documents", float(number), float(number) + 1)
        deadlines.answered("documents", 1.0, 1000)
    assert deadlines.seconds("documents", 1000) < 1.2 * before_s


def test_a_hang_costs_one_deadline_and_is_asked_again(tmp_path: Path) -> None:
    def fate(asked: Asked) -> Fate | None:
        return "hang" if "t3." in asked.prompt and asked.n_before == 0 else None

    async def run(url: str, store: Store) -> list[Outcome]:
        access = Access(base_url=url, concurrency=10)
        async with open_client(OPENAI, access, store, role="author") as client:
            return list(await asyncio.gather(*(client.ask(wish(f"t{i}")) for i in range(60))))

    with serve(Settings(median_document_s=0.03, sigma=0.2), fate=fate) as served, Store(tmp_path / "s") as store:
        # The hang was sent before anything was known of the stage; what is known later holds for it too. Without that
        # it would last for the ten minutes of `access`.
        outcomes = asyncio.run(asyncio.wait_for(run(served.openai_url, store), 120))
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 60
        assert store.ledger()[0].kinds == {"ok": 60, "timed_out": 1}


def test_one_that_was_killed_gets_twice_the_time() -> None:
    async def run() -> list[float]:
        clock = asyncio.get_running_loop().time
        client = Timed(Carrier(lambda _: 1000.0), 600.0, Silence(""))
        taught(client.deadlines, "documents", 100, 0.01, 0.1)
        lives = []
        for _ in range(3):
            started = clock()
            with pytest.raises(DeadlineError):
                await client.ask(wish())
            lives.append(clock() - started)
        await client.close()
        return lives

    lives, _ = on_a_skipping_clock(run())
    # Overdue attempts are looked for ten times a second.
    assert lives == [pytest.approx(seconds, abs=0.11) for seconds in (1.0, 2.0, 4.0)]
