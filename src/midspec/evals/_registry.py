"""What Inspect finds through the entry point `inspect_ai`: a task for each evaluation, and our providers.

The modules behind providers and tasks that need Inspect are imported when one is opened, not when Inspect looks for
extensions. `inspect eval midspec/<name>` takes every name of `task_names`, and `preference`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.model import ModelAPI, get_model, modelapi

from midspec.evals.tasks._registry import task_named, task_names


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


@task(name="preference")
def preference(items: str, config: str | None = None) -> Task:
    """The preference evaluation, for `inspect eval midspec/preference -T items=shipped:america`.

    Args:
        items: a shipped set (`shipped:america`), a JSONL file of items, or a data set of pairs.
        config: a YAML file of settings; the defaults where there is none.
    """
    from midspec.evals.tasks.preference import PreferenceConfig, load_config, preference_task, resolve_items

    settings = PreferenceConfig() if config is None else load_config(Path(config))
    return preference_task(resolve_items(items), settings)


def _register(name: str) -> None:
    """Register one evaluation task with Inspect, as `midspec/<name>`."""

    # `config`: a YAML file of settings. `settings`: by their names, over those of the file (`-T repeats=4`).
    def open_task(config: str | None = None, **settings: Any) -> Task:
        from inspect_ai._util.error import PrerequisiteError

        from midspec.core.errors import MidspecError
        from midspec.evals._inspect_task import inspect_task
        from midspec.evals._types import check_settings, read_settings
        from midspec.evals.judges._inspect import judges_in_role

        eval_task = task_named(name)
        try:
            chosen = eval_task.config() if config is None else read_settings(Path(config), eval_task.config)
            chosen = check_settings({**chosen.model_dump(), **settings}, eval_task.config)
            if eval_task.rubric(chosen) is not None:
                judges_in_role(str(get_model()))
            return inspect_task(eval_task, chosen)
        except MidspecError as error:
            # Inspect shows this kind of error in one line, before anything is asked.
            raise PrerequisiteError(str(error)) from error

    open_task.__name__ = open_task.__qualname__ = name
    task(name=name)(open_task)


for _name in task_names():
    _register(_name)
