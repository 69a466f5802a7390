"""Batches: collected, handed in, waited for, and found again after a kill."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.loopback import Served, Settings, serve

from midspec.core.errors import ConfigError
from midspec.llm import Access, BatchEndpoint, BatchEntry, ModelConfig, Outcome, Prices, Request, Store, open_client
from midspec.llm._batch_client import BatchClient, BatchTiming
from midspec.llm._errors import BrokenReplyError
from midspec.llm._providers import provider_of
from midspec.llm.providers._anthropic import AnthropicBatches, AnthropicClient
from midspec.llm.providers._openai import OpenAIBatches, OpenAIClient

from .outside import ANTHROPIC, FORM, OPENAI, answering, wish, wrong

BOTH = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
PACE = BatchTiming(quiet_s=0.05, first_poll_s=0.05, longest_poll_s=0.2, patience_s=5.0)

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from midspec.llm import Access, ModelConfig, Request, Store
from midspec.llm import Prices
from midspec.llm._batch_client import BatchClient, BatchTiming
from midspec.llm._providers import provider_of

url, path, name, where = sys.argv[1:]
PACE = BatchTiming(quiet_s=0.05, first_poll_s=0.05, longest_poll_s=0.2, patience_s=5.0)

async def main():
    model, access = ModelConfig(model=name), Access(base_url=url)
    provider = provider_of(name)
    batches = provider.batch_builder()(provider.client(model, access))
    with Store(Path(path)) as store:
        client = BatchClient(batches, store, model, "author", Prices.load(None), timing=PACE)
        if where == "before":
            batches.submit = lambda *_: os._exit(9)
        elif where == "between":
            store.submitted = lambda *_: os._exit(9)
        else:
            batches.has_ended = lambda *_: os._exit(9)
        wishes = [Request(task=f"t{n}", stage="documents", prompt=f"Write t{n}.", max_tokens=4000) for n in range(20)]
        await asyncio.gather(*(client.ask(wish) for wish in wishes))

asyncio.run(main())
"""


def url_of(served: Served, model: ModelConfig) -> str:
    return served.url if model is ANTHROPIC else served.openai_url


def n_batches(served: Served) -> int:
    paths = served.provider.paths
    return paths["POST /v1/messages/batches"] + paths["POST /v1/batches"]


def endpoint_of(model: ModelConfig, access: Access) -> BatchEndpoint:
    provider = provider_of(model.model)
    return provider.batch_builder()(provider.client(model, access))


async def run_batched(
    served: Served, store: Store, requests: Sequence[Request], model: ModelConfig, batches: BatchEndpoint | None = None
) -> list[Outcome]:
    made = batches or endpoint_of(model, Access(base_url=url_of(served, model)))
    client = BatchClient(made, store, model, "author", Prices.load(None), timing=PACE)
    try:
        return list(await asyncio.gather(*(client.ask(request) for request in requests)))
    finally:
        await client.close()


def batched(served: Served, store: Store, requests: Sequence[Request], model: ModelConfig) -> list[Outcome]:
    return asyncio.run(run_batched(served, store, requests, model))


@BOTH
def test_a_batch_answers_all_and_replies_are_matched_by_id(model: ModelConfig, tmp_path: Path) -> None:
    wishes = [wish(f"t{i}", form=FORM if i % 2 else None, prefix="The spec.") for i in range(30)]
    with serve(Settings(batch_delay_s=0.2)) as served, Store(tmp_path / "s") as store:
        outcomes = batched(served, store, wishes, model)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 30
        assert n_batches(served) == 1
        # The provider gives the replies back to front; JSON came where JSON was asked.
        assert [outcome.text.startswith("{") for outcome in outcomes] == [bool(i % 2) for i in range(30)]
        assert store.open_batches() == []
        assert store.ledger()[0].kinds == {"ok": 30}


@BOTH
def test_nothing_is_asked_one_by_one(model: ModelConfig, tmp_path: Path) -> None:
    with serve() as served, Store(tmp_path / "s") as store:
        batched(served, store, [wish(f"t{i}") for i in range(5)], model)
        assert not served.provider.paths.keys() & {"POST /v1/messages", "POST /v1/chat/completions"}


@BOTH
def test_custom_ids_are_short_and_plain(model: ModelConfig, tmp_path: Path) -> None:
    with serve() as served, Store(tmp_path / "s") as store:
        batched(served, store, [wish("a title: " * 50)], model)
        sent = json.dumps([row["body"] for row in served.last])
        (custom_id,) = {part.split('"')[0] for part in sent.replace("\\", "").split('custom_id":"')[1:]} or {""}
    if model is OPENAI:
        assert len(custom_id) <= 64
        assert custom_id.replace("-", "").isalnum()


