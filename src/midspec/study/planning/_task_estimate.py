"""How large a task is before it is asked: samples and tokens, from which hours of a served model and dollars follow.

How long replies are can only be assumed; what was assumed is printed beside the figures.
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
    """What is assumed of the model that is asked, of its server and of judges.

    Attributes:
        prompt_tokens_per_s: what a server reads, all requests together.
        reply_tokens_per_s: what it writes, all requests together.
        reply_tokens: mean of a reply with its reasoning, where an exam allows as many.
        judge_reply_tokens: mean of a judge's.
    """

    prompt_tokens_per_s: float = Field(default=20_000, gt=0)
    reply_tokens_per_s: float = Field(default=2_000, gt=0)
    reply_tokens: int = Field(default=1_000, gt=0)
    judge_reply_tokens: int = Field(default=150, gt=0)

    @property
    def words(self) -> str:
        """The assumptions and the formula, in a sentence."""
        return (
            f"assumed: replies of {self.reply_tokens:,} tokens (or the exam's max_new_tokens, if fewer), judges' of "
            f"{self.judge_reply_tokens:,}; a server that reads {self.prompt_tokens_per_s:,.0f} and writes "
            f"{self.reply_tokens_per_s:,.0f} tokens a second. GPU-hours = (prompt tokens / "
            f"{self.prompt_tokens_per_s:,.0f} + reply tokens / {self.reply_tokens_per_s:,.0f}) / 3,600"
        )


class TaskEstimate(Strict):
    """What one exam asks of one model and of each judge.

    Attributes:
        n_questions: its questions (cells of a grid).
        n_samples: questions x repeats.
        prompt_tokens: of all samples together.
        reply_tokens: of all samples together.
        judging: what each judge is asked; `None` for an exam without a judge.
    """

    n_questions: int
    n_samples: int
    prompt_tokens: int
    reply_tokens: int
    judging: StageEstimate | None

    def gpu_hours(self, serving: Serving) -> float:
        """Hours of one server."""
        reading = self.prompt_tokens / serving.prompt_tokens_per_s
        return (reading + self.reply_tokens / serving.reply_tokens_per_s) / 3600


@lru_cache(maxsize=256)
def estimate_task(name: str, settings: str, serving: Serving) -> TaskEstimate:
    """The load of an exam under settings (JSON): arms and seeds ask the same, so it is counted once."""
    from midspec.evals.judges import estimate_judging

    eval_task = task_named(name)
    config = eval_task.config.model_validate_json(settings)
    questions = eval_task.questions(config)
    reply = min(serving.reply_tokens, config.max_new_tokens)
    n_samples = len(questions) * config.repeats
    prompt = fmean(estimate_tokens("".join(message.content for message in each.messages)) for each in questions)
    said, judged = serving.reply_tokens, serving.judge_reply_tokens
    return TaskEstimate(
        n_questions=len(questions),
        n_samples=n_samples,
        prompt_tokens=round(n_samples * prompt),
        reply_tokens=n_samples * reply,
        judging=estimate_judging(eval_task, config, reply_tokens=said, verdict_tokens=judged),
    )


def judging_usd(estimate: TaskEstimate, graders: Sequence[str], access: Access) -> float | None:
    """Dollars of all judges, each asked about every sample; `None` where a price is not known."""
    if estimate.judging is None:
        return 0.0
    prices = Prices.load(access.prices, access.base_url)
    costs = [forecast([estimate.judging], grader, prices).total.usd for grader in graders]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
