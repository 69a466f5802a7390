"""The limit that finds itself, against a server that has one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.loopback import Served, Settings, serve

from midspec.llm import Access, Outcome, Pool, Store
from midspec.llm._limit import Limited
from midspec.llm._openai import OpenAIClient
from midspec.llm._retry import Retrying

from .outside import OPENAI, Seen, answering, said, wish, wrong


def run_all(served: Served, n: int, wanted: int) -> tuple[list[Outcome], float, Limited]:
    outcomes: list[Outcome] = []

    async def run() -> tuple[float, Limited]:
        limited = Limited(OpenAIClient(OPENAI, Access(base_url=served.openai_url)), wanted)
        client = Retrying(limited, where="openai/tiny", patience_s=60)
        pool = Pool(wanted)

        async def one(number: int) -> None:
            outcomes.append(await client.ask(wish(f"t{number}")))

        for number in range(n):
            pool.add(lambda number=number: one(number))  # type: ignore[misc]
        started = time.monotonic()
        await pool.run()
        seconds = time.monotonic() - started
        await client.close()
        return seconds, limited

    seconds, limited = asyncio.run(run())
    return outcomes, seconds, limited


def test_a_server_that_takes_a_tenth_of_what_is_wanted_loses_nothing_and_is_kept_busy() -> None:
    settings = Settings(median_document_s=0.06, sigma=0.2, max_in_flight=8, retry_after_s=0.2)
    with serve(settings) as served:
        outcomes, seconds, limited = run_all(served, 240, 60)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 240
        carried_s = sum(row["done"] - row["at"] for row in served.log if row["status"] == 200) / 8
        assert seconds / carried_s < 1.25
        assert limited.limit <= 9
        # The first burst is one cut; after it the limit is tried now and then only.
        rejected = [row for row in served.log if row["status"] == 429]
        assert len(rejected) < 52 + 30


def test_a_lone_rejection_stops_nobody_else_and_is_forgotten() -> None:
    with serve(Settings(median_document_s=0.03, sigma=0.1, fates=("ok",) * 30 + ("429",), retry_after_s=0.4)) as served:
        outcomes, _, limited = run_all(served, 250, 10)
        assert len(outcomes) == 250
        assert limited.limit == 10
        rejected = next(row for row in served.log if row["status"] == 429)
        meanwhile = [row for row in served.log if 0.0 < row["at"] - rejected["at"] < 0.3]
        assert len(meanwhile) > 25


def test_when_nothing_succeeds_everybody_waits() -> None:
    def answer(seen: Seen) -> object:
        return wrong(429, "wait", Retry_After="0.5") if seen.number < 6 else said("Yes.")

    async def run() -> list[float]:
        times: list[float] = []

        def timed(seen: Seen) -> object:
            times.append(time.monotonic())
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
    fates = ("429",) * 25
    with serve(Settings(median_document_s=0.01, sigma=0.1, fates=fates, retry_after_s=0.02)) as served:
        outcomes, _, limited = run_all(served, 300, 20)
        assert len(outcomes) == 300
        assert limited.limit == 20


def test_no_more_are_in_flight_than_are_wanted(tmp_path: Path) -> None:
    with serve(Settings(median_document_s=0.02)) as served, Store(tmp_path / "s"):
        run_all(served, 200, 7)
        assert max(row["in_flight"] for row in served.log) == 6


def test_200_are_in_flight_when_200_are_wanted() -> None:
    with serve(Settings(median_document_s=0.6, sigma=0.05)) as served:
        run_all(served, 300, 200)
        assert max(row["in_flight"] for row in served.log) == 199


def test_one_who_stops_waiting_takes_no_room() -> None:
    async def run() -> int:
        with serve(Settings(median_document_s=0.05, sigma=0.0)) as served:
            client = Limited(OpenAIClient(OPENAI, Access(base_url=served.openai_url)), 1)
            tasks = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(4)]
            await asyncio.sleep(0.02)
            tasks[0].cancel()
            tasks[2].cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(outcome, asyncio.CancelledError) for outcome in done] == [True, False, True, False]
            await client.close()
            return client.n_out

    assert asyncio.run(run()) == 0


def test_a_stop_sends_nothing_more_and_drains() -> None:
    async def run() -> None:
        with serve(Settings(median_document_s=0.1, sigma=0.0)) as served:
            client = Limited(OpenAIClient(OPENAI, Access(base_url=served.openai_url)), 3)
            tasks = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(9)]
            await asyncio.sleep(0.05)
            client.stop()
            await client.drained()
            await asyncio.sleep(0.05)
            assert [task.done() for task in tasks] == [True] * 3 + [False] * 6
            assert len(served.log) == 3
            for task in tasks[3:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

    asyncio.run(run())


@pytest.mark.parametrize("n_server", [1, 5])
def test_small_servers_are_found_too(n_server: int) -> None:
    settings = Settings(median_document_s=0.01, sigma=0.1, max_in_flight=n_server, retry_after_s=0.05)
    with serve(settings) as served:
        outcomes, _, limited = run_all(served, 60, 30)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 60
        assert limited.limit <= n_server + 1
