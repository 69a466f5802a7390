"""Checks of a study before anything runs: its base, specs, items, evaluation tasks and windows; only files are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from midspec.core.errors import CheckpointError, ConfigError, SpecError
from midspec.core.records import Checkpoint
from midspec.evals import PreferenceConfig, check_items, measure_names, resolve_items
from midspec.llm import ModelConfig, check_access
from midspec.models import find_checkpoint
from midspec.spec import placeholders
from midspec.study._config import check_sets, check_task_uses
from midspec.study._entries import pooled_set
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, spec_at
from midspec.study._load import Study
from midspec.study._step import Step
from midspec.study.jobs._corpus import AuthoredStep
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.jobs._preference import PreferenceStep
from midspec.study.jobs._sources import SpecNames
from midspec.study.jobs._train import GrpoStep

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def check_beforehand(study: Study, steps: Sequence[Step]) -> None:
    """Refuse a study whose base, specs or items can't be used; only files are read.

    Raises:
        CheckpointError: the base is no checkpoint, or has no chat template.
        ConfigError: a spec uses a placeholder that nothing fills, a contrast is on a set that no item is of, or a
            reward can't be made.
        SpecError: a spec can't be read.
        DataError: the items can't be read.
    """
    base = _check_base(study)
    _check_placeholders(steps)
    _check_items(study, steps)
    _check_tasks(study, steps)
    if base is not None:
        _check_windows(base, steps)
    for step in steps:
        if isinstance(step, GrpoStep):
            step.check_rewards()


def check_judges(study: Study) -> None:
    """Refuse judges that can't be reached, before the training and not after it.

    Raises:
        ConfigError: a key is missing, or a budget is set for a model whose price is unknown.
    """
    evals, models = study.config.evals, study.config.models
    access = models.judge or models.author
    capped = access.model_copy(update={"budget_usd": evals.judging_budget_usd or access.budget_usd})
    for grader in evals.graders:
        check_access(ModelConfig(model=grader), capped)


def _check_base(study: Study) -> Checkpoint | None:
    name = study.config.base.checkpoint
    if name is None:
        return None
    path = study.home / Path(name).expanduser()
    if not path.exists() and "/" in name and path.parent.is_dir():
        hint = "A path starts at the folder of the study file"
        raise CheckpointError(f"there is no folder {path}", where="base.checkpoint", hint=hint)
    try:
        checkpoint = find_checkpoint(str(path) if path.exists() else name)
    except CheckpointError as error:
        raise CheckpointError(f"{error.where}: {error.what}", where="base.checkpoint", hint=error.hint) from error

    def has_template(folder: Path) -> bool:
        settings = folder / "tokenizer_config.json"
        if any((folder / name).exists() for name in _TEMPLATE_FILES):
            return True
        return settings.is_file() and '"chat_template":' in settings.read_text(encoding="utf-8", errors="replace")

    folders = [Path(part).expanduser() for part in (checkpoint.model, checkpoint.adapter) if part is not None]
    if all(folder.is_dir() for folder in folders) and not any(map(has_template, folders)):
        raise CheckpointError(
            f"{path} has no chat template, and every arm is evaluated in chats",
            where="base.checkpoint",
            hint="Use a chat-tuned model, or save its tokenizer with a chat template",
        )
    return checkpoint


def _check_placeholders(steps: Sequence[Step]) -> None:
    """Refuse a spec of a corpus, chats, a task or a context with a placeholder that nothing fills."""
    for step in steps:
        for _, source, names in _filled_specs(step):
            path = source.original.locate({})
            for name in placeholders(spec_at(path, Path(path).stem)):
                if name in ("model_name", "provider_name") and not getattr(names, name):
                    raise ConfigError(
                        f"the spec of {step.name} uses {{{name}}} and no value is given for it",
                        where=f"assistant.{name}",
                        hint=f"Add {name} to assistant in the study file",
                    )
            try:
                names.read(path)
            except SpecError as error:
                hint = error.hint.replace("--called ", "called: ").replace("--model-name", "model_name")
                raise ConfigError(f"{step.name}: {error.what}", where=error.where or "assistant", hint=hint) from error


def _filled_specs(step: Step) -> list[tuple[str, Input, SpecNames]]:
    """Return the specs that a step reads: by role, with the values of their placeholders."""
    if isinstance(step, AuthoredStep):
        return [("spec", step.spec, step.names)]
    if isinstance(step, PreferenceStep) and step.context is not None and step.context_names is not None:
        return [("context", step.context, step.context_names)]
    if isinstance(step, TaskStep):
        return [(role, step.files[role], names) for role, names in step.names.items()]
    return []


def _check_items(study: Study, steps: Sequence[Step]) -> None:
    """Read items that are a file outside or shipped; refuse a set in a contrast or panel that has none of them."""
    readable: dict[tuple[str, str], PreferenceConfig] = {}
    for step in (each for each in steps if isinstance(each, PreferenceStep)):
        original = step.items.original
        # Items that a step makes, or that are on the hub, are not known before the run.
        if isinstance(original, EvalItems) and original.name.startswith(SHIPPED):
            readable[step.kind, original.name] = step.config
        elif isinstance(original, File):
            readable[step.kind, original.path] = step.config
    for (kind, reference), settings in readable.items():
        check_items(items := resolve_items(reference), where=reference, scored=settings)
        if kind == "eval":
            check_sets(study.config, dict.fromkeys(item.set for item in items))


def _check_windows(base: Checkpoint, steps: Sequence[Step]) -> None:
    """Refuse a spec in context that does not fit the window of the base: no question would be answered."""
    specs = [(step.name, *each[1:]) for step in steps for each in _filled_specs(step) if each[0] == "context"]
    if not specs:
        return
    from midspec.models import tokenizer_of, window_of  # brings torch, which takes seconds

    window = window_of(base)
    for name, source, names in {str(each[1:]): each for each in specs}.values() if window else ():
        text = names.read(source.original.locate({})).text
        try:
            n_tokens = len(tokenizer_of(base)(text, add_special_tokens=False)["input_ids"])
        except CheckpointError:  # it is said when the base is opened
            return
        if window and n_tokens >= window:
            what = f"the spec in context has {n_tokens:,} tokens, and the base's window {window:,}"
            hint = "Shorten the spec, leave that arm out, or use a base with a longer window"
            raise ConfigError(what, where=name, hint=hint)


def _check_tasks(study: Study, steps: Sequence[Step]) -> None:
    """Refuse a set or measure in a contrast or panel that its task does not have."""
    first = {step.task: step for step in reversed(steps) if isinstance(step, TaskStep)}
    tasks = {name: step.complete() for name, step in first.items()}
    sets = {
        name: dict.fromkeys(f"{name}/{each.set}" for each in eval_task.questions(config))
        for name, (eval_task, config) in tasks.items()
    }
    for name, own in sets.items():
        own.setdefault(pooled_set(name))
    measures = {name: measure_names(eval_task, config) for name, (eval_task, config) in tasks.items()}
    check_task_uses(study.config, sets, measures)
