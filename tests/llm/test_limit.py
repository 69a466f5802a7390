"""The limit that finds itself, against a server that has one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from tests.loopback import Settings, serve

from midspec.generation import Pool
from midspec.llm import Access, Client, Outcome, Request
from midspec.llm._attempts import Limited
from midspec.llm._client import Retrying
from midspec.llm.providers._openai import OpenAIClient

from .outside import OPENAI, Carrier, Seen, answering, on_a_skipping_clock, said, wish, wrong


def drawn(median_s: float, sigma: float) -> Callable[[Request], float]:
    chance = random.Random(3)
    return lambda _: median_s * chance.lognormvariate(0.0, sigma)


async def run_all(server: Client, n: int, wanted: int) -> tuple[list[Outcome], Limited]:
    outcomes: list[Outcome] = []
    limited = Limited(server, wanted)
    client = Retrying(limited, where="openai/tiny", patience_s=60)
    pool = Pool(wanted)

    async def one(number: int) -> None:
        outcomes.append(await client.ask(wish(f"t{number}")))

    for number in range(n):
        pool.add(lambda number=number: one(number))  # type: ignore[misc]
    await pool.run()
    await client.close()
    return outcomes, limited


def test_a_server_that_takes_a_tenth_of_what_is_wanted_loses_nothing_and_is_kept_busy() -> None:
    server = Carrier(drawn(0.06, 0.2), most=8)
    (outcomes, limited), seconds = on_a_skipping_clock(run_all(server, 240, 60))
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 240
    assert seconds / (server.carried_s / 8) < 1.25
    assert limited.limit <= 9
    # The first burst is one cut; after it the limit is tried now and then only.
    assert server.n_rejected < 52 + 30


def test_a_real_server_that_takes_a_tenth_of_what_is_wanted_loses_nothing() -> None:
    settings = Settings(median_document_s=0.02, sigma=0.2, max_in_flight=8, retry_after_s=0.1)
    with serve(settings) as served:
        outcomes, _ = asyncio.run(run_all(OpenAIClient(OPENAI, Access(base_url=served.openai_url)), 240, 60))
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 240
        assert sum(row["status"] == 200 for row in served.log) == 240


def test_a_lone_rejection_stops_nobody_else_and_is_forgotten() -> None:
    server = Carrier(drawn(0.03, 0.1), retry_after_s=0.4, rejects=frozenset({30}))
    (outcomes, limited), _ = on_a_skipping_clock(run_all(server, 250, 10))
    assert len(outcomes) == 250
    assert limited.limit == 10
    # The rejected one comes again after 0.4 s; meanwhile the others go on.
    first, second = (number for number, task in enumerate(server.came) if task == server.came[30])
    assert (first, second - first > 50) == (30, True)


def test_when_nothing_succeeds_everybody_waits() -> None:
    def answer(seen: Seen) -> object:
        return wrong(429, "wait", Retry_After="0.5") if seen.number < 6 else said("Yes.")

    async def run() -> list[float]:
        times: list[float] = []

        def timed(seen: Seen) -> object:
            times.append(asyncio.get_running_loop().time())
            return answer(seen)

        async with answering(timed) as small:  # type: ignore[arg-type]
            client = Retrying(Limited(OpenAIClient(OPENAI, small.access()), 6), where="openai/tiny", patience_s=60)
            first = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(6)]
            await asyncio.sleep(0.2)
            later = [asyncio.create_task(client.ask(wish(f"late{i}"))) for i in range(6)]
            await asyncio.gather(*first, *later)
            await client.close()
        return [at - times[0] for at in times]

    times = asyncio.run(run())
    assert len(times) == 18
    assert all(at >= 0.5 for at in times[6:])


def test_the_limit_never_falls_below_one_and_comes_back() -> None:
    server = Carrier(drawn(0.01, 0.1), retry_after_s=0.02, rejects=frozenset(range(25)))
    (outcomes, limited), _ = on_a_skipping_clock(run_all(server, 300, 20))
    assert len(outcomes) == 300
    assert limited.limit == 20


def test_no_more_are_in_flight_than_are_wanted() -> None:
    server = Carrier(drawn(0.02, 0.6))
    on_a_skipping_clock(run_all(server, 200, 7))
    assert server.most_seen == 7


def test_200_are_in_flight_when_200_are_wanted() -> None:
    async def run() -> int:
        all_there = asyncio.Event()

        async def answer(seen: Seen) -> object:
            if seen.number == 199:
                all_there.set()
            await all_there.wait()
            return said("Yes.")

        async with answering(answer) as small:  # type: ignore[arg-type]
            server = OpenAIClient(OPENAI, small.access(deadline_s=120.0))
            outcomes, _ = await asyncio.wait_for(run_all(server, 300, 200), 120)
            return sum(outcome.kind == "ok" for outcome in outcomes)

    assert asyncio.run(run()) == 300


def test_one_who_stops_waiting_takes_no_room() -> None:
    async def run() -> int:
        client = Limited(Carrier(), 1)
        tasks = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(4)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        tasks[2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, asyncio.CancelledError) for outcome in done] == [True, False, True, False]
        await client.close()
        return client.n_out

    assert on_a_skipping_clock(run())[0] == 0


def test_a_stop_sends_nothing_more_and_drains() -> None:
    server = Carrier(lambda _: 0.1)

    async def run() -> None:
        client = Limited(server, 3)
        tasks = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(9)]
        await asyncio.sleep(0.05)
        client.stop()
        await client.drained()
        await asyncio.sleep(0.05)
        assert [task.done() for task in tasks] == [True] * 3 + [False] * 6
        assert len(server.came) == 3
        for task in tasks[3:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()

    on_a_skipping_clock(run())


@pytest.mark.parametrize("n_server", [1, 5])
def test_small_servers_are_found_too(n_server: int) -> None:
    server = Carrier(drawn(0.01, 0.1), most=n_server, retry_after_s=0.05)
    (outcomes, limited), _ = on_a_skipping_clock(run_all(server, 60, 30))
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 60
    assert limited.limit <= n_server + 1
