"""What a run will ask and cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from midspec.core.records import Strict
from midspec.llm._prices import Prices
from midspec.llm._types import Usage

_LEAST_CACHED_TOKENS = 1024


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


def forecast(loads: Iterable[StageEstimate], model: str, prices: Prices) -> Forecast:
    """What `loads` would cost at `model`.

    Args:
        loads: the stages, in order.
        model: `provider/name`.
        prices: what tokens cost.
    """
    rows = tuple(_row(load, model, prices) for load in loads)
    counts = {
        name: sum(getattr(row, name) for row in rows) for name in ("n_requests", "n_input", "n_shared", "n_output")
    }
    ways = ("usd", "cached_usd", "batch_usd", "batch_cached_usd")
    sums = {name: _sum([getattr(row, name) for row in rows]) for name in ways}
    return Forecast(model=model, rows=rows, total=ForecastRow(stage="all", **counts, **sums))


def _row(load: StageEstimate, model: str, prices: Prices) -> ForecastRow:
    # Below this length no provider caches a prefix; every stage has its own first use.
    n_hits = max(0, load.n_requests - 1) if load.prefix_tokens >= _LEAST_CACHED_TOKENS else 0
    n_prompt = load.prefix_tokens + load.prompt_tokens
    plain = Usage(n_input=n_prompt, n_output=load.output_tokens)
    hit = Usage(n_input=load.prompt_tokens, n_cache_read=load.prefix_tokens, n_output=load.output_tokens)
    first = Usage(n_input=load.prompt_tokens, n_cache_write=load.prefix_tokens, n_output=load.output_tokens)
    n_first = 1 if n_hits else 0

    def usd(n_plain: int, n_first: int, n_hits: int, *, batch: bool) -> float | None:
        # A request's price may depend on its length, so it is priced alone and multiplied.
        parts = ((n_plain, plain), (n_first, first), (n_hits, hit))
        each = [(n, prices.cost(model, usage, batch)) for n, usage in parts]
        return _sum([None if cost is None else n * cost for n, cost in each])

    return ForecastRow(
        stage=load.stage,
        n_requests=load.n_requests,
        n_input=load.n_requests * n_prompt,
        n_shared=n_hits * load.prefix_tokens,
        n_output=load.n_requests * load.output_tokens,
        usd=usd(load.n_requests, 0, 0, batch=False),
        cached_usd=usd(load.n_requests - n_first - n_hits, n_first, n_hits, batch=False),
        batch_usd=usd(load.n_requests, 0, 0, batch=True),
        batch_cached_usd=usd(load.n_requests - n_first - n_hits, n_first, n_hits, batch=True),
    )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
