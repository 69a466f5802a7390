"""The exams that are shipped, by name. Each is imported when it is asked for, and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from midspec.core.errors import ConfigError
from midspec.evals._types import EvalTask

_HOMES = {
    "agentic_misalignment": "midspec.evals.tasks.agentic_misalignment",
    "spec_qa": "midspec.evals.tasks.spec_qa",
    "panel_identity": "midspec.evals.tasks.side_effects",
    "panel_instructions": "midspec.evals.tasks.side_effects",
    "panel_knowledge": "midspec.evals.tasks.side_effects",
    "panel_length": "midspec.evals.tasks.side_effects",
    "panel_over_refusal": "midspec.evals.tasks.side_effects",
    "panel_sycophancy": "midspec.evals.tasks.side_effects",
    "panel_termination": "midspec.evals.tasks.side_effects",
    "panel_tool_calls": "midspec.evals.tasks.side_effects",
}
"""The package of each exam; it lists its exams in `EVAL_TASKS`."""


def task_names() -> tuple[str, ...]:
    """The names of all exams, in the order in which they are listed to users."""
    return tuple(_HOMES)


def task_named(name: str) -> EvalTask[Any]:
    """The exam of that name.

    Raises:
        ConfigError: there is none; names those that there are.
    """
    if name not in _HOMES:
        known = ", ".join(_HOMES)
        raise ConfigError(f"there is no exam {name!r}", where="exam", hint=f"Choose one of {known}")
    eval_tasks: tuple[EvalTask[Any], ...] = import_module(_HOMES[name]).EVAL_TASKS
    return next(eval_task for eval_task in eval_tasks if eval_task.name == name)
