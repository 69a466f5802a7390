"""What was asked and spent, by stage, against what was forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import Field

from midspec.core.records import Strict
from midspec.llm._forecast import Forecast, ForecastRow
from midspec.llm._prices import Prices
from midspec.llm._types import Usage


class LedgerRow(Strict):
    """What one stage has asked of one model, and what came of it.

    Attributes:
        stage: the step of the method.
        duty: author or judge.
        model: as it is named in the configuration.
        n_asked: attempts that were sent and have an outcome.
        kinds: how many of them ended in each way: the kinds of outcome, and `again` for those that were repeated.
        usage: tokens of all attempts whose usage is known.
        cost_usd: what the priced attempts cost together; `None` where none of the billed ones has a price.
        n_unpriced: attempts that were or may have been billed, and whose price or usage is unknown.
        seconds: time from sending to outcome, summed over attempts.
        n_in_flight: attempts without an outcome: sent by a process that was killed, or not answered yet.
    """

    stage: str
    duty: str
    model: str
    n_asked: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    n_unpriced: int = 0
    seconds: float = 0.0
    n_in_flight: int = 0


class Lost(Strict):
    """Attempts of one stage that may have been billed and of which no usage is known, with an estimate of it.

    These are requests in flight when a process was killed, attempts that ran into their deadline, and replies of
    servers that count no tokens. A prompt token is taken to be four characters; a reply as long as the stage's mean,
    or as its cap where there is no mean yet.
    """

    stage: str
    duty: str
    model: str
    n: int
    n_input: int
    n_output: int


class SpendVsForecast(Strict):
    """One stage of a run beside its forecast; `None` where a price is unknown or the stage was not forecast.

    Attributes:
        stage: the step of the method.
        n_forecast: requests that were forecast.
        n_asked: attempts that were sent.
        n_output_forecast: tokens of replies that were forecast.
        n_output: tokens of replies.
        forecast_usd: the forecast without cache and batch.
        spent_usd: what was spent.
    """

    stage: str
    n_forecast: int
    n_asked: int
    n_output_forecast: int
    n_output: int
    forecast_usd: float | None
    spent_usd: float | None


def estimate_usd(lost: Iterable[Lost], prices: Prices) -> float | None:
    """What attempts without a known usage may have cost, in USD; `None` where a price is unknown."""
    total_usd = 0.0
    for row in lost:
        usage = Usage(n_input=row.n_input // row.n, n_output=row.n_output // row.n)
        cost_usd = prices.cost(row.model, usage)
        if cost_usd is None:
            return None
        total_usd += row.n * cost_usd
    return total_usd


def spend_vs_forecast(rows: Iterable[LedgerRow], expected: Forecast) -> tuple[SpendVsForecast, ...]:
    """What was spent beside what was forecast: the stages of the forecast in order, then those it did not have."""
    by_stage: dict[str, list[LedgerRow]] = {row.stage: [] for row in expected.rows}
    for row in rows:
        by_stage.setdefault(row.stage, []).append(row)
    foreseen = {row.stage: row for row in expected.rows}
    return tuple(_against(stage, spent, foreseen.get(stage)) for stage, spent in by_stage.items())


def _against(stage: str, spent: list[LedgerRow], foreseen: ForecastRow | None) -> SpendVsForecast:
    costs = [row.cost_usd for row in spent]
    return SpendVsForecast(
        stage=stage,
        n_forecast=foreseen.n_requests if foreseen else 0,
        n_asked=sum(row.n_asked for row in spent),
        n_output_forecast=foreseen.n_output if foreseen else 0,
        n_output=sum(row.usage.n_output for row in spent),
        forecast_usd=foreseen.usd if foreseen else None,
        spent_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


Run = Callable[..., Any]
Cost = Callable[[str, Usage, bool], float | None]
_CHARS_PER_TOKEN = 4

_LEDGER = (
    "SELECT stage, duty, model, sum(n), sum(n_input), sum(n_cache_read), sum(n_cache_write), sum(n_output),"
    " sum(cost_usd), sum(n_unpriced + n_blind), sum(seconds), sum(n * (kind NOT IN ('again', 'failed')))"
    " FROM totals WHERE kind != 'over_budget' AND n > 0 GROUP BY stage, duty, model"
)
_KINDS = "SELECT kind, n FROM totals WHERE stage = ? AND duty = ? AND model = ? AND kind != 'over_budget' AND n > 0"
_IN_FLIGHT = "SELECT stage, duty, model, count(*) FROM attempts WHERE kind IS NULL GROUP BY stage, duty, model"
_BLIND = "SELECT stage, duty, model, n_blind, blind_chars, blind_cap FROM totals WHERE n_blind > 0"
_MEANS = "SELECT stage, sum(n_output) / sum(n - n_blind) FROM totals WHERE kind = 'ok' AND n > n_blind GROUP BY stage"
_UNFINISHED = (
    "SELECT stage, duty, model, count(*), sum(n_chars), sum(max_tokens) FROM attempts"
    " WHERE kind IS NULL AND opening != ? AND (batch_id IS NULL OR batch_id NOT IN"
    " (SELECT batch_id FROM batches WHERE closed_at IS NULL)) GROUP BY stage, duty, model"
)
_UNPRICED = (
    "SELECT id, model, n_input, n_cache_read, n_cache_write, n_output, batch_id IS NOT NULL FROM attempts"
    " WHERE n_input IS NOT NULL AND cost_usd IS NULL AND kind NOT IN ('failed', 'again', 'over_budget')"
)


def read_ledger(run: Run) -> list[LedgerRow]:
    """What was asked and spent so far, in the order of stage, duty and model."""
    in_flight = {tuple(key): n for *key, n in run(_IN_FLIGHT)}
    rows = {row[:3]: row[3:] for row in run(_LEDGER).fetchall()}
    return [
        _ledger_row(key, rows.get(key, (0,) * 9), dict(run(_KINDS, key)), in_flight.get(key, 0))
        for key in sorted(rows.keys() | in_flight.keys())
    ]


def _ledger_row(key: tuple[str, ...], sums: tuple[Any, ...], kinds: dict[str, int], n_in_flight: int) -> LedgerRow:
    n, n_input, n_cache_read, n_cache_write, n_output, cost_usd, n_unpriced, seconds, n_billed = sums
    return LedgerRow(
        stage=key[0],
        duty=key[1],
        model=key[2],
        n_asked=n,
        kinds=kinds,
        usage=Usage(n_input=n_input, n_cache_read=n_cache_read, n_cache_write=n_cache_write, n_output=n_output),
        cost_usd=None if n_billed and n_unpriced == n_billed else cost_usd,
        n_unpriced=n_unpriced,
        seconds=seconds,
        n_in_flight=n_in_flight,
    )


def unfinished(run: Run, opening: int) -> list[tuple[Any, ...]]:
    """What other openings of the file have in flight (or had, when they were killed), summed."""
    return list(run(_UNFINISHED, (opening,)))


def read_lost(run: Run, elsewhere: Iterable[tuple[Any, ...]]) -> list[Lost]:
    """`elsewhere` and the attempts whose usage is unknown, as estimates."""
    blind = run(_BLIND).fetchall()
    means = dict(run(_MEANS)) if blind or elsewhere else {}
    sums: dict[tuple[str, ...], list[int]] = {}
    for *key, n, n_chars, cap in (*elsewhere, *blind):
        into = sums.setdefault(tuple(key), [0, 0, 0])
        n_output = min(cap, n * max(1, means[key[0]])) if key[0] in means else cap
        for index, value in enumerate((n, n_chars // _CHARS_PER_TOKEN, n_output)):
            into[index] += value
    return [
        Lost(stage=key[0], duty=key[1], model=key[2], n=n, n_input=n_input, n_output=n_output)
        for key, (n, n_input, n_output) in sorted(sums.items())
    ]


def price_rows(run: Run, cost: Cost) -> None:
    """Give a price to each row whose tokens are known, where `cost` now has one."""
    for attempt, model, n_input, n_cache_read, n_cache_write, n_output, batch in run(_UNPRICED).fetchall():
        usage = Usage(n_input=n_input, n_cache_read=n_cache_read, n_cache_write=n_cache_write, n_output=n_output)
        cost_usd = cost(model, usage, bool(batch))
        if cost_usd is not None:
            run("UPDATE attempts SET cost_usd = ? WHERE id = ?", (cost_usd, attempt))
