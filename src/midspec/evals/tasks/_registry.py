"""All evaluation tasks by name: those of this folder, and those that other installed packages bring."""

from __future__ import annotations

from typing import Any

from midspec.core.registry import Registry
from midspec.evals._types import EvalTask

_SIDE_EFFECTS = "panel_"

_TASKS: Registry[EvalTask[Any]] = Registry(
    "evaluation task", package="midspec.evals.tasks", attribute="EVAL_TASKS", group="eval_tasks"
)


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, in the order of study files and reports: the side effects come last."""
    return tuple(sorted(_TASKS.names(), key=lambda name: (name.startswith(_SIDE_EFFECTS), name)))


def task_named(name: str) -> EvalTask[Any]:
    """Return the task of that name.

    Raises:
        ConfigError: there is none; names the nearest, or all.
    """
    return _TASKS.get(name, where="task")
