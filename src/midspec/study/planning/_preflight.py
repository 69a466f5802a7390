"""What can be known to be wrong before anything runs is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from midspec.core.errors import CheckpointError, ConfigError
from midspec.core.records import Spec
from midspec.evals import measure_names, resolve_items
from midspec.llm import ModelConfig, check_access
from midspec.models import find_checkpoint
from midspec.spec import placeholders, read_spec
from midspec.study._load import Study
from midspec.study._references import check_sets, check_task_uses
from midspec.study._steps import SHIPPED, Source, Step
from midspec.study._task_steps import asked_of

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
_FILLED_FROM = {
    "corpus": {"spec": "corpus"},
    "chats": {"spec": "chats"},
    "eval": {"context": "context"},
    "exam": {"spec": "spec", "context": "context"},
}
_FILLED = ("model_name", "provider_name")


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
    specs = {step.name: read_spec(Path(step.sources["text"].path or "")) for step in steps if step.kind == "spec"}
    for step in steps:
        for role, block in _FILLED_FROM.get(step.kind, {}).items():
            source, who = step.sources.get(role), step.config.get(block)
            if source is not None and isinstance(who, dict):
                _check_filled(step.name, specs[source.step or ""], who)


def _check_filled(step: str, spec: Spec, who: Mapping[str, JsonValue]) -> None:
    for name in placeholders(spec):
        if name in _FILLED and not who.get(name):
            raise ConfigError(
                f"the spec of {step} uses {{{name}}} and no value is given for it",
                where=f"assistant.{name}",
                hint=f"Add {name} to assistant in the study file",
            )


def _check_items(study: Study, steps: Sequence[Step]) -> None:
    """Items that are a file outside, or shipped, are read; each set that is asked for has some."""
    by_name = {step.name: step for step in steps}
    asked = {(step.kind, _items_of(step.sources["items"], by_name)) for step in steps if step.kind in {"eval", "gate"}}
    for kind, items in sorted((kind, items) for kind, items in asked if items):
        found = resolve_items(items)
        if kind == "eval":
            check_sets(study.config, dict.fromkeys(item.set for item in found))


def _items_of(source: Source, steps: Mapping[str, Step]) -> str:
    """A file outside or a shipped set; empty for what a step makes, and for what is on the hub."""
    made = steps.get(source.step or "")
    if made is not None and made.kind == "pairs":
        name = made.sources["items"].asked or ""
        return name if name.startswith(SHIPPED) else ""
    return source.path or ""


def _check_tasks(study: Study, steps: Sequence[Step]) -> None:
    """Each set and measure of an exam that is asked for exists; what its items are is known before anything runs."""
    by_name = {step.name: step for step in steps}
    first = {str(step.config["exam"]): step for step in reversed(steps) if step.kind == "exam"}
    asked = {name: asked_of(step, by_name) for name, step in first.items()}
    sets = {
        name: dict.fromkeys(f"{name}/{each.set}" for each in eval_task.questions(config))
        for name, (eval_task, config) in asked.items()
    }
    check_task_uses(
        study.config, sets, {name: measure_names(eval_task, config) for name, (eval_task, config) in asked.items()}
    )
