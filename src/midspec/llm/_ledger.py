"""What a run will ask and cost before anything is sent, and what it has asked and spent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field

from midspec.core.records import Strict
from midspec.llm._prices import Prices
from midspec.llm._types import Usage

_MIN_CACHED_TOKENS = 1024


class StageEstimate(Strict):
    """What one stage will ask; tokens are means of one request.

    Attributes:
        stage: the step of the method, as in `Request.stage`.
        n_requests: how many requests, if every reply is good.
        prefix_tokens: the part of the prompt that all of them share.
        prompt_tokens: the rest of the prompt.
        output_tokens: the reply, reasoning included.
    """

    stage: str
    n_requests: int = Field(ge=0)
    prefix_tokens: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class ForecastRow(Strict):
    """One stage (or all): its requests and tokens, and what they cost in four ways, in USD; `None` where unknown.

    Attributes:
        stage: the step of the method.
        n_requests: how many requests.
        n_input: prompt tokens, the shared prefix counted in every request.
        n_shared: how many of them are the prefix after its first use, which a cache can give.
        n_output: tokens of the replies.
        usd: without cache and batch.
        cached_usd: with the prefix read from the provider's cache after its first use.
        batch_usd: through the batch endpoint.
        batch_cached_usd: both, at best: providers promise no cache hits inside a batch.
    """

    stage: str
    n_requests: int
    n_input: int
    n_shared: int
    n_output: int
    usd: float | None
    cached_usd: float | None
    batch_usd: float | None
    batch_cached_usd: float | None


class Forecast(Strict):
    """What a run will ask of one model, by stage and in all, if every reply is good at once."""

    model: str
    rows: tuple[ForecastRow, ...]
    total: ForecastRow


def forecast(estimates: Iterable[StageEstimate], model: str, prices: Prices) -> Forecast:
    """Return what the stages would cost at `model`.

    Args:
        estimates: the stages, in order.
        model: `provider/name`.
        prices: what tokens cost.
    """
    rows = tuple(_forecast_row(stage, model, prices) for stage in estimates)
    counts = {
        name: sum(getattr(row, name) for row in rows) for name in ("n_requests", "n_input", "n_shared", "n_output")
    }
    costs = ("usd", "cached_usd", "batch_usd", "batch_cached_usd")
    sums = {name: _sum([getattr(row, name) for row in rows]) for name in costs}
    return Forecast(model=model, rows=rows, total=ForecastRow(stage="all", **counts, **sums))


def _forecast_row(estimate: StageEstimate, model: str, prices: Prices) -> ForecastRow:
    # Below this length no provider caches a prefix; every stage has its own first use.
    n_hits = max(0, estimate.n_requests - 1) if estimate.prefix_tokens >= _MIN_CACHED_TOKENS else 0
    n_prompt = estimate.prefix_tokens + estimate.prompt_tokens
    plain = Usage(n_input=n_prompt, n_output=estimate.output_tokens)
    hit = Usage(n_input=estimate.prompt_tokens, n_cache_read=estimate.prefix_tokens, n_output=estimate.output_tokens)
    first = Usage(n_input=estimate.prompt_tokens, n_cache_write=estimate.prefix_tokens, n_output=estimate.output_tokens)
    n_first = 1 if n_hits else 0

    def usd(n_plain: int, n_first: int, n_hits: int, *, batch: bool) -> float | None:
        # A request's price may depend on its length, so it is priced alone and multiplied.
        parts = ((n_plain, plain), (n_first, first), (n_hits, hit))
        each = [(n, prices.cost(model, usage, batch)) for n, usage in parts]
        return _sum([None if cost is None else n * cost for n, cost in each])

    return ForecastRow(
        stage=estimate.stage,
        n_requests=estimate.n_requests,
        n_input=estimate.n_requests * n_prompt,
        n_shared=n_hits * estimate.prefix_tokens,
        n_output=estimate.n_requests * estimate.output_tokens,
        usd=usd(estimate.n_requests, 0, 0, batch=False),
        cached_usd=usd(estimate.n_requests - n_first - n_hits, n_first, n_hits, batch=False),
        batch_usd=usd(estimate.n_requests, 0, 0, batch=True),
        batch_cached_usd=usd(estimate.n_requests - n_first - n_hits, n_first, n_hits, batch=True),
    )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


class LedgerRow(Strict):
    """What one stage has asked of one model, and what came of it.

    Attributes:
        stage: the step of the method.
        role: author or judge.
        model: as it is named in the configuration.
        n_asked: attempts that were sent and have an outcome.
        kinds: how many of them ended in each way: the kinds of outcome, and `again` for those that were repeated.
        usage: tokens of all attempts whose usage is known.
        cost_usd: what the priced attempts cost together; `None` where none of the billed ones has a price.
        n_unpriced: attempts that were or may have been billed, and whose price or usage is unknown.
        seconds: time from sending to outcome, summed over attempts.
        n_in_flight: attempts without an outcome: sent by a process that was killed, or not answered yet.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    stage: str
    # `duty` in files, and in the store's columns.
    role: str = Field(validation_alias=AliasChoices("role", "duty"), serialization_alias="duty")
    model: str
    n_asked: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    n_unpriced: int = 0
    seconds: float = 0.0
    n_in_flight: int = 0


