"""The study file: what is compared with what, and that every name in it stands for something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pydantic import Field, field_validator, model_validator

from midspec.core.errors import ConfigError, did_you_mean
from midspec.core.records import Contrast, Strict
from midspec.curate import CurateConfig
from midspec.evals import MEASURES, task_named
from midspec.lab import ITEM_SETS
from midspec.study._entries import (
    Arm,
    Assistant,
    Base,
    ChatsEntry,
    CorpusEntry,
    Evals,
    Gate,
    Mixes,
    Models,
    ReportEntry,
    StepEntry,
    Training,
    check_graders,
)

_WORLD = "world:"


class StudyConfig(Strict):
    """A whole study: specs, base, data, arms, seeds, evaluations and the comparisons fixed before the run.

    With `curate` all documents and chats pass its filters before anything is trained on them, among these the check
    against all that the study's evaluations ask. `steps` are further ones, of kinds that other packages bring.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    question: str = ""
    seeds: tuple[int, ...] = Field(min_length=1)
    assistant: Assistant = Assistant()
    base: Base
    gate: Gate | None = None
    specs: dict[str, str] = Field(default_factory=dict)
    corpora: dict[str, CorpusEntry] = Field(default_factory=dict)
    chats: dict[str, ChatsEntry] = Field(default_factory=dict)
    models: Models = Models()
    curate: CurateConfig | None = None
    mixes: Mixes = Mixes()
    training: Training = Training()
    arms: dict[str, Arm] = Field(min_length=1)
    evals: Evals
    steps: dict[str, StepEntry] = Field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()
    report: ReportEntry = ReportEntry()

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is named twice")
        return seeds

    @model_validator(mode="after")
    def _references(self) -> StudyConfig:
        check_references(self)
        return self


class _Use(NamedTuple):
    """A name, the field that it stands in, and what it must be one of."""

    path: str
    name: str
    kind: str
    known: Iterable[str]


def check_references(config: StudyConfig) -> None:
    """Refuse a study that names what it does not hold.

    Raises:
        ConfigError: the first such name, where it stands and the nearest one that exists.
    """
    _check_uses((*_uses(config), *_measure_uses(config), *_world_uses(config)))
    world_file = config.evals.preference.items.removeprefix(_WORLD)
    if config.evals.preference.items.startswith(_WORLD):
        check_sets(config, ITEM_SETS[world_file])
    _check_recipes(config)
    _check_distinct_arms(config)
    _check_judges(config)


def check_sets(config: StudyConfig, known: Iterable[str]) -> None:
    """Refuse a contrast or panel on a set that no item is of.

    Args:
        config: the study.
        known: the sets of its items.

    Raises:
        ConfigError: the first such set, where it stands and the nearest one that exists.
    """
    sets = tuple(known)
    used = (one for one in _shown(config) if one.eval_task is None)
    _check_uses(_Use(f"{one.path}set", one.set, "set of items", sets) for one in used if one.set)


def check_task_uses(
    config: StudyConfig, sets: Mapping[str, Iterable[str]], measures: Mapping[str, Iterable[str]]
) -> None:
    """Refuse a contrast or panel on a set or measure that its exam does not have.

    Args:
        config: the study.
        sets: of each exam, as `<exam>/<set>`.
        measures: of each exam.

    Raises:
        ConfigError: the first such name, where it stands and the nearest one that exists.
    """
    for one in _shown(config):
        if one.eval_task is not None:
            uses = [_Use(f"{one.path}set", one.set, f"set of {one.eval_task}", sets[one.eval_task])]
            uses += [_Use(f"{one.path}measure", one.measure, f"measure of {one.eval_task}", measures[one.eval_task])]
            _check_uses(use for use in uses if use.name)


class _Shown(NamedTuple):
    """A set and a measure that the study shows or compares, and the exam whose they are; `None` for preferences."""

    path: str
    set: str
    measure: str
    eval_task: str | None


def _shown(config: StudyConfig) -> Iterator[_Shown]:
    """Every pair of a set and a measure; sets of exams are `<exam>/<set>`."""
    report = config.report
    found = [(f"contrasts[{index}].", one.set, one.measure) for index, one in enumerate(config.contrasts)]
    found += [(f"report.panels[{index}].", one.set, one.measure) for index, one in enumerate(report.panels)]
    found += [("report.main_", report.main_set, report.main_measure)]
    for path, name, measure in found:
        eval_task = name.partition("/")[0]
        yield _Shown(path, name, measure, eval_task if "/" in name and eval_task in config.evals.tasks else None)


