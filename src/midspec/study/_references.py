"""Every name in a study that stands for another part of it does stand for one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from midspec.errors import ConfigError

if TYPE_CHECKING:
    from midspec.study._config import Arm, StudyConfig

__all__ = ["check_references", "did_you_mean"]


class _Use(NamedTuple):
    """A name, the field that it stands in, and what it must be one of."""

    path: str
    name: str
    kind: str
    known: Iterable[str]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The mend for a wrong name: the nearest right one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]}?"
    return f"There is {', '.join(known)}" if known else "There is none in this study"


def check_references(config: StudyConfig) -> None:
    """Refuse a study that names what it does not hold.

    Raises:
        ConfigError: the first such name, where it stands and the nearest one that exists.
    """
    for use in _uses(config):
        if use.name not in set(use.known):
            raise ConfigError(
                f"there is no {use.kind} named {use.name!r}", where=use.path, mend=did_you_mean(use.name, use.known)
            )
    _check_recipes(config)
    _check_distinct_arms(config)


def _uses(config: StudyConfig) -> Iterator[_Use]:
    for name, corpus in config.corpora.items():
        yield _Use(f"corpora.{name}.spec", corpus.spec, "spec", config.specs)
    for name, chats in config.chats.items():
        yield _Use(f"chats.{name}.spec", chats.spec, "spec", config.specs)
    for name, arm in config.arms.items():
        yield from _arm_uses(config, name, arm)
    contrasts = [contrast.name for contrast in config.contrasts]
    for index, contrast in enumerate(config.contrasts):
        yield _Use(f"contrasts[{index}].plus", contrast.plus, "arm", config.arms)
        yield _Use(f"contrasts[{index}].minus", contrast.minus, "arm", config.arms)
    for index, panel in enumerate(config.report.panels):
        for arm_name in panel.arms:
            yield _Use(f"report.panels[{index}].arms", arm_name, "arm", config.arms)
    for name in config.report.main_contrasts:
        yield _Use("report.main_contrasts", name, "contrast", contrasts)


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
                mend=f"Add training.{stage}",
            )


def _check_distinct_arms(config: StudyConfig) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for name, arm in config.arms.items():
        key = (arm.midtrain, arm.finetune, arm.context, arm.cot if arm.finetune else True)
        if key in seen:
            raise ConfigError(f"the same stages as arm {seen[key]}", where=f"arms.{name}", mend="Remove one of the two")
        seen[key] = name
