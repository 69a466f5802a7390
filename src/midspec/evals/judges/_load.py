"""What judging will ask, before anything is sent: for the forecast and the cap that generation has too.

In: an exam with its settings, or a calibration set. Out: a `StageEstimate` for `llm.forecast`, one for each judge.
Tokens are letters by four, which is what English text comes to with the tokenizers of today, within a fifth.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from midspec.evals._types import EvalTask, ModelResponse, Question, Rubric
from midspec.evals.judges._calibration import STAGE as CALIBRATION_STAGE
from midspec.evals.judges._calibration_set import Transcript
from midspec.evals.judges._grader import STAGE
from midspec.llm import StageEstimate

_LETTERS_A_TOKEN = 4
_MOST_RENDERED = 200


def estimate_judging(
    eval_task: EvalTask[Any], config: Any, *, reply_tokens: int = 400, verdict_tokens: int = 150
) -> StageEstimate | None:
    """What one judge is asked for one run of an exam, if no two answers are the same; `None` without a judge.

    Args:
        eval_task: whose answers are judged.
        config: its settings.
        reply_tokens: an answer's mean length; never taken to be more than the settings allow.
        verdict_tokens: the judge's reply, its reasoning included.

    Raises:
        MidspecError: the questions can't be made.
    """
    rubric = eval_task.rubric(config)
    if rubric is None:
        return None
    questions = eval_task.questions(config)
    some = questions[:: -(-len(questions) // _MOST_RENDERED)]
    nothing = ModelResponse(text="", stop_reason="stop")
    asked = _mean_tokens(rubric, [(question, nothing) for question in some])
    prompt = asked + min(reply_tokens, config.max_new_tokens)
    return _load(STAGE, len(questions) * config.repeats, prompt, verdict_tokens)


def estimate_calibration(rubric: Rubric, rows: Sequence[Transcript], *, verdict_tokens: int = 150) -> StageEstimate:
    """What one judge is asked when it is calibrated, if every transcript is shown to it.

    Args:
        rubric: what it is asked.
        rows: the transcripts, at least one.
        verdict_tokens: its reply, its reasoning included.
    """
    asked = _mean_tokens(rubric, [(row.question, row.said) for row in rows])
    return _load(CALIBRATION_STAGE, len(rows), asked, verdict_tokens)


def _mean_tokens(rubric: Rubric, asked: Sequence[tuple[Question, ModelResponse]]) -> float:
    return fmean(len(rubric.render(question, said)) / _LETTERS_A_TOKEN for question, said in asked)


def _load(stage: str, n_requests: int, prompt_tokens: float, verdict_tokens: int) -> StageEstimate:
    return StageEstimate(
        stage=stage,
        n_requests=n_requests,
        prefix_tokens=0,
        prompt_tokens=round(prompt_tokens),
        output_tokens=verdict_tokens,
    )
