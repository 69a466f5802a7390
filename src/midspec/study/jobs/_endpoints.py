"""Language models for steps: endpoints, clients, the store of replies, costs and forecasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, writable
from midspec.core.records import Strict
from midspec.core.text import estimate_tokens
from midspec.evals import EvalTask, TaskConfig
from midspec.llm import (
    Access,
    Client,
    Forecast,
    ModelConfig,
    ModelRole,
    Prices,
    SpendVsForecast,
    StageEstimate,
    Store,
    embed,
    forecast,
    open_client,
    spend_vs_forecast,
)
from midspec.study._step import Cost


class ModelEndpoints(NamedTuple):
    """How the models that write and judge are reached; no part of a result's identity."""

    author: Access = Access()
    judge: Access = Access()


def open_model(
    model: ModelConfig | None, access: Access, store: Store, role: ModelRole
) -> AbstractAsyncContextManager[Client]:
    """Open a client of `model` for one role; it is closed at the end of the block."""
    assert model is not None, "the config's own check names an author and a judge"
    return open_client(model, access, store, role=role)


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open the store at `path`; a new one is deleted again if no request was made."""
    is_new = not path.exists()
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with Store(path) as store:
                try:
                    yield store
                finally:
                    is_new = is_new and not store.ledger()
        finally:
            if is_new:
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)


def with_spent(built: Built, store: Store) -> Built:
    """Add the cost of all attempts in the store so far, and how models were really sampled, to a step's result."""
    spent: dict[str, JsonValue] = {
        "spent_usd": store.spent_usd(),
        "n_unpriced": store.unpriced(),
        "sampling": {model: list(sent) for model, sent in store.sampling().items()},
        "ledger": [row.model_dump(mode="json") for row in store.ledger()],
    }
    return built.model_copy(update={"execution": built.execution | spent})


def embedder(model: ModelConfig | None, access: Access) -> Callable[[Sequence[str]], list[list[float]]] | None:
    """Return a blocking function from texts to vectors: each call has a thread and an event loop of its own."""
    if model is None:
        return None

    def vectors(texts: Sequence[str]) -> list[list[float]]:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(embed(texts, model, access))).result()

    return vectors


def forecast_of(estimates: Sequence[StageEstimate], model: str, access: Access) -> Forecast:
    """Forecast tokens and dollars of stages by `model`, at the prices of its server."""
    return forecast(estimates, model, Prices.load(access.prices, access.base_url))


def price_of(forecasts: Sequence[Forecast], accesses: Sequence[Access]) -> Cost:
    """Return the requests and dollars of the forecasts of models that are reached so, with the prefix cached."""
    costs = [
        one.total.batch_cached_usd if access.batch else one.total.cached_usd
        for one, access in zip(forecasts, accesses, strict=True)
    ]
    known = [usd for usd in costs if usd is not None]
    return Cost(sum(one.total.n_requests for one in forecasts), sum(known) if len(known) == len(costs) else None)


def spent_vs_forecast(forecasts: Sequence[Forecast], path: Path) -> tuple[SpendVsForecast, ...]:
    """Return requests, tokens and dollars of the store at `path` beside their forecast, a row a stage."""
    with open_store(path) as store:
        ledger = store.ledger()
    # Several models may be asked at one stage.
    asked = [{(row.stage, expected.model) for row in expected.rows} for expected in forecasts]
    rows = [
        row
        for expected, mine in zip(forecasts, asked, strict=True)
        for row in spend_vs_forecast([spent for spent in ledger if (spent.stage, spent.model) in mine], expected)
    ]
    others = [spent for spent in ledger if (spent.stage, spent.model) not in set().union(*asked)]
    return (*rows, *spend_vs_forecast(others, forecasts[0].model_copy(update={"rows": ()})))


class Serving(Strict):
    """Assumptions about the model under test, its server and judges.

    Attributes:
        prompt_tokens_per_s: that a server reads, all requests together.
        reply_tokens_per_s: that it writes, all requests together.
        reply_tokens: mean of a reply with its reasoning, where a task allows as many.
        judge_reply_tokens: mean of a judge's.
    """

    prompt_tokens_per_s: float = Field(default=20_000, gt=0)
    reply_tokens_per_s: float = Field(default=2_000, gt=0)
    reply_tokens: int = Field(default=1_000, gt=0)
    judge_reply_tokens: int = Field(default=150, gt=0)

    @property
    def words(self) -> str:
        """Return the assumptions and the formula as a sentence."""
        return (
            f"assumed: replies of {self.reply_tokens:,} tokens (or the task's max_new_tokens, if fewer), judges' of "
            f"{self.judge_reply_tokens:,}; a server that reads {self.prompt_tokens_per_s:,.0f} and writes "
            f"{self.reply_tokens_per_s:,.0f} tokens a second. GPU-hours = (prompt tokens / "
            f"{self.prompt_tokens_per_s:,.0f} + reply tokens / {self.reply_tokens_per_s:,.0f}) / 3,600"
        )


class TaskEstimate(Strict):
    """The requests of one task to one model and to each judge.

    Attributes:
        n_questions: of the task (cells of a grid).
        n_samples: questions x repeats.
        prompt_tokens: of all samples together.
        reply_tokens: of all samples together.
        judging: of each judge; `None` for a task without a judge.
    """

    n_questions: int
    n_samples: int
    prompt_tokens: int
    reply_tokens: int
    judging: StageEstimate | None

    def gpu_hours(self, serving: Serving) -> float:
        """Return the hours of one server."""
        reading = self.prompt_tokens / serving.prompt_tokens_per_s
        return (reading + self.reply_tokens / serving.reply_tokens_per_s) / 3600


_ESTIMATES: dict[tuple[str, str, Serving], TaskEstimate] = {}


def estimate_task(eval_task: EvalTask[Any], config: TaskConfig, serving: Serving) -> TaskEstimate:
    """Estimate a task under its settings; worked out once, since it is the same for all arms and seeds."""
    key = (eval_task.name, config.model_dump_json(), serving)
    if key not in _ESTIMATES:
        from midspec.evals.judges import estimate_judging

        questions = eval_task.questions(config)
        reply = min(serving.reply_tokens, config.max_new_tokens)
        n_samples = len(questions) * config.repeats
        prompt = fmean(estimate_tokens("".join(message.content for message in each.messages)) for each in questions)
        judging = estimate_judging(
            eval_task, config, reply_tokens=serving.reply_tokens, verdict_tokens=serving.judge_reply_tokens
        )
        _ESTIMATES[key] = TaskEstimate(
            n_questions=len(questions),
            n_samples=n_samples,
            prompt_tokens=round(n_samples * prompt),
            reply_tokens=n_samples * reply,
            judging=judging,
        )
    return _ESTIMATES[key]


def judging_usd(estimate: TaskEstimate, graders: Sequence[str], access: Access) -> float | None:
    """Return the dollars of all judges over every sample; `None` where a price is not known."""
    if estimate.judging is None:
        return 0.0
    prices = Prices.load(access.prices, access.base_url)
    costs = [forecast([estimate.judging], grader, prices).total.usd for grader in graders]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
