"""The config of a study, and the checks that every name in it refers to something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic import Field, model_validator

from midspec.core.errors import ConfigError, did_you_mean
from midspec.core.records import Contrast, Strict
from midspec.curate import CurateConfig
from midspec.evals import MEASURES, repeats_warning, task_named
from midspec.lab import ITEM_SETS
from midspec.study._arms import Arm, ArmStage, PairsEntry, PressureEntry, RewardsEntry, Training
from midspec.study._chains import Recipes, arm_points, check_chain
from midspec.study._entries import (
    Assistant,
    Base,
    ChatsEntry,
    CorpusEntry,
    Evals,
    Gate,
    MatchedEntry,
    Mixes,
    Models,
    StepEntry,
    check_graders,
    pooled_set,
)
from midspec.study._execution_entry import ExecutionEntry
from midspec.study._report_entry import ReportEntry
from midspec.study._seeds import Seeds

_WORLD = "world:"


_MAX_SEED = 1_000_000


class Run(NamedTuple):
    """One midtraining of every arm: `seed` draws its data and orders, from the base of the study's seed `base`.

    `world` is the seed that its world is called by: `base`, or of the mirrored world a number of its own.
    """

    seed: int
    base: int
    world: int


class StudyConfig(Strict):
    """A whole study: specs, base, data, arms, seeds, evaluations and the comparisons fixed before the run.

    With `curate` all documents and chats pass its filters before anything is trained on them; one of these is the check
    against all items of the study's evaluations. `pairs`, `rewards` and `pressure` are data of stages after
    fine-tuning. Corpora that are `matched` are cut to equal lengths, document by document. `steps` are further ones, of
    kinds from other packages.
    """

    # It names a folder by default, whose name has at most 255 bytes, and files beside it.
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)
    title: str = ""
    question: str = ""
    seeds: Seeds
    assistant: Assistant = Assistant()
    base: Base
    gate: Gate | None = None
    specs: dict[str, str] = Field(default_factory=dict)
    corpora: dict[str, CorpusEntry] = Field(default_factory=dict)
    chats: dict[str, ChatsEntry] = Field(default_factory=dict)
    models: Models = Models()
    curate: CurateConfig | None = None
    matched: dict[str, MatchedEntry] = Field(default_factory=dict)
    mixes: Mixes = Mixes()
    pairs: dict[str, PairsEntry] = Field(default_factory=dict)
    rewards: dict[str, RewardsEntry] = Field(default_factory=dict)
    pressure: dict[str, PressureEntry] = Field(default_factory=dict)
    training: Training = Training()
    arms: dict[str, Arm] = Field(min_length=1)
    evals: Evals
    steps: dict[str, StepEntry] = Field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()
    report: ReportEntry = ReportEntry()
    execution: ExecutionEntry = ExecutionEntry()

    @property
    def recipes(self) -> Recipes:
        """Return the recipes of stages, with the rewards that they name."""
        return Recipes(self.training, self.rewards)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the midtrainings of every seed, in order: of seed 101 the first is run 101, the next 1000101."""
        return tuple(
            Run(
                seed=seed + index * _MAX_SEED,
                base=seed,
                world=seed + _MAX_SEED if self.base.mirror and index % 2 else seed,
            )
            for seed in self.seeds
            for index in range(self.base.midtrainings)
        )

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """Return the seeds of all runs."""
        return tuple(run.seed for run in self.runs)

    @model_validator(mode="after")
    def _references(self) -> StudyConfig:
        if self.base.midtrainings > 1 and not all(0 <= seed < _MAX_SEED for seed in self.seeds):
            hint = "Larger numbers are those of further midtrainings"
            raise ConfigError(f"a seed that is not from 0 to {_MAX_SEED - 1:,}", where="seeds", hint=hint)
        for part, entries in self:
            if isinstance(entries, dict) and not all(name.strip() for name in entries):
                raise ConfigError("a name is empty", where=part, hint="Give it one")
        contrasts = [one.name for one in self.contrasts]
        for index, one in enumerate(self.contrasts):
            if one.name in contrasts[:index]:
                raise ConfigError(f"{one.name!r} is named twice", where=f"contrasts[{index}].name", hint="Rename one")
            if one.plus == one.minus:
                hint = "Name two arms, or remove it"
                raise ConfigError("an arm is compared with itself", where=f"contrasts[{index}].minus", hint=hint)
        check_references(self)
        return self


