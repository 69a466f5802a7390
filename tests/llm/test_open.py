"""The whole chain."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.loopback import Served, Settings, serve

from midspec.core.errors import ConfigError
from midspec.llm import Access, ModelConfig, Outcome, Request, Store, open_client

from .outside import ANTHROPIC, FORM, OPENAI, wish

KEY = "sk-secret-0123456789"
PRICES = "{openai/tiny: {input: 1000000, output: 1000000, cache_read: 1000000, cache_write: 1000000}}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "calls.sqlite") as opened:
        yield opened


def asked(
    served: Served, store: Store, *requests: Request, model: ModelConfig = OPENAI, **more: object
) -> list[Outcome]:
    async def run() -> list[Outcome]:
        url = served.url if model.model.startswith("anthropic/") else served.openai_url
        access = Access.model_validate({"base_url": url, **more})
        async with open_client(model, access, store, role="author") as client:
            return list(await asyncio.gather(*(client.ask(request) for request in requests)))

    return asyncio.run(run())


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_both_protocols_answer_and_nothing_answered_is_asked_again(model: ModelConfig, store: Store) -> None:
    wishes = [wish(f"t{i}", form=FORM if i % 2 else None) for i in range(20)]
    with serve() as served:
        first = asked(served, store, *wishes, model=model)
        n_asked = len(served.log)
        again = asked(served, store, *wishes, model=model)
        assert [outcome.kind for outcome in first] == ["ok"] * 20
        assert [outcome.text for outcome in again] == [outcome.text for outcome in first]
        assert len(served.log) == n_asked == 20


def test_two_draws_of_one_prompt_are_two_rows(store: Store) -> None:
    with serve() as served:
        asked(served, store, wish("a", prompt="Write."), wish("b", prompt="Write."))
        assert len(served.log) == 2
        assert store.ledger()[0].n_asked == 2


def test_every_attempt_is_a_row_with_usage_and_cost(store: Store, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(PRICES)
    with serve(Settings(fates=("500", "truncated"))) as served:
        (outcome,) = asked(served, store, wish(), prices=str(tmp_path / "prices.yaml"))
    assert outcome.kind == "truncated"
    assert outcome.usage is not None
    n_tokens = outcome.usage.n_input + outcome.usage.n_output
    assert outcome.cost_usd == pytest.approx(n_tokens)
    assert store.spent_usd() == pytest.approx(n_tokens)
    assert store.ledger()[0].kinds == {"again": 1, "truncated": 1}


def test_an_unknown_price_is_never_nothing(store: Store) -> None:
    with serve() as served:
        (outcome,) = asked(served, store, wish())
    assert outcome.cost_usd is None
    assert store.unpriced() == 1


def test_of_everything_that_goes_wrong_every_request_ends_as_an_outcome(store: Store) -> None:
    settings = Settings(
        median_document_s=0.01,
        rate_500=0.05,
        rate_reset=0.03,
        rate_429=0.03,
        rate_overloaded=0.02,
        rate_error200=0.02,
        rate_truncated=0.05,
        rate_refused=0.05,
        rate_filtered=0.05,
        rate_empty=0.05,
        rate_invalid=0.05,
        retry_after_s=0.05,
    )
    with serve(settings) as served:
        outcomes = asked(served, store, *(wish(f"t{i}") for i in range(300)))
        kinds = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in {o.kind for o in outcomes}}
    assert sum(kinds.values()) == 300
    assert set(kinds) == {"ok", "truncated", "refused", "filtered", "unparsable", "failed"}
    settled = {kind: n for kind, n in store.ledger()[0].kinds.items() if kind not in {"again", "timed_out"}}
    assert settled == kinds


def test_a_wrong_key_ends_the_run_and_the_key_is_nowhere(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serve(Settings(key="another")) as served, pytest.raises(ConfigError) as caught:
        asked(served, store, wish())
    assert KEY not in f"{caught.value!r} {caught.value} {caplog.text}"


def test_the_key_is_in_no_file_of_a_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(Settings(key=KEY, fates=("500", "invalid", "ok"))) as served:
        asked(served, store, *(wish(f"t{i}") for i in range(5)))
        assert any(KEY in str(row["headers"]) for row in served.last)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_a_server_that_takes_nothing_at_all_ends_the_run_and_no_document_is_given_up(store: Store) -> None:
    wishes = [wish(f"t{i}") for i in range(40)]
    with serve(Settings(rate_invalid=1.0)) as served:
        with pytest.raises(ConfigError, match="takes none of the requests"):
            asked(served, store, *wishes, concurrency=5)
        assert len(served.log) < 20
    with serve() as served:
        outcomes = asked(served, store, *wishes)
    assert [outcome.kind for outcome in outcomes].count("ok") >= 36


def test_a_missing_key_ends_the_run_before_anything_is_sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, variable in ((OPENAI, "OPENAI_API_KEY"), (ANTHROPIC, "ANTHROPIC_API_KEY")):
        monkeypatch.delenv(variable, raising=False)

        async def run(model: ModelConfig = model) -> None:
            async with open_client(model, Access(), store, role="author"):
                pass

        with pytest.raises(ConfigError, match=variable):
            asyncio.run(run())


def test_a_row_is_there_before_its_request_is_sent(store: Store, tmp_path: Path) -> None:
    async def run(url: str) -> list[tuple[str, str | None]]:
        async with open_client(OPENAI, Access(base_url=url), store, role="author") as client:
            task = asyncio.create_task(client.ask(wish()))
            await asyncio.sleep(0.2)
            with sqlite3.connect(tmp_path / "calls.sqlite") as reader:
                rows = list(reader.execute("SELECT task, kind FROM attempts"))
            reader.close()
            await task
            return rows

    with serve(Settings(median_document_s=0.5, sigma=0.0)) as served:
        assert asyncio.run(run(served.openai_url)) == [("t", None)]