def _check_uses(uses: Iterable[_Use]) -> None:
    for use in uses:
        if use.name not in set(use.known):
            raise ConfigError(
                f"there is no {use.kind} named {use.name!r}", where=use.path, hint=did_you_mean(use.name, use.known)
            )


def _uses(config: StudyConfig) -> Iterator[_Use]:
    for name, corpus in config.corpora.items():
        yield _Use(f"corpora.{name}.spec", corpus.spec, "spec", config.specs)
    for name, chats in config.chats.items():
        yield _Use(f"chats.{name}.spec", chats.spec, "spec", config.specs)
    for name, arm in config.arms.items():
        yield from _arm_uses(config, name, arm)
    for name, eval_task in config.evals.tasks.items():
        if (spec := eval_task.model_dump().get("spec")) is not None:
            yield _Use(f"evals.{name}.spec", str(spec), "spec", config.specs)
    contrasts = [contrast.name for contrast in config.contrasts]
    for index, contrast in enumerate(config.contrasts):
        yield _Use(f"contrasts[{index}].plus", contrast.plus, "arm", config.arms)
        yield _Use(f"contrasts[{index}].minus", contrast.minus, "arm", config.arms)
    for index, panel in enumerate(config.report.panels):
        for arm_name in panel.arms:
            yield _Use(f"report.panels[{index}].arms", arm_name, "arm", config.arms)
    for name in config.report.main_contrasts:
        yield _Use("report.main_contrasts", name, "contrast", contrasts)


def _measure_uses(config: StudyConfig) -> Iterator[_Use]:
    for one in _shown(config):
        if one.eval_task is None and one.measure:
            yield _Use(f"{one.path}measure", one.measure, "measure", MEASURES)
    if config.gate is not None:
        yield _Use("gate.measure", config.gate.measure, "measure", MEASURES)


def _world_uses(config: StudyConfig) -> Iterator[_Use]:
    asked = {"evals.preference.items": config.evals.preference.items}
    asked |= {"gate.items": config.gate.items} if config.gate else {}
    for path, items in asked.items():
        if items.startswith(_WORLD):
            yield _Use(path, items, "file of items", [f"{_WORLD}{name}" for name in ITEM_SETS])


def _arm_uses(config: StudyConfig, name: str, arm: Arm) -> Iterator[_Use]:
    for corpus in arm.midtrain:
        yield _Use(f"arms.{name}.midtrain", corpus, "corpus", config.corpora)
    known = [*config.chats, *(["it_mix"] if config.mixes.it_mix else [])]
    for chats in arm.finetune:
        yield _Use(f"arms.{name}.finetune", chats, "chats", known)
    if arm.context is not None:
        yield _Use(f"arms.{name}.context", arm.context, "spec", config.specs)


def _check_recipes(config: StudyConfig) -> None:
    for stage, recipe in (("midtrain", config.training.midtrain), ("finetune", config.training.finetune)):
        users = [name for name, arm in config.arms.items() if (arm.midtrain if stage == "midtrain" else arm.finetune)]
        if users and recipe is None:
            raise ConfigError(
                f"arm {users[0]} has a {stage} stage and there is no recipe for it",
                where="training",
                hint=f"Add training.{stage}",
            )


def _check_judges(config: StudyConfig) -> None:
    """Exams with a rubric find a judge, and it is not what the arms are made from."""
    judged = [name for name, entry in config.evals.tasks.items() if task_named(name).rubric(entry) is not None]
    if judged and not config.evals.graders:
        hint = "Add evals.graders, such as [openai/gpt-5]"
        raise ConfigError("needs a judge and none is named", where=f"evals.{judged[0]}", hint=hint)
    check_graders(config.evals.graders, "evals.graders")


def _check_distinct_arms(config: StudyConfig) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for name, arm in config.arms.items():
        key = (arm.midtrain, arm.finetune, arm.context, arm.cot if arm.finetune else True)
        if key in seen:
            raise ConfigError(f"the same stages as arm {seen[key]}", where=f"arms.{name}", hint="Remove one of the two")
        seen[key] = name
