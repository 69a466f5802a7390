"""Hand-written answers, for tests of what is read from them."""

from __future__ import annotations

from typing import Any

from midspec.evals import EvalTask, ModelResponse, Question
from midspec.evals._types import Unscored, Value

FILTERED = ModelResponse(text="", stop_reason="content_filter")


def said(text: str, stop_reason: str = "stop") -> ModelResponse:
    return ModelResponse(text=text, stop_reason=stop_reason)


def question_of(eval_task: EvalTask[Any], start: str, *, control: bool = False) -> Question:
    """The one question of an exam that begins so."""
    found = [
        question
        for question in eval_task.questions(eval_task.config())
        if question.messages[-1].content.startswith(start) and question.set.endswith("-control") is control
    ]
    assert len(found) == 1, start
    return found[0]


def reason(value: Value) -> str:
    """Why there is no value."""
    assert isinstance(value, Unscored), value
    return value.reason
