"""Exams as steps: an exam's settings and the files that they name enter; a step, and later its full settings, leave.

A file that settings name (questions, the spec to judge by, a spec in context) is a source of the step and no setting,
so that its content and not its path identifies the result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from midspec.core.errors import ConfigError
from midspec.evals import EvalTask, TaskConfig, task_identity, task_named
from midspec.study._steps import Source, Step

FILES = ("items", "spec", "context")
"""The roles of files that settings are completed from."""

_JUDGE = re.compile(r"(anthropic|openai)/.")
_NAMES = {"assistant_name": "model_name", "model_name": "model_name", "provider_name": "provider_name"}


def task_step(
    name: str,
    config: TaskConfig,
    model: Source,
    *,
    graders: Sequence[str] = (),
    temperature: float | None = 0.0,
    files: Mapping[str, Source] | None = None,
    places: Mapping[str, str] | None = None,
    who: Mapping[str, dict[str, JsonValue]] | None = None,
    label: str = "",
    seed: int | None = None,
    options: Mapping[str, JsonValue] | None = None,
    where: str = "evals.graders",
) -> Step:
    """The step that asks `model` one exam and has the answers judged.

    Args:
        name: the exam.
        config: its settings; what `files` hold is left out of them.
        model: who is asked.
        graders: the judges, as `anthropic/<model>` or `openai/<model>`.
        temperature: of the judges; `None` for those that take none.
        files: by role (`FILES`), where a file comes from.
        places: by role, where the same file is now, to know what is asked.
        who: for the roles `spec` and `context`, the spec's name and what fills its placeholders.
        label: of the step.
        seed: of the step.
        options: about the run only.
        where: what an error about missing judges names.

    Raises:
        ConfigError: a judge is needed and none is named, a spec is to stand in the context of an exam that has none,
            or a setting can't be.
        DataError, MissingError, SpecError: a file can't be read.
    """
    eval_task, files = task_named(name), dict(files or {})
    plain = config.model_dump(mode="json", exclude=set(files) & {"items", "spec"})
    settings: dict[str, JsonValue] = {"exam": name, "config": plain, **(who or {})}
    known = {role: place for role, place in (places or {}).items() if role != "context"}
    _, full = task_asked(settings, known)
    judged = eval_task.rubric(full) is not None
    if judged and not graders:
        raise ConfigError(f"{name} needs a judge", where=where, hint="Name anthropic/MODEL or openai/MODEL")
    if "context" in files and "system" not in type(config).model_fields:
        raise ConfigError(f"{name} takes no spec in context", where=label or name, hint="Leave the exam or the arm out")
    about = task_identity(eval_task, full, model={}, graders=graders).config
    hashes = {key: about[key] for key in ("prompt_hash", "rubric_hash", "graders")}
    hashes |= {"judge_temperature": temperature} if judged else {}
    return Step(
        kind="exam",
        label=label,
        seed=seed,
        sources={"model": model, **files},
        config={**settings, **hashes},
        options=dict(options or {}),
        cost=20,
    )


def task_asked(settings: Mapping[str, Any], places: Mapping[str, str]) -> tuple[EvalTask[Any], TaskConfig]:
    """The exam and its full settings.

    Args:
        settings: a step's config.
        places: by role, the path of each file that the settings are completed from.

    Raises:
        ConfigError: the settings can't be.
        SpecError: a spec can't be read.
    """
    eval_task, full = task_named(str(settings["exam"])), dict(settings["config"])
    if "items" in places:
        full["items"] = places["items"]
    if "spec" in places:
        full["spec"] = _filled(places["spec"], settings["spec"])
    if "context" in places:
        spec = _filled(places["context"], settings["context"])
        full["system"] = "\n\n".join(filter(None, (full.get("system"), spec)))
    try:
        return eval_task, eval_task.config.model_validate(full)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (eval_task.name, *first["loc"])))
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ConfigError(what, where=where, hint="Change that setting") from error


def asked_of(step: Step, steps: Mapping[str, Step]) -> tuple[EvalTask[Any], TaskConfig]:
    """The exam and full settings of a step that is not made yet, from the files outside that it goes back to."""
    places = {role: _outside(step.sources[role], steps) for role in FILES if role in step.sources}
    return task_asked(step.config, places)


def with_names(config: TaskConfig, who: Mapping[str, str | None]) -> TaskConfig:
    """The settings, with the assistant's and its maker's name where they say nothing else and have a place for it."""
    unsaid = set(type(config).model_fields) - config.model_fields_set
    names = {field: who.get(name) for field, name in _NAMES.items() if field in unsaid}
    return config.model_copy(update={field: name for field, name in names.items() if name})


def check_graders(graders: Sequence[str], where: str) -> None:
    """Refuse a judge that is none.

    Raises:
        ConfigError: a name without one of the two providers before it, or a judge named twice.
    """
    for grader in graders:
        if not _JUDGE.match(grader):
            hint = "There is anthropic/MODEL and openai/MODEL"
            raise ConfigError(f"there is no judge {grader!r}", where=where, hint=hint)
    if len(set(graders)) < len(graders):
        raise ConfigError("the same judge is named twice", where=where, hint="Name each once")


def _outside(source: Source, steps: Mapping[str, Step]) -> str:
    """The file that a source is, or is a copy of: a spec's step copies its text."""
    found = steps[source.step].sources["text"] if source.step else source
    return str(found.path)


def _filled(path: str, who: Mapping[str, Any]) -> str:
    from midspec.spec import fill, parse_spec

    spec = parse_spec(Path(path).read_text(encoding="utf-8"), name=str(who["spec"]))
    return fill(spec, model_name=who.get("model_name"), provider_name=who.get("provider_name")).text
