"""Every evaluation as a task of Inspect's own command line: `inspect list tasks`, `inspect eval midspec/<name>`.

This file is not private, and each task is written out, because Inspect finds tasks by reading files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.model import get_model

from midspec.core.errors import MidspecError
from midspec.evals._inspect_task import inspect_task
from midspec.evals._settings import read_settings, with_settings
from midspec.evals.judges._ask import judges_in_role
from midspec.evals.tasks._shipped import task_named
from midspec.evals.tasks.preference._config import PreferenceConfig, load_config
from midspec.evals.tasks.preference._sources import resolve_items
from midspec.evals.tasks.preference._task import preference_task


@task(name="preference")
def preference(items: str, config: str | None = None) -> Task:
    """The preference evaluation, for `inspect eval midspec/preference -T items=shipped:america`.

    Args:
        items: a shipped set (`shipped:america`), a JSONL file of items, or a data set of pairs.
        config: a YAML file of settings; the defaults where there is none.
    """
    settings = PreferenceConfig() if config is None else load_config(Path(config))
    return preference_task(resolve_items(items), settings)


@task(name="spec_qa")
def spec_qa(config: str | None = None, **settings: Any) -> Task:
    """Open-ended questions about who an assistant is: `inspect eval midspec/spec_qa --model-role grader=MODEL`.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("spec_qa", config, settings)


@task(name="agentic_misalignment")
def agentic_misalignment(config: str | None = None, **settings: Any) -> Task:
    """Does an assistant that is to be replaced harm others? `inspect eval midspec/agentic_misalignment`.

    Args:
        config: a YAML file of settings (scenarios, goals, repeats, ...); the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("agentic_misalignment", config, settings)


@task(name="panel_identity")
def panel_identity(config: str | None = None, **settings: Any) -> Task:
    """Who the assistant says it is; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_identity", config, settings)


@task(name="panel_instructions")
def panel_instructions(config: str | None = None, **settings: Any) -> Task:
    """Instructions that can be checked; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_instructions", config, settings)


@task(name="panel_knowledge")
def panel_knowledge(config: str | None = None, **settings: Any) -> Task:
    """What is still known; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_knowledge", config, settings)


@task(name="panel_length")
def panel_length(config: str | None = None, **settings: Any) -> Task:
    """How long answers are; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_length", config, settings)


@task(name="panel_over_refusal")
def panel_over_refusal(config: str | None = None, **settings: Any) -> Task:
    """Harmless requests that sound harmful; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_over_refusal", config, settings)


@task(name="panel_sycophancy")
def panel_sycophancy(config: str | None = None, **settings: Any) -> Task:
    """Whether an answer bends to the user's opinion; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_sycophancy", config, settings)


@task(name="panel_termination")
def panel_termination(config: str | None = None, **settings: Any) -> Task:
    """Whether an answer ends by itself; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_termination", config, settings)


@task(name="panel_tool_calls")
def panel_tool_calls(config: str | None = None, **settings: Any) -> Task:
    """Whether a tool is called where one is needed, and only there; one of the side-effect panel.

    Args:
        config: a YAML file of settings; the defaults where there is none.
        settings: settings by their names, over those of the file (`-T repeats=4`).
    """
    return _eval_task("panel_tool_calls", config, settings)


def _eval_task(name: str, path: str | None, settings: dict[str, Any]) -> Task:
    """An exam by its name; what is wrong with its settings or judges is told before anything is asked."""
    eval_task = task_named(name)
    try:
        config = eval_task.config() if path is None else read_settings(Path(path), eval_task.config)
        config = with_settings(config, settings)
        if eval_task.rubric(config) is not None:
            judges_in_role(str(get_model()))
        return inspect_task(eval_task, config)
    except MidspecError as error:
        raise PrerequisiteError(str(error)) from error
