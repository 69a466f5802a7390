"""Which steps of a study are meant: by name or pattern, what they are made from or lead to, one of each kind."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from midspec.core.errors import ConfigError
from midspec.study._step import Step
from midspec.study.jobs._eval_task import TaskStep

_OF_EVERYTHING = {"analysis", "report"}


def with_descendants(steps: Iterable[Step], names: Iterable[str]) -> set[str]:
    """Return these steps and all that are made from them; `steps` are in the order in which they can be done."""
    selected = set(names)
    for step in steps:
        if any(parent.name in selected for parent in step.parents):
            selected.add(step.name)
    return selected


def with_ancestors(steps: Sequence[Step], names: Iterable[str]) -> set[str]:
    """Return these steps and all that they are made from."""
    selected = set(names)
    for step in reversed(steps):
        if step.name in selected:
            selected.update(parent.name for parent in step.parents)
    return selected


def canary_of(steps: Sequence[Step]) -> set[str]:
    """Return one step of each kind, and of each evaluation task, with all that they are made from.

    Of a kind the step is taken that needs the fewest others besides those that are taken already, so that all are of
    one seed and as few arms as there can be. What is made from everything is no canary.
    """
    chosen: set[str] = set()
    for kind in dict.fromkeys(_sort(step) for step in steps if step.kind not in _OF_EVERYTHING):
        needed = [with_ancestors(steps, [step.name]) for step in steps if _sort(step) == kind]
        chosen |= min(needed, key=lambda names: len(names - chosen))
    return chosen


def _sort(step: Step) -> str:
    return f"{step.kind} {step.task}" if isinstance(step, TaskStep) else step.kind


def matching_steps(steps: Sequence[Step], patterns: Iterable[str], option: str) -> set[str]:
    """Return the names of the steps that names, patterns or kinds stand for.

    Args:
        steps: of the study.
        patterns: such as `eval/*`, `midtrain` or `midtrain/america`.
        option: that holds them, for an error.

    Raises:
        ConfigError: one stands for no step; says which may be meant.
    """
    names = [step.name for step in steps]
    selected: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
        hits = hits or [step.name for step in steps if pattern in {step.kind, f"{step.kind}/{step.label}"}]
        if not hits:
            near = meant_steps(pattern, steps)
            hint = f"Did you mean {' or '.join(near)}?" if near else "midspec plan lists the steps"
            raise ConfigError(f"there is no step {pattern!r}", where=option, hint=hint)
        selected.update(hits)
    return selected


# What people call the kinds of steps: keys of a study file, and words of the field.
_CALLED = {"corpora": "corpus", "documents": "corpus", "specs": "spec", "evals": "eval", "evaluation": "eval"}
_CALLED |= {"preference": "eval", "tasks": "exam", "task": "exam", "base": "pretrain", "bases": "pretrain"}
_CALLED |= {"midtraining": "midtrain", "finetuning": "finetune", "fine-tuning": "finetune", "sft": "finetune"}
_CALLED |= {"worlds": "world", "items": "pairs", "curation": "curate", "contrasts": "analysis", "reports": "report"}
_MAX_MEANT, _NEARLY = 3, 0.75


def meant_steps(given: str, steps: Sequence[Step]) -> list[str]:
    """Return which steps a name that is none was meant for: by another word for its kind, its label, or its letters."""
    head, _, rest = given.partition("/")
    kinds = dict.fromkeys(step.kind for step in steps)
    kind = _CALLED.get(head.lower(), head.lower())
    near = get_close_matches(kind, kinds, n=1, cutoff=_NEARLY)
    kind = kind if kind in kinds else near[0] if near else ""
    labels = dict.fromkeys(f"{step.kind}/{step.label}" for step in steps if step.label)
    own = [name for name in labels if kind and name.startswith(f"{kind}/")]
    if kind and (not rest or set(rest) & set("*?[")):
        return [f"{kind}/{rest}" if rest else kind]
    if named := [name for name in labels if name.partition("/")[2].lower() == given.lower()]:
        return named[:_MAX_MEANT]
    wanted = f"{kind}/{rest}" if kind else given
    return get_close_matches(wanted, [*own, *(step.name for step in steps if not kind or step.kind == kind)], n=1)


def wanted_steps(steps: Sequence[Step], only: Sequence[str]) -> set[str]:
    """Return the steps to do: those that `--only` names with all that they are made from, else all."""
    return with_ancestors(steps, matching_steps(steps, only, "--only")) if only else {step.name for step in steps}