def test_a_batch_costs_half(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("{openai/tiny: {input: 1000000, output: 1000000}}")

    async def run(served: Served, store: Store, *, batch: bool) -> float:
        access = Access(base_url=served.openai_url, batch=batch, prices=str(prices))
        async with open_client(OPENAI, access, store, role="author") as client:
            await client.ask(wish())
        return store.spent_usd()

    with serve() as served:
        with Store(tmp_path / "one") as store:
            one_usd = asyncio.run(run(served, store, batch=False))
        with Store(tmp_path / "many") as store:
            many_usd = asyncio.run(run(served, store, batch=True))
    assert one_usd > 0
    assert many_usd / one_usd == pytest.approx(0.5, rel=0.1)


@BOTH
def test_of_an_expired_batch_only_what_is_missing_is_handed_in_again(model: ModelConfig, tmp_path: Path) -> None:
    wishes = [wish(f"t{i}") for i in range(40)]
    with serve(Settings(batch_expired=0.4)) as served, Store(tmp_path / "s") as store:
        outcomes = batched(served, store, wishes, model)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 40
        assert n_batches(served) > 1
        answered = Counter(row["sha"] for row in served.log if row["fate"] == "ok")
        assert set(answered.values()) == {1}
        n_expired = sum(row["fate"] == "expired" for row in served.log)
        assert store.ledger()[0].kinds == {"ok": 40, "again": n_expired}


@BOTH
def test_entries_that_fail_are_told_apart(model: ModelConfig, tmp_path: Path) -> None:
    settings = Settings(fates=("500", "invalid", "refused", "truncated", "ok", "ok"))
    with serve(settings) as served, Store(tmp_path / "s") as store:
        outcomes = batched(served, store, [wish(f"t{i}") for i in range(6)], model)
        kinds = Counter(outcome.kind for outcome in outcomes)
        assert kinds == {"ok": 3, "failed": 1, "refused": 1, "truncated": 1}
        assert len(served.log) == 7


@BOTH
@pytest.mark.parametrize("where", ["before", "between", "after"])
def test_a_kill_around_the_handing_in_pays_once(model: ModelConfig, where: str, tmp_path: Path) -> None:
    with serve(Settings(batch_delay_s=0.3)) as served:
        arguments = [url_of(served, model), str(tmp_path / "s"), model.model, where]
        killed = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], timeout=30, check=False)
        assert killed.returncode == 9
        assert n_batches(served) == (where != "before")
        with Store(tmp_path / "s") as store:
            assert len(store.open_batches()) == 1
            assert store.unmetered() == []
            outcomes = batched(served, store, [wish(f"t{i}") for i in range(25)], model)
            assert [outcome.kind for outcome in outcomes] == ["ok"] * 25
            assert store.open_batches() == []
            assert store.unmetered() == []
            assert store.ledger()[0].kinds["ok"] == 25
        assert set(Counter(row["sha"] for row in served.log).values()) == {1}


@BOTH
def test_replies_to_what_is_no_longer_asked_are_recorded_all_the_same(model: ModelConfig, tmp_path: Path) -> None:
    with serve(Settings(batch_delay_s=0.2)) as served:
        arguments = [url_of(served, model), str(tmp_path / "s"), model.model, "after"]
        subprocess.run([sys.executable, "-c", PROGRAM, *arguments], timeout=30, check=False)
        with Store(tmp_path / "s") as store:
            batched(served, store, [wish("t3")], model)
            assert store.ledger()[0].kinds == {"ok": 20}
        assert n_batches(served) == 1


@BOTH
def test_a_batch_whose_receipt_was_lost_is_found_and_not_paid_twice(model: ModelConfig, tmp_path: Path) -> None:
    async def run(served: Served, store: Store) -> list[Outcome]:
        access = Access(base_url=url_of(served, model))
        made: BatchEndpoint
        if model is OPENAI:
            made = _LosesReceiptsOpenAI(OpenAIClient(model, access))
        else:
            made = _LosesReceiptsAnthropic(AnthropicClient(model, access))
        return await run_batched(served, store, [wish(f"t{i}") for i in range(5)], model, made)

    with serve(Settings(batch_delay_s=0.1)) as served, Store(tmp_path / "s") as store:
        outcomes = asyncio.run(run(served, store))
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 5
        assert n_batches(served) == 1


class _LosesReceiptsOpenAI(OpenAIBatches):
    """The real endpoint over a line that breaks just before the receipt comes."""

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:
        await super().submit(entries, handle)
        raise BrokenReplyError("reset")


class _LosesReceiptsAnthropic(AnthropicBatches):
    """The real endpoint over a line that breaks just before the receipt comes."""

    async def submit(self, entries: Sequence[BatchEntry], handle: str) -> str:
        await super().submit(entries, handle)
        raise BrokenReplyError("reset")


def test_more_than_one_batch_takes_go_into_several(tmp_path: Path) -> None:
    class Small(OpenAIBatches):
        max_requests = 8

    async def run(served: Served, store: Store) -> list[Outcome]:
        made = Small(OpenAIClient(OPENAI, Access(base_url=served.openai_url)))
        return await run_batched(served, store, [wish(f"t{i}") for i in range(20)], OPENAI, made)

    with serve() as served, Store(tmp_path / "s") as store:
        outcomes = asyncio.run(run(served, store))
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 20
        assert n_batches(served) == 3


def test_a_server_without_batches_ends_the_run_and_nothing_falls_back(tmp_path: Path) -> None:
    async def run() -> int:
        async with answering(lambda _: wrong(404, "no such route")) as small:
            access = small.access(batch=True)
            with Store(tmp_path / "s") as store:
                async with open_client(ANTHROPIC, access, store, role="author") as client:
                    with pytest.raises(ConfigError, match="404"):
                        await client.ask(wish())
            return sum(seen.path == "/v1/messages" for seen in small.seen)

    assert asyncio.run(run()) == 0


def test_requests_of_two_duties_wait_for_their_own_batches(tmp_path: Path) -> None:
    async def run(served: Served, store: Store) -> None:
        batches = [endpoint_of(OPENAI, Access(base_url=served.openai_url)) for _ in range(2)]
        author = BatchClient(batches[0], store, OPENAI, "author", Prices.load(None), timing=PACE)
        judge = BatchClient(batches[1], store, OPENAI, "judge", Prices.load(None), timing=PACE)
        await asyncio.gather(author.ask(wish("a")), judge.ask(wish("b")))
        await author.close()
        await judge.close()

    with serve() as served, Store(tmp_path / "s") as store:
        asyncio.run(run(served, store))
        assert {(row.role, row.n_asked) for row in store.ledger()} == {("author", 1), ("judge", 1)}
