"""Failures that pass, failures that stay, and what is left in the store of both."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.loopback import Fate, Served, Settings, serve

from midspec.core.errors import MidspecError
from midspec.llm import Access, Outcome, Request, Store, open_client
from midspec.llm._attempts import Limited
from midspec.llm._client import Retrying
from midspec.llm._errors import RetryableError
from midspec.llm.providers._openai import OpenAIClient

from .outside import OPENAI, Carrier, Seen, answering, on_a_skipping_clock, said, wish, wrong


def asked(served: Served, store: Store, n: int, **access: object) -> list[Outcome]:
    async def run() -> list[Outcome]:
        door = Access.model_validate({"base_url": served.openai_url, "deadline_s": 20.0, **access})
        async with open_client(OPENAI, door, store, role="author") as client:
            return list(await asyncio.gather(*(client.ask(wish(f"t{i}")) for i in range(n))))

    return asyncio.run(run())


@pytest.mark.parametrize("fate", ["500", "overloaded", "429", "reset", "error200"])
def test_a_failure_that_passes_loses_nothing(fate: Fate, tmp_path: Path) -> None:
    settings = Settings(fates=(fate, fate, "ok", fate), retry_after_s=0.1)
    with serve(settings) as served, Store(tmp_path / "s") as store:
        outcomes = asked(served, store, 4)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 4
        kinds = store.ledger()[0].kinds
        assert kinds["ok"] == 4
        # What broke on the way may have been billed once the server has answered anybody; an error status was not.
        assert (
            kinds.get("timed_out", 0) + kinds.get("again", 0) == 3
            if fate == "reset"
            else kinds == {"ok": 4, "again": 3}
        )
        assert len(served.log) == 7


def test_what_will_never_be_taken_is_asked_once(tmp_path: Path) -> None:
    with serve(Settings(fates=("invalid",))) as served, Store(tmp_path / "s") as store:
        (outcome,) = asked(served, store, 1)
        assert outcome.kind == "failed"
        assert len(served.log) == 1
        (again,) = asked(served, store, 1)
        assert (again.kind, len(served.log)) == ("failed", 1)


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    with serve(Settings(fates=("429",), retry_after_s=0.7)) as served, Store(tmp_path / "s") as store:
        asked(served, store, 1)
        first, second = served.log
        assert second["at"] - first["at"] >= 0.7


def test_more_failures_than_any_fixed_count_lose_nothing() -> None:
    async def run() -> tuple[Outcome, int]:
        async with answering(lambda seen: said("Yes.") if seen.number >= 40 else wrong(500, "no")) as small:
            client = Retrying(
                OpenAIClient(OPENAI, small.access()),
                where="openai/tiny",
                patience_s=60,
                first_pause_s=0.001,
                longest_pause_s=0.01,
            )
            try:
                return await client.ask(wish()), len(small.seen)
            finally:
                await client.close()

    assert asyncio.run(run())[0].kind == "ok"
    assert asyncio.run(run())[1] == 41


def test_a_run_in_which_nothing_succeeds_ends_in_one_line_that_says_what_the_server_says() -> None:
    async def run() -> int:
        async with answering(lambda _: wrong(503, "closed for the night")) as small:
            client = Retrying(
                OpenAIClient(OPENAI, small.access()), where="openai/tiny", patience_s=0.3, first_pause_s=0.01
            )
            try:
                with pytest.raises(MidspecError, match=r"closed for the night.*same command goes on") as caught:
                    await client.ask(wish())
            finally:
                await client.close()
            assert "\n" not in str(caught.value)
            return len(small.seen)

    assert asyncio.run(run()) >= 5


def test_an_address_where_nobody_answers_is_given_up_soon_and_named() -> None:
    async def run() -> None:
        access = Access(base_url="http://127.0.0.1:9/v1")
        provider = OpenAIClient(OPENAI, access)
        client = Retrying(
            provider, where="openai/tiny", url=provider.url, patience_s=600, first_pause_s=0.02, first_patience_s=0.1
        )
        try:
            await client.ask(wish())
        finally:
            await client.close()

    with pytest.raises(MidspecError, match=r"no connection to http://127.0.0.1:9/v1/.*Check the base URL"):
        asyncio.run(run())


def test_a_request_that_alone_always_fails_does_not_hold_the_run_for_ever() -> None:
    def answer(seen: Seen) -> object:
        return wrong(500, "poison") if "bad" in seen.body["messages"][0]["content"] else said("Yes.")

    async def run() -> tuple[Outcome, int]:
        async with answering(answer) as small:  # type: ignore[arg-type]
            client = Retrying(
                OpenAIClient(OPENAI, small.access()),
                where="openai/tiny",
                patience_s=0.3,
                first_pause_s=0.01,
                longest_pause_s=0.05,
            )
            bad = asyncio.create_task(client.ask(wish("bad")))
            n_good = 0
            while not bad.done():
                n_good += (await client.ask(wish("good"))).kind == "ok"
            await client.close()
            return bad.result(), n_good

    outcome, n_good = asyncio.run(run())
    assert outcome.kind == "timed_out"
    assert "poison" in outcome.note
    assert n_good > 5


def test_a_sleeping_retry_holds_no_slot() -> None:
    server = Carrier()

    class Failing:
        async def ask(self, request: Request) -> Outcome:
            if not server.came:
                server.came.append(request.task)
                raise RetryableError("500: later", wait_s=60.0)
            return await server.ask(request)

        async def close(self) -> None: ...

    async def run() -> None:
        client = Retrying(Limited(Failing(), 1), where="openai/tiny", patience_s=600)
        first = asyncio.create_task(client.ask(wish("first")))
        await asyncio.sleep(0.1)
        await asyncio.gather(*(client.ask(wish(f"t{i}")) for i in range(5)))
        assert not first.done()
        await first
        await client.close()

    on_a_skipping_clock(run())
    assert server.came == ["first", "t0", "t1", "t2", "t3", "t4", "first"]
