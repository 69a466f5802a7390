"""The forecast before a run, and the ledger beside it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.llm import (
    Forecast,
    Outcome,
    Price,
    Prices,
    Request,
    StageEstimate,
    Store,
    UnmeteredAttempts,
    Usage,
    estimate_usd,
    forecast,
    spend_vs_forecast,
)

MODEL = "openai/m"
PRICES = Prices({MODEL: Price(input=2, output=8, cache_read=0.2, cache_write=2.5)})
LOADS = (
    StageEstimate(stage="ideas", n_requests=1, prefix_tokens=5000, prompt_tokens=500, output_tokens=1000),
    StageEstimate(stage="documents", n_requests=1000, prefix_tokens=5000, prompt_tokens=500, output_tokens=3000),
)


def test_a_forecast_is_the_sum_of_its_tokens_at_their_prices() -> None:
    ideas, documents = forecast(LOADS, MODEL, PRICES).rows
    assert (documents.n_input, documents.n_shared, documents.n_output) == (5_500_000, 4_995_000, 3_000_000)
    assert documents.usd == pytest.approx(5.5 * 2 + 3 * 8)
    # The first request writes the prefix into the cache, the others read it there.
    assert documents.cached_usd == pytest.approx(0.5 * 2 + 0.005 * 2.5 + 4.995 * 0.2 + 3 * 8)
    assert documents.batch_usd == pytest.approx(documents.usd / 2)
    assert documents.batch_cached_usd == pytest.approx(documents.cached_usd / 2)
    # A stage of one request has nothing to read from a cache, and pays nothing to fill one.
    assert ideas.cached_usd == ideas.usd


def test_the_total_adds_up() -> None:
    found = forecast(LOADS, MODEL, PRICES)
    for name in ("n_requests", "n_input", "n_shared", "n_output", "usd", "cached_usd", "batch_usd", "batch_cached_usd"):
        assert getattr(found.total, name) == pytest.approx(sum(getattr(row, name) for row in found.rows))
    assert found.total.stage == "all"


def test_an_unknown_price_is_unknown_in_dollars_and_known_in_tokens() -> None:
    found = forecast(LOADS, "openai/own", Prices())
    assert found.total.n_output == 3_001_000
    assert found.total.usd is None
    assert {row.batch_cached_usd for row in found.rows} == {None}


def test_a_prefix_too_short_for_any_cache_saves_nothing() -> None:
    load = StageEstimate(stage="s", n_requests=10, prefix_tokens=1000, prompt_tokens=1, output_tokens=1)
    (row,) = forecast([load], MODEL, PRICES).rows
    assert row.n_shared == 0
    assert row.cached_usd == row.usd


TOKENS = st.integers(0, 50_000)
LOAD = st.builds(
    StageEstimate,
    stage=st.sampled_from(["a", "b"]),
    n_requests=st.integers(0, 1000),
    prefix_tokens=TOKENS,
    prompt_tokens=TOKENS,
    output_tokens=TOKENS,
)


@given(load=LOAD)
def test_a_forecast_is_what_its_requests_cost_one_by_one(load: StageEstimate) -> None:
    (row,) = forecast([load], MODEL, PRICES).rows
    usage = Usage(n_input=load.prefix_tokens + load.prompt_tokens, n_output=load.output_tokens)
    assert row.usd == pytest.approx(load.n_requests * PRICES.cost(MODEL, usage))
    assert row.batch_usd <= row.usd
    # Filling a cache costs a quarter more than it saves once: it pays from the second hit on.
    assert load.n_requests < 3 or row.cached_usd <= row.usd


def test_a_request_whose_price_depends_on_its_length_is_priced_alone() -> None:
    long = StageEstimate(stage="s", n_requests=3, prefix_tokens=250_000, prompt_tokens=0, output_tokens=0)
    short = long.model_copy(update={"prefix_tokens": 100_000})
    prices = Prices()
    dear, cheap = (forecast([load], "anthropic/claude-sonnet-4-5", prices).total.usd for load in (long, short))
    assert dear == pytest.approx(2 * 2.5 * cheap)  # twice the price a token beyond 200,000


def test_the_ledger_stands_beside_the_forecast(tmp_path: Path) -> None:
    expected = forecast(LOADS, MODEL, PRICES)
    with Store(tmp_path / "calls.sqlite") as store:
        for stage, cost_usd in (("documents", 0.02), ("documents", 0.03), ("verdicts", None)):
            request = Request(task="t", stage=stage, prompt="p", max_tokens=10)
            usage = Usage(n_input=10, n_output=20)
            outcome = Outcome(kind="ok", text="fine", usage=usage, cost_usd=cost_usd)
            store.close(store.open(request, MODEL, "author", "{}"), outcome)
        ideas, documents, verdicts = spend_vs_forecast(store.ledger(), expected)
    assert (ideas.stage, ideas.n_asked, ideas.spent_usd) == ("ideas", 0, 0)
    assert (documents.n_forecast, documents.n_asked, documents.n_output) == (1000, 2, 40)
    assert documents.forecast_usd == expected.rows[1].usd
    assert documents.spent_usd == pytest.approx(0.05)
    assert (verdicts.forecast_usd, verdicts.spent_usd) == (None, None)


def test_what_was_lost_is_estimated_in_dollars_or_not_at_all() -> None:
    lost = UnmeteredAttempts(stage="s", role="author", model=MODEL, n=2, n_input=1000, n_output=500)
    assert estimate_usd([lost], PRICES) == pytest.approx((1000 * 2 + 500 * 8) / 1e6)
    assert estimate_usd([], Prices()) == 0
    assert estimate_usd([lost, lost.model_copy(update={"model": "openai/own"})], PRICES) is None


def test_a_forecast_is_plain_data() -> None:
    found = forecast(LOADS, MODEL, PRICES)
    assert Forecast.model_validate_json(found.model_dump_json()) == found