class _Use(NamedTuple):
    """A name, the field that it stands in, and what it must be one of."""

    path: str
    name: str
    kind: str
    known: Iterable[str]


def check_references(config: StudyConfig) -> None:
    """Refuse a study that names what it does not have, or whose arms can't be trained, distinguished or judged.

    Raises:
        ConfigError: the first such name, where it stands and the nearest one that exists.
    """
    savings = (
        _Use(f"report.savings[{index}]", arm_name, "arm", config.arms)
        for index, saving in enumerate(config.report.savings)
        for arm_name in (*saving.without.values(), *saving.treated.values())
    )
    _check_uses((*_uses(config), *_report_uses(config), *savings))
    world_file = config.evals.preference.items.removeprefix(_WORLD)
    if config.evals.preference.items.startswith(_WORLD):
        check_sets(config, ITEM_SETS[world_file])
    _check_arms(config)
    _check_matched(config)
    judged = [name for name, entry in config.evals.tasks.items() if task_named(name).rubric(entry) is not None]
    if judged and not config.evals.graders:
        hint = "Add evals.graders, such as [openai/gpt-5]"
        raise ConfigError("needs a judge and none is named", where=f"evals.{judged[0]}", hint=hint)
    check_graders(config.evals.graders, "evals.graders")


def check_sets(config: StudyConfig, known: Iterable[str]) -> None:
    """Refuse a contrast or panel on a set that no item is of.

    Args:
        config: the study.
        known: the sets of its items.

    Raises:
        ConfigError: the first such set, where it stands and the nearest one that exists.
    """
    sets = tuple(known)
    uses = (use for use in _measure_uses(config) if use.eval_task is None)
    _check_uses(_Use(f"{use.path}set", use.set, "set of items", sets) for use in uses if use.set)


def check_task_uses(
    config: StudyConfig, sets: Mapping[str, Iterable[str]], measures: Mapping[str, Iterable[str]]
) -> None:
    """Refuse a contrast or panel on a set or measure that its task does not have.

    Args:
        config: the study.
        sets: of each task, as `<task>/<set>`.
        measures: of each task.

    Raises:
        ConfigError: the first such name, where it stands and the nearest one that exists.
    """
    for path, set_name, measure, eval_task in _measure_uses(config):
        if eval_task is not None:
            uses = [_Use(f"{path}set", set_name, f"set of {eval_task}", sets[eval_task])]
            uses += [_Use(f"{path}measure", measure, f"measure of {eval_task}", measures[eval_task])]
            _check_uses(use for use in uses if use.name)


def trained_questions(config: StudyConfig) -> tuple[str, ...]:
    """Say which rewards pay on the very questions of a task that the arms are evaluated with."""
    used = {name for arm in config.arms.values() for stage in arm.chain for name in stage.grpo}
    return tuple(
        f"rewards.{name} is paid on the questions of {entry.task}, which the arms are evaluated with."
        for name, entry in config.rewards.items()
        if name in used and not entry.prompts and entry.task in config.evals.tasks
    )


def greedy_repeats(config: StudyConfig) -> tuple[str, ...]:
    """Say which tasks ask for the same answer several times."""
    found = (repeats_warning(name, entry) for name, entry in config.evals.tasks.items())
    return tuple(warning for warning in found if warning)


def unknown_savings(config: StudyConfig) -> tuple[str, ...]:
    """Say which factors of chats saved the study will not know: they need two bases."""
    few = config.report.savings if len(config.seeds) < 2 else ()
    return tuple(f"report.savings {one.name!r} needs two seeds at least, and there is one." for one in few)


def pooled_tasks(config: StudyConfig) -> tuple[str, ...]:
    """Return the tasks of which the study compares or shows all sets together, as `<task>/all`."""
    named = {use.set for use in _measure_uses(config) if use.eval_task is not None}
    return tuple(task for task in config.evals.tasks if pooled_set(task) in named)


class _MeasureUse(NamedTuple):
    """A set and a measure that the study shows or compares, and the task that they are of; `None` for preferences."""

    path: str
    set: str
    measure: str
    eval_task: str | None


