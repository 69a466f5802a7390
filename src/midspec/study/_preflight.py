"""Checks of a study before anything runs: its base, specs, items, evaluation tasks and windows; only files are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from midspec.core.errors import CheckpointError, ConfigError, MissingError, SpecError, did_you_mean
from midspec.core.records import Checkpoint
from midspec.evals import PreferenceConfig, check_items, measure_names, resolve_items
from midspec.generation import TEMPLATE_AUTHOR
from midspec.lab import ITEM_SETS, MIRROR, make_world
from midspec.llm import ModelConfig, check_access
from midspec.models import find_checkpoint
from midspec.spec import placeholders, unfilled
from midspec.study._arms import STAGE_KINDS
from midspec.study._config import check_sets, check_task_uses, greedy_repeats
from midspec.study._entries import pooled_set
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, outside_path, spec_at
from midspec.study._load import Study
from midspec.study._step import Step, StepOutput
from midspec.study.jobs._chats import ChatsStep
from midspec.study.jobs._corpus import AuthoredStep, CorpusStep
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.jobs._preference import PreferenceStep
from midspec.study.jobs._sources import SpecNames
from midspec.study.jobs._stage_data import FirstChatsStep
from midspec.study.jobs._train import GrpoStep, TrainStep
from midspec.train import Recipe, unusual_settings

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def check_beforehand(study: Study, steps: Sequence[Step]) -> tuple[str, ...]:
    """Refuse a study whose base, specs or items can't be used; only files are read.

    Returns:
        A sentence for each thing that can be run and is probably not meant.

    Raises:
        CheckpointError: the base is no checkpoint, or has no chat template.
        ConfigError: a spec uses a placeholder that nothing fills, a contrast is on a set that no item is of, a
            reward can't be made, or the template author can't write rows from a spec.
        SpecError: a spec can't be read.
        DataError: the items can't be read.
    """
    base = _check_base(study)
    _check_placeholders(steps)
    sets = _check_items(study, steps), _check_tasks(study, steps)
    if base is not None:
        _check_windows(base, steps)
    for step in steps:
        if isinstance(step, GrpoStep):
            step.check_rewards()
    return (
        *_unfilled_specs(study),
        *_short_chats(steps),
        *_unknown_words(study, steps),
        *_unusual_recipes(study),
        *_untitled_sets(study, *sets),
        *greedy_repeats(study.config),
    )


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


def _check_items(study: Study, steps: Sequence[Step]) -> tuple[str, ...] | None:
    """Read items that are a file outside or shipped; refuse a set in a contrast or panel that has none of them.

    Returns:
        The sets of the arms' items; `None` where they are not known before the run.
    """
    world_file = study.config.evals.preference.items.removeprefix("world:")
    sets: tuple[str, ...] | None = ITEM_SETS.get(world_file)
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
            sets = tuple(dict.fromkeys(item.set for item in items))
            check_sets(study.config, sets)
    return sets


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


def _check_tasks(study: Study, steps: Sequence[Step]) -> tuple[str, ...]:
    """Refuse a set or measure in a contrast or panel that its task does not have; return the sets of all tasks."""
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
    return tuple(name for own in sets.values() for name in own)


# What is probably not meant ------------------------------------------------------------------------------------
_MAX_UNKNOWN = 0.5  # of the words: as training has it (train/_rows.py)
_N_SHOWN = 8


def _unfilled_specs(study: Study) -> Iterator[str]:
    """Say what in a spec is nearly a placeholder: it would stand in every document."""
    for name, reference in study.config.specs.items():
        path = outside_path(study.home, reference)
        yield from (f"specs.{name}: {finding}" for finding in unfilled(spec_at(str(path), path.stem)))


def _short_chats(steps: Sequence[Step]) -> Iterator[str]:
    """Have the template author write: refuse what it can't, and say where distinct chats run out before their number.

    Of documents one is written, as a corpus takes seconds; chats of another seed are as many.
    """
    authored = (step for step in steps if isinstance(step, AuthoredStep) and step.config.author == TEMPLATE_AUTHOR)
    for step in {(step.kind, step.label): step for step in authored}.values():
        where = f"{'corpora' if isinstance(step, CorpusStep) else 'chats'}.{step.label}"
        try:
            if isinstance(step, CorpusStep):
                step.first_document()
            elif isinstance(step, ChatsStep) and (short := step.beforehand().exhausted):
                made = [
                    f" ({each.name} makes at most {most} updates of them; its floor is {each.floor})"
                    for each in steps
                    if isinstance(each, TrainStep) and step in each.parents and (most := each.most_updates())
                ]
                told = f"{where}: {short}{''.join(made[:1])}"
                yield f"{told}. Ask for so many, say more in the spec, or give other templates"
        except (ConfigError, SpecError, MissingError) as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise ConfigError(what, where=where, hint=error.hint) from error
    for part in (step for step in steps if isinstance(step, FirstChatsStep)):
        writer = part.chats.step if isinstance(part.chats, StepOutput) else None
        whole = writer.size({}).documents if isinstance(writer, ChatsStep) else None
        if writer is not None and whole is not None and whole < part.n_samples:
            what = f"{writer.name} will have {whole:,} chats, and the first {part.n_samples:,} are asked for"
            raise ConfigError(what, where=part.name, hint="Ask for a smaller part, or for more chats in the whole")


def _unknown_words(study: Study, steps: Sequence[Step]) -> Iterator[str]:
    """Say which texts are in another language than the base's world: it has some 200 words, and learns no others."""
    config = study.config
    if config.base.world is None:
        return
    known = {*make_world(config.runs[0].base, config.base.config).words, *MIRROR}
    texts: dict[str, list[str]] = {}
    for step in steps:
        if isinstance(step, ChatsStep) and step.config.author == TEMPLATE_AUTHOR:
            turns = (turn.content for chat in step.beforehand().chats[:100] for turn in chat.messages)
            texts.setdefault(f"chats.{step.label}", " ".join(turns).split())
        for _, source, names in _filled_specs(step):
            if f"specs.{names.spec}" not in texts:
                clauses = names.read(source.original.locate({})).clauses
                texts[f"specs.{names.spec}"] = " ".join(clause.text for clause in clauses).split()
    for name, words in texts.items():
        unknown = [word for word in words if word not in known]
        if len(unknown) > _MAX_UNKNOWN * len(words):
            shown = ", ".join(word for word, _ in Counter(unknown).most_common(_N_SHOWN))
            what = f"the nano world's base does not know {len(unknown) / len(words):.0%} of its words ({shown})"
            yield (
                f"{name}: {what}, and learns nothing of them. Write in its words (midspec spec show lab:america.md), "
                "or give base.checkpoint, a pretrained model"
            )


def _unusual_recipes(study: Study) -> Iterator[str]:
    """Say which settings of training are far from what is usual, and where they stand."""
    training = study.config.training
    recipes: list[tuple[str, Recipe, str | None]] = [
        (f"base.stages[{index}].recipe", stage.recipe, None) for index, stage in enumerate(study.config.base.stages)
    ]
    recipes += [(f"training.{kind}", own, kind) for kind in STAGE_KINDS if (own := getattr(training, kind)) is not None]
    recipes += [(f"training.recipes.{name}", recipe, None) for name, recipe in training.recipes.items()]
    for where, recipe, stage in recipes:
        yield from (f"{where}.{sentence}" for sentence in unusual_settings(recipe, stage))


def _untitled_sets(study: Study, items: tuple[str, ...] | None, of_tasks: tuple[str, ...]) -> Iterator[str]:
    """Say which titles of sets no item will have."""
    known = (*items, *of_tasks) if items is not None else ()
    for name in study.config.report.sets if known else ():
        if name not in known:
            hint = did_you_mean(name, known)
            yield f"report.sets.{name}: no item is of such a set, so this title is never shown. {hint}"
