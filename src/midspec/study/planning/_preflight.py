"""What can be known to be wrong before anything runs is refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from midspec.core.errors import CheckpointError, ConfigError
from midspec.evals import measure_names, resolve_items
from midspec.llm import ModelConfig, check_access
from midspec.models import find_checkpoint
from midspec.spec import placeholders
from midspec.study._config import check_sets, check_task_uses
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, spec_at
from midspec.study._load import Study
from midspec.study._step import Step
from midspec.study.jobs._chats import ChatsStep
from midspec.study.jobs._corpus import CorpusStep
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.jobs._preference import PreferenceStep
from midspec.study.jobs._spec import SpecNames

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def check_beforehand(study: Study, steps: Sequence[Step]) -> None:
    """Refuse a study whose base, specs or items can't be used as it means to; only files are looked at.

    Raises:
        CheckpointError: the base is no checkpoint, or has no chat template to be fine-tuned and asked with.
        ConfigError: a spec uses a placeholder that nothing fills, or a contrast is on a set that no item is of.
        SpecError: a spec can't be read.
        DataError: the items can't be asked.
    """
    _check_base(study)
    _check_placeholders(steps)
    _check_items(study, steps)
    _check_tasks(study, steps)


def check_judges(study: Study) -> None:
    """Refuse judges that can't be asked, before hours of training and not after them.

    Raises:
        ConfigError: a key is missing, or a budget is set for a model whose price nobody knows.
    """
    evals, models = study.config.evals, study.config.models
    access = models.judge or models.author
    capped = access.model_copy(update={"budget_usd": evals.judging_budget_usd or access.budget_usd})
    for grader in evals.graders:
        check_access(ModelConfig(model=grader), capped)


def _check_base(study: Study) -> None:
    name = study.config.base.checkpoint
    if name is None:
        return
    path = study.home / Path(name).expanduser()
    if not path.exists() and "/" in name and path.parent.is_dir():
        hint = "A path starts at the folder of the study file"
        raise CheckpointError(f"there is no folder {path}", where="base.checkpoint", hint=hint)
    try:
        found = find_checkpoint(str(path) if path.exists() else name)
    except CheckpointError as error:
        raise CheckpointError(f"{error.where}: {error.what}", where="base.checkpoint", hint=error.hint) from error
    folders = [Path(part).expanduser() for part in (found.model, found.adapter) if part is not None]
    if all(folder.is_dir() for folder in folders) and not any(map(_has_template, folders)):
        raise CheckpointError(
            f"{path} has no chat template, and every arm is asked in chats",
            where="base.checkpoint",
            hint="Use a chat-tuned model, or save its tokenizer with a chat template",
        )


def _has_template(folder: Path) -> bool:
    settings = folder / "tokenizer_config.json"
    if any((folder / name).exists() for name in _TEMPLATE_FILES):
        return True
    return settings.is_file() and '"chat_template":' in settings.read_text(encoding="utf-8", errors="replace")


def _check_placeholders(steps: Sequence[Step]) -> None:
    """Every spec that a corpus, chats or a context uses finds the names that it asks for."""
    for step in steps:
        for source, names in _filled_specs(step):
            path = source.original.locate({})
            for name in placeholders(spec_at(path, Path(path).stem)):
                if name in ("model_name", "provider_name") and not getattr(names, name):
                    raise ConfigError(
                        f"the spec of {step.name} uses {{{name}}} and no value is given for it",
                        where=f"assistant.{name}",
                        hint=f"Add {name} to assistant in the study file",
                    )


def _filled_specs(step: Step) -> list[tuple[Input, SpecNames]]:
    if isinstance(step, CorpusStep | ChatsStep):
        return [(step.spec, step.names)]
    if isinstance(step, PreferenceStep) and step.context is not None and step.context_names is not None:
        return [(step.context, step.context_names)]
    return [(step.files[role], names) for role, names in step.names.items()] if isinstance(step, TaskStep) else []


def _check_items(study: Study, steps: Sequence[Step]) -> None:
    """Items that are a file outside, or shipped, are read; each set that is asked for has some."""
    asked = {(step.kind, _readable_items(step.items)) for step in steps if isinstance(step, PreferenceStep)}
    for kind, items in sorted((kind, items) for kind, items in asked if items):
        found = resolve_items(items)
        if kind == "eval":
            check_sets(study.config, dict.fromkeys(item.set for item in found))


def _readable_items(source: Input) -> str:
    """A file outside or a shipped set; empty for what a step makes, and for what is on the hub."""
    original = source.original
    if isinstance(original, EvalItems):
        return original.name if original.name.startswith(SHIPPED) else ""
    return original.path if isinstance(original, File) else ""


def _check_tasks(study: Study, steps: Sequence[Step]) -> None:
    """Each set and measure of a task that is asked for exists; what its items are is known before anything runs."""
    first = {step.task: step for step in reversed(steps) if isinstance(step, TaskStep)}
    asked = {name: step.asked() for name, step in first.items()}
    sets = {
        name: dict.fromkeys(f"{name}/{each.set}" for each in eval_task.questions(config))
        for name, (eval_task, config) in asked.items()
    }
    measures = {name: measure_names(eval_task, config) for name, (eval_task, config) in asked.items()}
    check_task_uses(study.config, sets, measures)