def _measure_uses(config: StudyConfig) -> Iterator[_MeasureUse]:
    """Yield every pair of a set and a measure; sets of tasks are `<task>/<set>`."""
    report = config.report
    pairs = [(f"contrasts[{index}].", one.set, one.measure) for index, one in enumerate(config.contrasts)]
    pairs += [(f"report.panels[{index}].", one.set, one.measure) for index, one in enumerate(report.panels)]
    pairs += [(f"report.published[{index}].", one.set, one.measure) for index, one in enumerate(report.published)]
    pairs += [(f"report.savings[{index}].", one.set, one.measure) for index, one in enumerate(report.savings)]
    pairs += [("report.main_", report.main_set, report.main_measure)]
    for path, name, measure in pairs:
        eval_task = name.partition("/")[0]
        yield _MeasureUse(path, name, measure, eval_task if "/" in name and eval_task in config.evals.tasks else None)


def _check_uses(uses: Iterable[_Use]) -> None:
    for use in uses:
        if use.name not in set(use.known):
            raise ConfigError(
                f"there is no {use.kind} named {use.name!r}", where=use.path, hint=did_you_mean(use.name, use.known)
            )


def _uses(config: StudyConfig) -> Iterator[_Use]:
    """Yield every name of a spec, a corpus and chats."""
    entries = {f"corpora.{name}": corpus for name, corpus in config.corpora.items()}
    for path, entry in {**entries, **{f"chats.{name}": chats for name, chats in config.chats.items()}}.items():
        if isinstance(entry, ChatsEntry) and entry.part_of is not None:
            whole = [name for name, each in config.chats.items() if each.part_of is None]
            yield _Use(f"{path}.part_of", entry.part_of, "chats", whole)
        elif entry.documents is None:
            yield _Use(f"{path}.spec", entry.spec, "spec", config.specs)
        else:
            yield _Use(f"{path}.documents", entry.documents, "corpus", config.corpora)
    for name, matched in config.matched.items():
        yield from (_Use(f"matched.{name}.corpora", each, "corpus", config.corpora) for each in matched.corpora)
    yield from _stage_data_uses(config)
    for name, arm in config.arms.items():
        for index, stage in enumerate(arm.chain):
            path = f"arms.{name}.stages[{index}]" if arm.stages else f"arms.{name}"
            yield from _stage_uses(config, stage, path)
        if arm.context is not None:
            yield _Use(f"arms.{name}.context", arm.context, "spec", config.specs)
    for name, eval_task in config.evals.tasks.items():
        if (spec := eval_task.model_dump().get("spec")) is not None:
            yield _Use(f"evals.{name}.spec", str(spec), "spec", config.specs)


def _stage_data_uses(config: StudyConfig) -> Iterator[_Use]:
    """Yield every name of chats that pairs, rewards and pressure are made from."""
    for name, pairs in config.pairs.items():
        named = {"chosen": pairs.chosen, "rejected": pairs.rejected}
        yield from (
            _Use(f"pairs.{name}.{role}", chats, "chats", config.chats) for role, chats in named.items() if chats
        )
        yield from (_Use(f"pairs.{name}.ranked_by", each, "reward", config.rewards) for each in pairs.ranked_by)
    for name, reward in config.rewards.items():
        # A word is the name of chats; anything else is a file.
        words = [each for each in reward.prompts if each.isidentifier()]
        yield from (_Use(f"rewards.{name}.prompts", each, "chats", config.chats) for each in words)
    for name, pressure in config.pressure.items():
        if pressure.conflicting is not None:
            yield _Use(f"pressure.{name}.conflicting", pressure.conflicting, "chats", config.chats)


def _stage_uses(config: StudyConfig, stage: ArmStage, path: str) -> Iterator[_Use]:
    """Yield the names of a stage's data and of its recipe."""
    mix = ["it_mix"] if config.mixes.it_mix else []
    kinds: dict[str, tuple[str, Iterable[str]]] = {
        "midtrain": ("corpus", config.corpora),
        "finetune": ("chats", [*config.chats, *config.pressure, *mix]),
        "dpo": ("pairs", config.pairs),
        "grpo": ("reward", config.rewards),
    }
    what, known = kinds[stage.kind]
    yield from (_Use(f"{path}.{stage.kind}", name, what, known) for name in stage.data)
    if stage.recipe:
        yield _Use(f"{path}.recipe", stage.recipe, "recipe", config.recipes.names)