class UnmeteredAttempts(Strict):
    """Attempts of one stage that may have been billed and of which no usage is known, with an estimate of it.

    These are requests in flight when a process was killed, attempts that ran into their deadline, and replies of
    servers that count no tokens. A prompt token is taken to be four characters; a reply as long as the stage's mean,
    or as its cap where there is no mean yet.
    """

    stage: str
    role: str
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


def estimate_usd(unmetered: Iterable[UnmeteredAttempts], prices: Prices) -> float | None:
    """Return what attempts without a known usage may have cost, in USD; `None` where a price is unknown."""
    total_usd = 0.0
    for row in unmetered:
        usage = Usage(n_input=row.n_input // row.n, n_output=row.n_output // row.n)
        cost_usd = prices.cost(row.model, usage)
        if cost_usd is None:
            return None
        total_usd += row.n * cost_usd
    return total_usd


def spend_vs_forecast(rows: Iterable[LedgerRow], expected: Forecast) -> tuple[SpendVsForecast, ...]:
    """Compare spending with the forecast: the stages of the forecast in order, then those it did not have."""
    by_stage: dict[str, list[LedgerRow]] = {row.stage: [] for row in expected.rows}
    for row in rows:
        by_stage.setdefault(row.stage, []).append(row)
    expected_rows = {row.stage: row for row in expected.rows}
    compared = []
    for stage, spent in by_stage.items():
        estimate = expected_rows.get(stage)
        costs = [row.cost_usd for row in spent]
        compared.append(
            SpendVsForecast(
                stage=stage,
                n_forecast=estimate.n_requests if estimate else 0,
                n_asked=sum(row.n_asked for row in spent),
                n_output_forecast=estimate.n_output if estimate else 0,
                n_output=sum(row.usage.n_output for row in spent),
                forecast_usd=estimate.usd if estimate else None,
                spent_usd=_sum(costs),
            )
        )
    return tuple(compared)


Run = Callable[..., Any]
Cost = Callable[[str, Usage, bool, float], float | None]
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
    "SELECT id, model, n_input, n_cache_read, n_cache_write, n_output, batch_id IS NOT NULL, sent_at FROM attempts"
    " WHERE n_input IS NOT NULL AND cost_usd IS NULL AND kind NOT IN ('failed', 'again', 'over_budget')"
)


