"""The first call of a prefix goes alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.loopback import Settings, serve

from midspec.core.errors import MidspecError
from midspec.llm import Access, ModelConfig, Request, Store, open_client
from midspec.llm._client import PrefixFirst
from midspec.llm.providers._openai import OpenAIClient

from .outside import ANTHROPIC, OPENAI, Carrier, answering, on_a_skipping_clock, said, wish, wrong

SPEC = "The model is honest and says so. " * 400


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_of_what_could_be_read_from_the_cache_nearly_all_is(model: ModelConfig, tmp_path: Path) -> None:
    async def run(url: str, store: Store) -> None:
        async with open_client(model, Access(base_url=url, concurrency=20), store, role="author") as client:
            wishes = [wish(f"t{i}", prefix=SPEC) for i in range(100)]
            await asyncio.gather(*(client.ask(request) for request in wishes))

    with serve(Settings(median_document_s=0.05)) as served, Store(tmp_path / "s") as store:
        asyncio.run(run(served.url if model is ANTHROPIC else served.openai_url, store))
        n_read, n_shareable = (sum(row[name] for row in served.log) for name in ("n_cached", "n_shareable"))
        assert n_shareable > 99 * len(SPEC) // 4 * 0.9
        assert n_read / n_shareable >= 0.95
        assert sum(row["in_flight"] == 0 for row in served.log[:2]) >= 1


def order(requests: list[Request], *, kept_s: float = 270.0, pause_s: float = 0.0) -> list[int]:
    """How many others were out when each request came to the server."""
    seen: list[int] = []

    def latency_s(_: Request) -> float:
        seen.append(server.n_in_hand - 1)
        return 0.05

    async def run() -> None:
        client = PrefixFirst(server, kept_s=kept_s)
        await asyncio.gather(*(client.ask(request) for request in requests))
        await asyncio.sleep(pause_s)
        await asyncio.gather(*(client.ask(request) for request in requests))
        await client.close()

    server = Carrier(latency_s)
    on_a_skipping_clock(run())
    return seen


def test_the_others_wait_for_the_first_answer_and_then_go_together() -> None:
    seen = order([wish(f"t{i}", prefix=SPEC) for i in range(5)])
    assert seen[:2] == [0, 0]
    assert sorted(seen[1:5]) == [0, 1, 2, 3]
    assert sorted(seen[5:]) == [0, 1, 2, 3, 4]


def test_prefixes_do_not_wait_for_each_other_nor_does_what_has_none() -> None:
    seen = order([wish("a", prefix="A" * 99), wish("b", prefix="B" * 99), wish("c")])
    assert sorted(seen[:3]) == [0, 1, 2]


def test_after_a_long_pause_one_goes_alone_again() -> None:
    seen = order([wish(f"t{i}", prefix=SPEC) for i in range(3)], kept_s=0.1, pause_s=0.2)
    assert seen[3:5] == [0, 0]
    assert sorted(seen[4:]) == [0, 1]


def test_a_first_one_that_fails_frees_the_others() -> None:
    async def run() -> list[str]:
        async with answering(lambda seen: wrong(400, "no") if seen.number == 0 else said("Yes.")) as small:
            client = PrefixFirst(OpenAIClient(OPENAI, small.access()))
            done = await asyncio.gather(*(client.ask(wish(f"t{i}", prefix=SPEC)) for i in range(3)))
            await client.close()
            return [outcome.kind for outcome in done]

    assert asyncio.run(run()) == ["failed", "ok", "ok"]


def test_a_first_one_that_hangs_holds_the_others_up_for_a_while_only() -> None:
    async def run() -> float:
        clock = asyncio.get_running_loop().time
        client = PrefixFirst(Carrier(lambda request: 6.0 if request.task == "first" else 0.01), longest_lead_s=1.0)
        first = asyncio.create_task(client.ask(wish("first", prefix=SPEC)))
        await asyncio.sleep(0)
        await asyncio.gather(*(client.ask(wish(f"t{i}", prefix=SPEC)) for i in range(3)))
        seconds = clock()
        await first
        await client.close()
        return seconds

    seconds, _ = on_a_skipping_clock(run())
    assert seconds == pytest.approx(1.01)


def test_a_first_one_that_ends_the_run_leaves_nobody_waiting() -> None:
    async def run() -> list[bool]:
        async with answering(lambda _: wrong(404, "no")) as small:
            client = PrefixFirst(OpenAIClient(OPENAI, small.access()))
            asked = (client.ask(wish(f"t{i}", prefix=SPEC)) for i in range(3))
            done = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
            await client.close()
            return [isinstance(error, MidspecError) for error in done]

    assert asyncio.run(run()) == [True] * 3