def _report_uses(config: StudyConfig) -> Iterator[_Use]:
    """Yield every name of an arm, contrast, preference measure and file of the world that is compared or shown."""
    compared = [point.name for name, arm in config.arms.items() for point in arm_points(name, arm)]
    for index, contrast in enumerate(config.contrasts):
        path = f"contrasts[{index}]"
        named = {"plus": contrast.plus, "minus": contrast.minus}
        named |= {f"less.{side}": arm for side, arm in (contrast.less or {})}
        yield from (_Use(f"{path}.{side}", arm_name, "arm", compared) for side, arm_name in named.items())
    for index, panel in enumerate(config.report.panels):
        yield from (_Use(f"report.panels[{index}].arms", arm_name, "arm", config.arms) for arm_name in panel.arms)
    for index, each in enumerate(config.report.published):
        arms = [each.arm, each.minus] if each.minus else [each.arm]
        yield from (_Use(f"report.published[{index}]", arm_name, "arm", compared) for arm_name in arms)
    for name in config.report.main_contrasts:
        yield _Use("report.main_contrasts", name, "contrast", [contrast.name for contrast in config.contrasts])
    for path, _, measure, eval_task in _measure_uses(config):
        if eval_task is None and measure:
            yield _Use(f"{path}measure", measure, "measure", MEASURES)
    items = {"evals.preference.items": config.evals.preference.items}
    if config.gate is not None:
        yield _Use("gate.measure", config.gate.measure, "measure", MEASURES)
        items["gate.items"] = config.gate.items
    for path, reference in items.items():
        if reference.startswith(_WORLD):
            yield _Use(path, reference, "file of items", [f"{_WORLD}{name}" for name in ITEM_SETS])


def _check_matched(config: StudyConfig) -> None:
    """Refuse rows that can't be made of others: corpora matched twice or of made ones, more chats than there are."""
    groups: dict[str, str] = {}
    for group, matched in config.matched.items():
        where = f"matched.{group}.corpora"
        for name in matched.corpora:
            if name in groups:
                hint = "Put all that it is matched with into one group"
                raise ConfigError(f"{name} is matched in {groups[name]} already", where=where, hint=hint)
            if (source := config.corpora[name].documents) is not None:
                hint = f"Match {source}; give other arms' documents a `disclosure` of as many tokens"
                raise ConfigError(f"{name} is made of {source}", where=where, hint=hint)
            groups[name] = group
    for name, chats in config.chats.items():
        whole = config.chats[chats.part_of].n_wanted if chats.part_of else None
        if whole is not None and whole < (chats.n_samples or 0):
            hint = "Ask for fewer, or enlarge those"
            raise ConfigError(f"{chats.part_of} has {whole:,} chats", where=f"chats.{name}.n_samples", hint=hint)
    for name, corpus in config.corpora.items():
        if corpus.documents is not None and config.corpora[corpus.documents].documents is not None:
            hint = "Name the corpus that those are made of"
            raise ConfigError(f"{corpus.documents} is made of another corpus", where=f"corpora.{name}", hint=hint)


def _check_arms(config: StudyConfig) -> None:
    """Refuse a stage that can't be trained, two arms of the same stages, and names that are taken."""
    for name in config.pressure:
        if name in config.chats:
            raise ConfigError("chats have this name too", where=f"pressure.{name}", hint="Rename one of the two")
    seen: dict[tuple[object, ...], str] = {}
    for name, arm in config.arms.items():
        check_chain(name, arm, config.recipes)
        if config.base.world and arm.stages and arm.stages[0].adapter != "continue":
            hint = "Leave it out"
            raise ConfigError("the base has no adapter", where=f"arms.{name}.stages[0].adapter", hint=hint)
        stages = tuple(stage.model_copy(update={"label": "", "checkpoints": ()}) for stage in arm.chain)
        key = (stages, arm.context, arm.cot if any(stage.finetune or stage.dpo for stage in stages) else True)
        if key in seen:
            raise ConfigError(f"the same stages as arm {seen[key]}", where=f"arms.{name}", hint="Remove one of the two")
        seen[key] = name
        for point in arm_points(name, arm):
            if point.name != name and point.name in config.arms:
                hint = f"It names a point of arm {name}; rename one of the two"
                raise ConfigError("there is an arm of this name", where=f"arms.{point.name}", hint=hint)
