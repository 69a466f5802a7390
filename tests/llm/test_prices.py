"""Prices: as the kept library has them, the user's own before them, and unknown where nobody knows."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from genai_prices import Usage as Counted
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError, MissingError
from midspec.llm import Outcome, Price, Prices, Request, Store, Usage

MILLION = 1_000_000


def _kept_models() -> list[str]:
    """Every model of both providers that the library prices by the token."""
    found = []
    for provider in get_snapshot().providers:
        for model in provider.models if provider.id in ("anthropic", "openai") else ():
            try:
                price = calc_price(Counted(input_tokens=1), model.id, provider_id=provider.id).model_price
            except LookupError:  # Some entries (`ft:gpt-4o`) are patterns and no names.
                continue
            if price.input_mtok is not None and price.output_mtok is not None:
                found.append(f"{provider.id}/{model.id}")
    return found


MODELS = _kept_models()
TOKENS = st.integers(0, 400_000)
USAGE = st.builds(Usage, n_input=TOKENS, n_cache_read=TOKENS, n_cache_write=TOKENS, n_output=TOKENS)


def _by_the_library(model: str, usage: Usage, **context: str) -> float:
    provider, _, name = model.partition("/")
    counted = Counted(
        input_tokens=usage.n_input + usage.n_cache_read + usage.n_cache_write,
        cache_read_tokens=usage.n_cache_read,
        cache_write_tokens=usage.n_cache_write,
        output_tokens=usage.n_output,
    )
    return float(calc_price(counted, name, provider_id=provider, price_context=context or None).total_price)


def test_the_library_knows_many_models() -> None:
    assert len(MODELS) > 20


@given(model=st.sampled_from(MODELS), usage=USAGE)
def test_a_cost_is_what_the_library_itself_makes_of_it(model: str, usage: Usage) -> None:
    assert Prices().cost(model, usage) == pytest.approx(_by_the_library(model, usage), abs=1e-12)


@pytest.mark.parametrize("n_input", [199_999, 200_000, 200_001])
def test_the_length_from_which_a_token_costs_more_is_the_librarys(n_input: int) -> None:
    model, usage = "anthropic/claude-sonnet-4-5", Usage(n_input=n_input, n_output=1000)
    assert Prices().cost(model, usage) == pytest.approx(_by_the_library(model, usage))


@given(model=st.sampled_from(MODELS), usage=USAGE)
def test_a_batch_costs_what_the_library_says_and_else_one_half(model: str, usage: Usage) -> None:
    plain, batch = _by_the_library(model, usage), _by_the_library(model, usage, processing="batch")
    found = Prices().cost(model, usage, batch=True)
    assert found == pytest.approx(batch) or found == pytest.approx(plain / 2)
    assert found <= plain * (1 + 1e-9)  # rounding


def test_an_unknown_price_is_none_and_never_zero() -> None:
    prices = Prices()
    for model in ("openai/our-own-model", "anthropic/no-such-thing", "openai/"):
        assert prices.cost(model, Usage()) is None
        assert prices.cost(model, Usage(n_input=MILLION), batch=True) is None


def test_a_server_of_ones_own_has_no_known_price_whatever_its_model_is_called() -> None:
    usage = Usage(n_input=MILLION)
    assert Prices(base_url="http://127.0.0.1:8000/v1").cost("openai/gpt-5", usage) is None
    assert Prices(base_url="https://api.openai.com/v1").cost("openai/gpt-5", usage) == Prices().cost(
        "openai/gpt-5", usage
    )
    own = Prices({"openai/gpt-5": Price(input=0.5, output=1)}, base_url="http://127.0.0.1:8000/v1")
    assert own.cost("openai/gpt-5", usage) == 0.5


def test_a_table_may_name_a_model_without_its_provider() -> None:
    table = {"gpt-5": Price(input=0.5, output=1), "openai/gpt-oss-20b": Price(input=2, output=2)}
    usage = Usage(n_input=MILLION)
    assert Prices(table).cost("openai/gpt-5", usage) == 0.5
    assert Prices({**table, "openai/gpt-5": Price(input=3, output=1)}).cost("openai/gpt-5", usage) == 3.0
    assert Prices(table).cost("openai/openai/gpt-oss-20b", usage) == 2.0
    assert Prices(table).cost("openai/ft:gpt-5", usage) is None


def test_a_server_that_the_library_knows_has_that_servers_prices() -> None:
    usage = Usage(n_input=1000, n_output=1000)
    name, url = "anthropic/claude-sonnet-4.5", "https://openrouter.ai/api/v1"
    counted = Counted(input_tokens=1000, output_tokens=1000)
    expected = float(calc_price(counted, name, provider_api_url=url).total_price)
    assert Prices(base_url=url).cost(f"openai/{name}", usage) == pytest.approx(expected)
    assert Prices().cost(f"openai/{name}", usage) is None


def test_the_users_table_comes_first(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(
        "openai/gpt-5: {input: 1, output: 4, cache_read: 0.1, cache_write: 1.25}\n"
        "openai/mine: {input: 2.0, output: 3}\n"
    )
    prices = Prices.load(str(table))
    million_each = Usage(n_input=MILLION, n_cache_read=MILLION, n_cache_write=MILLION, n_output=MILLION)
    assert prices.cost("openai/gpt-5", million_each) == pytest.approx(1 + 0.1 + 1.25 + 4)
    assert prices.cost("openai/gpt-5", million_each, batch=True) == pytest.approx((1 + 0.1 + 1.25 + 4) / 2)
    # Tokens of the cache cost as others do where the table does not say.
    assert prices.cost("openai/mine", million_each) == pytest.approx(2 + 2 + 2 + 3)
    assert prices.cost("anthropic/claude-opus-4-1", million_each) == Prices().cost(
        "anthropic/claude-opus-4-1", million_each
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("openai/m: {input: 1}", "openai/m: output"),
        ("openai/m: {input: -1, output: 1}", "openai/m: input"),
        ("openai/m: {input: 1, output: .nan}", "openai/m: output"),
        ("openai/m: {input: 1, output: 1, cached: 2}", "openai/m: cached"),
        ("openai/m: {input: 1, output: cheap}", "openai/m: output"),
        ("openai/m: 3", "openai/m"),
        ("- openai/m", ""),
        ("", ""),
        ("openai/m: {input: 1", ""),
        ("\0", ""),
    ],
)
def test_a_wrong_table_is_refused_by_file_and_field_in_one_line(tmp_path: Path, text: str, where: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Prices.load(table)
    assert str(caught.value).startswith(f"{table}: {where}" if where else f"{table}:")
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"prices\.yaml"):
        Prices.load(tmp_path / "prices.yaml")


def test_the_library_is_loaded_only_for_a_price_that_the_table_does_not_have() -> None:
    code = (
        "import sys\nfrom midspec.llm import Outcome, Price, Prices, Request, Store, Usage\n"
        "prices = Prices({'openai/m': Price(input=1, output=1)})\n"
        "assert prices.cost('openai/m', Usage(n_input=1)) is not None\n"
        "assert not {'genai_prices', 'openai', 'anthropic', 'aiohttp', 'httpx'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# A year around the day on which the library's data were made, to the minute.
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda at: at.replace(second=7, tzinfo=UTC))


@given(model=st.sampled_from(MODELS), usage=USAGE, at=MOMENTS, batch=st.booleans())
def test_a_request_costs_what_the_library_says_for_its_own_time(
    model: str, usage: Usage, at: datetime, batch: bool
) -> None:
    provider, _, name = model.partition("/")
    counted = Counted(
        input_tokens=usage.n_input + usage.n_cache_read + usage.n_cache_write,
        cache_read_tokens=usage.n_cache_read,
        cache_write_tokens=usage.n_cache_write,
        output_tokens=usage.n_output,
    )

    def by_the_library(**context: str) -> float:
        price = calc_price(
            counted, name, provider_id=provider, genai_request_timestamp=at, price_context=context or None
        )
        return float(price.total_price)

    found = Prices().cost(model, usage, batch=batch, at=at.timestamp())
    wanted = [by_the_library(processing="batch"), by_the_library() / 2] if batch else [by_the_library()]
    assert any(found == pytest.approx(usd, abs=1e-12) for usd in wanted)


@pytest.mark.parametrize(
    ("at", "usd"), [(datetime(2026, 2, 1, tzinfo=UTC), 10.0), (datetime(2026, 9, 1, tzinfo=UTC), 5.0)]
)
def test_the_price_of_a_long_prompt_changed_in_the_year(at: datetime, usd: float) -> None:
    found = Prices().cost("anthropic/claude-opus-4-6", Usage(n_input=MILLION), at=at.timestamp())
    assert found == pytest.approx(usd)


def test_a_run_over_the_end_of_a_cheap_hour_pays_each_request_at_its_own_price() -> None:
    prices = Prices(base_url="https://api.deepseek.com")
    by_hour = {}
    for hour in range(24):
        at = datetime(2025, 3, 10, hour, 45, tzinfo=UTC)
        counted = calc_price(
            Counted(input_tokens=MILLION), "deepseek-chat", provider_id="deepseek", genai_request_timestamp=at
        )
        found = prices.cost("openai/deepseek-chat", Usage(n_input=MILLION), at=at.timestamp())
        assert found == pytest.approx(float(counted.total_price))
        by_hour[hour] = found
    assert len(set(by_hour.values())) == 2


def test_what_was_asked_before_its_price_was_known_is_priced_by_the_day_it_was_asked(tmp_path: Path) -> None:
    asked = Request(task="t", stage="s", prompt="p", max_tokens=5)
    with Store(tmp_path / "s") as store:
        attempt = store.open(asked, "anthropic/claude-opus-4-6", "author", "{}")
        store.close(attempt, Outcome(kind="ok", text="x", usage=Usage(n_input=MILLION)))
        store._run("UPDATE attempts SET sent_at = ?", (datetime(2026, 2, 1, tzinfo=UTC).timestamp(),))
        store.price(Prices().cost)
        assert store.spent_usd() == pytest.approx(10.0)
