"""Asking judges: an answer and Inspect's role `grader` enter, every judge's reply, or why it gave none, leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.model import GenerateConfig, Model, model_roles
from pydantic import JsonValue

from midspec.core.errors import ConfigError
from midspec.core.records import Message
from midspec.evals._ask import talk
from midspec.evals._inspect_run import GRADER
from midspec.evals._measures import Verdict, attempt, rubric_hash
from midspec.evals._response_cache import ResponseCache, answering_args, answering_settings, model_cache_key
from midspec.evals._types import JudgeResponse, ModelResponse, Question, Rubric, Unscored

JUDGING: dict[str, float | int] = {"temperature": 0.0, "max_tokens": 2000}
"""How a judge samples, where its own settings don't say otherwise."""

THROUGH_LLM = "midspec-judge/"
"""What the names of judges that are asked through `llm` begin with."""

_WRAPPERS = (THROUGH_LLM, "midspec/")


def judges_in_role(tested: str) -> list[Model]:
    """The models in the role `grader`.

    Args:
        tested: the name of the model under test.

    Raises:
        ConfigError: there is none, or one of them is the model under test.
    """
    found = model_roles().get(GRADER, [])
    judges = found if isinstance(found, list) else [found]
    check_judges([str(judge) for judge in judges], tested)
    return judges


def check_judges(judges: Sequence[str], tested: str) -> None:
    """Raise `ConfigError` unless there are judges and none of them is the model under test."""
    if not judges:
        raise ConfigError("this exam needs a judge", where=GRADER, hint="Name a model for the role `grader`")
    if _plain(tested) in {_plain(judge) for judge in judges}:
        raise ConfigError("the model under test can't be its own judge", where=tested, hint="Name another grader")


async def verdict_of(
    judge: Model,
    rubric: Rubric,
    question: Question,
    said: ModelResponse,
    *,
    kept: ResponseCache | None = None,
    epoch: int = 1,
) -> Verdict:
    """What one judge says about one answer.

    Args:
        judge: who is asked.
        rubric: what is asked.
        question: what the answer is to.
        said: the answer.
        kept: where replies are kept, and looked up first.
        epoch: which of the question's samples this is.
    """
    name, mark = str(judge), rubric_hash(rubric)
    prompt = attempt(f"{type(rubric).__name__}.render", lambda: rubric.render(question, said))
    if isinstance(prompt, Unscored):
        return Verdict(judge=name, fault=prompt.reason)
    wanted = {"judge": model_cache_key(judge), "rubric": mark, "prompt": prompt, "id": question.id, "epoch": epoch}
    graded = None if kept is None else kept.get(JudgeResponse, wanted)
    if graded is not None:
        return Verdict(judge=name, graded=graded)
    try:
        output = await talk(judge, [Message(role="user", content=str(prompt))], _settings(judge))
    except Exception as error:  # noqa: BLE001 - a judge's failure is this verdict's reason, and is counted
        what = " ".join(str(error).split()) or type(error).__name__
        return Verdict(judge=name, fault=f"the judge failed: {what}")
    graded = JudgeResponse(judge=name, rubric=mark, text=output.completion, stop_reason=output.stop_reason)
    if kept is not None:
        kept.put(graded, wanted)
    return Verdict(judge=name, graded=graded)


def judge_settings(args: Mapping[str, Any], config: GenerateConfig) -> dict[str, JsonValue]:
    """What of a judge's own settings changes its verdicts."""
    return {"args": answering_args(args), "sampling": answering_settings(config)}


def _settings(judge: Model) -> GenerateConfig:
    """Its own settings, and ours where it has none; a judge that goes through `llm` has a temperature of its own."""
    ours = GenerateConfig(max_tokens=int(JUDGING["max_tokens"]))
    if not str(judge).startswith(THROUGH_LLM):
        ours = ours.merge(GenerateConfig(temperature=JUDGING["temperature"]))
    return ours.merge(judge.config)


def _plain(name: str) -> str:
    """A model's name without what only says how it is reached."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name
