"""What Inspect finds through the entry point `inspect_ai`: a task for each evaluation, and our providers.

The modules behind providers and tasks that need Inspect are imported when one is opened, not when Inspect looks for
extensions. `inspect eval midspec/<name>` takes every name of `task_names`, and `preference`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from inspect_ai import Task, task
from inspect_ai._util.registry import registry_lookup
from inspect_ai.model import ModelAPI, modelapi

from midspec.evals._types import task_names


@modelapi(name="midspec")
def midspec() -> type[ModelAPI]:
    """`midspec/<checkpoint>`: a folder or a hub name, with or without an adapter."""
    from midspec.evals._provider import MidspecAPI

    return MidspecAPI


@modelapi(name="midspec-judge")
def midspec_judge() -> type[ModelAPI]:
    """`midspec-judge/<provider>/<model>`: a grader, asked through `llm`."""
    from midspec.evals.judges._inspect import JudgeAPI

    return JudgeAPI


@modelapi(name="midspec-scripted")
def midspec_scripted() -> type[ModelAPI]:
    """`midspec-scripted/<any name>`: replies by a script."""
    from midspec.evals._scripted import ScriptedAPI

    return ScriptedAPI


@modelapi(name="midspec-scripted-scorer")
def midspec_scripted_scorer() -> type[ModelAPI]:
    """`midspec-scripted-scorer/<any name>`: replies by a script and scores options by a function."""
    from midspec.evals._scripted import ScriptedScorerAPI

    return ScriptedScorerAPI


def _register(name: str) -> None:
    """Register a task of another package with Inspect, as `midspec/<name>`."""

    def outside_task(config: str | None = None, **settings: Any) -> Task:
        from midspec.evals._inspect_task import open_task

        return open_task(name, config, settings)

    outside_task.__name__ = outside_task.__qualname__ = name
    task(name=name)(outside_task)


# Inspect lists tasks by reading files whose names begin without an underscore, so the shipped ones are in one.
import_module("midspec.evals.inspect_tasks")
for _name in task_names():
    if registry_lookup("task", f"midspec/{_name}") is None:
        _register(_name)
