"""What was asked and spent, by stage, against what was forecast."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from midspec.llm._forecast import Forecast, ForecastRow
from midspec.llm._prices import Prices
from midspec.llm._types import Usage
from midspec.records import Strict

__all__ = ["Against", "LedgerRow", "Lost", "against", "estimate_usd"]


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


class Against(Strict):
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


def against(rows: Iterable[LedgerRow], expected: Forecast) -> tuple[Against, ...]:
    """What was spent beside what was forecast: the stages of the forecast in order, then those it did not have."""
    by_stage: dict[str, list[LedgerRow]] = {row.stage: [] for row in expected.rows}
    for row in rows:
        by_stage.setdefault(row.stage, []).append(row)
    foreseen = {row.stage: row for row in expected.rows}
    return tuple(_against(stage, spent, foreseen.get(stage)) for stage, spent in by_stage.items())


def _against(stage: str, spent: list[LedgerRow], foreseen: ForecastRow | None) -> Against:
    costs = [row.cost_usd for row in spent]
    return Against(
        stage=stage,
        n_forecast=foreseen.n_requests if foreseen else 0,
        n_asked=sum(row.n_asked for row in spent),
        n_output_forecast=foreseen.n_output if foreseen else 0,
        n_output=sum(row.usage.n_output for row in spent),
        forecast_usd=foreseen.usd if foreseen else None,
        spent_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )
