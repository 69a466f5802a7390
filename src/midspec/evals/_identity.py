"""What identifies an evaluation's result: settings, prompts, rubric and judges; never a path or a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from midspec.core.records import Identity
from midspec.evals._measures import prompt_hash, rubric_hash
from midspec.evals._types import ConfigT, EvalTask
from midspec.evals.tasks.preference._config import PreferenceConfig

_STEP = "evaluate@1"
_EXAM_STEP = "examine@1"


def eval_identity(config: PreferenceConfig, *, items: str, model: Mapping[str, str]) -> Identity:
    """What identifies an evaluation's result, for `artifact.build`.

    Args:
        config: what is asked, and how.
        items: the digest of the items.
        model: digests of what the model is made of (`{"checkpoint": ...}`), or the name of a served model; never a
            path.
    """
    return Identity(step=_STEP, inputs={"items": items, **model}, config=config.model_dump(mode="json"))


def task_identity(
    eval_task: EvalTask[ConfigT], config: ConfigT, *, model: Mapping[str, str], graders: Sequence[str] = ()
) -> Identity:
    """What identifies an exam's result, for `artifact.build`.

    Args:
        eval_task: what is asked.
        config: how it is asked.
        model: digests of what the model is made of (`{"checkpoint": ...}`), or the name of a served model; never a
            path.
        graders: the judges' names; left out of the identity of an exam without a rubric.
    """
    rubric = eval_task.rubric(config)
    return Identity(
        step=_EXAM_STEP,
        inputs=dict(model),
        config={
            "exam": eval_task.name,
            "config": config.model_dump(mode="json"),
            "prompt_hash": prompt_hash(eval_task.questions(config)),
            "rubric_hash": None if rubric is None else rubric_hash(rubric),
            "graders": [] if rubric is None else list(graders),
        },
    )