def read_ledger(run: Run) -> list[LedgerRow]:
    """Return what was asked and spent so far, in the order of stage, role and model."""
    in_flight = {tuple(key): n for *key, n in run(_IN_FLIGHT)}
    sums = {row[:3]: row[3:] for row in run(_LEDGER).fetchall()}
    rows = []
    for key in sorted(sums.keys() | in_flight.keys()):
        n, *tokens, cost_usd, n_unpriced, seconds, n_billed = sums.get(key, (0,) * 9)
        names = ("n_input", "n_cache_read", "n_cache_write", "n_output")
        row = LedgerRow(
            stage=key[0],
            role=key[1],
            model=key[2],
            n_asked=n,
            kinds=dict(run(_KINDS, key)),
            usage=Usage(**dict(zip(names, tokens, strict=True))),
            cost_usd=None if n_billed and n_unpriced == n_billed else cost_usd,
            n_unpriced=n_unpriced,
            seconds=seconds,
            n_in_flight=in_flight.get(key, 0),
        )
        rows.append(row)
    return rows


def unfinished(run: Run, opening: int) -> list[tuple[Any, ...]]:
    """Return what other openings of the file have in flight (or had, when they were killed), summed."""
    return list(run(_UNFINISHED, (opening,)))


def read_unmetered(run: Run, elsewhere: Iterable[tuple[Any, ...]]) -> list[UnmeteredAttempts]:
    """Return `elsewhere` and the attempts whose usage is unknown, as estimates."""
    blind = run(_BLIND).fetchall()
    means = dict(run(_MEANS)) if blind or elsewhere else {}
    sums: dict[tuple[str, ...], list[int]] = {}
    for *key, n, n_chars, cap in (*elsewhere, *blind):
        into = sums.setdefault(tuple(key), [0, 0, 0])
        n_output = min(cap, n * max(1, means[key[0]])) if key[0] in means else cap
        for index, value in enumerate((n, n_chars // _CHARS_PER_TOKEN, n_output)):
            into[index] += value
    return [
        UnmeteredAttempts(stage=key[0], role=key[1], model=key[2], n=n, n_input=n_input, n_output=n_output)
        for key, (n, n_input, n_output) in sorted(sums.items())
    ]


def price_rows(run: Run, cost: Cost) -> None:
    """Give a price to each row whose tokens are known, where `cost` now has one."""
    for attempt, model, n_input, n_read, n_write, n_output, batch, sent_at in run(_UNPRICED).fetchall():
        usage = Usage(n_input=n_input, n_cache_read=n_read, n_cache_write=n_write, n_output=n_output)
        cost_usd = cost(model, usage, bool(batch), sent_at)
        if cost_usd is not None:
            run("UPDATE attempts SET cost_usd = ? WHERE id = ?", (cost_usd, attempt))


class BudgetReservations:
    """What the requests in flight may cost at the worst, set aside before they are sent."""

    def __init__(self) -> None:
        self.held_usd = 0.0
        self._n_held = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def hold(self, usd: float, left_usd: Callable[[], float]) -> bool:
        """Set `usd` aside once `left_usd()` (cap minus spent) allows it; wait while requests in flight may return some.

        Returns:
            False if it does not fit although nothing is in flight any more.
        """
        while True:
            try:
                if usd <= left_usd() - self.held_usd:
                    break
            except BaseException:
                self._wake_next()  # whoever waits behind must see the error too
                raise
            if self._n_held == 0:
                self._wake_next()
                return False
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake_next()  # the turn that came with the cancellation goes to the next one
                raise
        self.held_usd += usd
        self._n_held += 1
        self._wake_next()
        return True

    def release(self, usd: float) -> None:
        """Give back what was set aside: the outcome is recorded, so its cost counts as spent."""
        self._n_held -= 1
        # Sums of floats do not come back to 0 by themselves.
        self.held_usd = self.held_usd - usd if self._n_held else 0.0
        self._wake_next()

    def _wake_next(self) -> None:
        """Let the one that has waited longest check again; each that is served wakes the next."""
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
