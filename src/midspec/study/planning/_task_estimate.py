"""Estimate a task's samples and tokens, hours of a served model and dollars of judges.

The lengths of replies are assumptions, printed beside the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

from pydantic import Field

from midspec.core.records import Strict
from midspec.core.text import estimate_tokens
from midspec.evals import task_named
from midspec.llm import Access, Prices, StageEstimate, forecast


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


@lru_cache(maxsize=256)
def estimate_task(name: str, settings: str, serving: Serving) -> TaskEstimate:
    """Estimate a task under settings (JSON); cached, since it is the same for all arms and seeds."""
    from midspec.evals.judges import estimate_judging

    eval_task = task_named(name)
    config = eval_task.config.model_validate_json(settings)
    questions = eval_task.questions(config)
    reply = min(serving.reply_tokens, config.max_new_tokens)
    n_samples = len(questions) * config.repeats
    prompt = fmean(estimate_tokens("".join(message.content for message in each.messages)) for each in questions)
    judging = estimate_judging(
        eval_task, config, reply_tokens=serving.reply_tokens, verdict_tokens=serving.judge_reply_tokens
    )
    return TaskEstimate(
        n_questions=len(questions),
        n_samples=n_samples,
        prompt_tokens=round(n_samples * prompt),
        reply_tokens=n_samples * reply,
        judging=judging,
    )


def judging_usd(estimate: TaskEstimate, graders: Sequence[str], access: Access) -> float | None:
    """Return the dollars of all judges over every sample; `None` where a price is not known."""
    if estimate.judging is None:
        return 0.0
    prices = Prices.load(access.prices, access.base_url)
    costs = [forecast([estimate.judging], grader, prices).total.usd for grader in graders]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
