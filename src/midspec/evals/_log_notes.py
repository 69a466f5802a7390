"""What is to be said of logs that are compared: which are retries of which, and in which settings they differ."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog

FINISHED = "success"
_LONGEST_REASON, _LONGEST_SETTING = 120, 60


class OpenedLog(NamedTuple):
    """A log with its place among the others."""

    path: Path
    log: EvalLog
    arm: str
    seed: str


def without_retried(opened: Sequence[OpenedLog]) -> tuple[list[OpenedLog], list[str]]:
    """Leave out logs that did not end well and were tried again, and say so: a retry takes over what they had.

    Inspect's `eval-retry` and `eval_set` give a retry the task id of the log that it goes on from.
    """
    newest: dict[tuple[str, str], OpenedLog] = {}
    for one in opened:
        key = (one.arm, one.log.eval.task_id)
        other = newest.setdefault(key, one)
        if (one.log.status == FINISHED, one.log.eval.created) > (other.log.status == FINISHED, other.log.eval.created):
            newest[key] = one
    kept, notes = [], []
    for one in opened:
        about, retry = one.log.eval, newest[one.arm, one.log.eval.task_id]
        # Old logs have no task id, and that the same evaluation is there twice is told elsewhere.
        is_retried = bool(about.task_id) and about.eval_id != retry.log.eval.eval_id
        if one.log.status == FINISHED or not is_retried:
            kept.append(one)
        else:
            what = f"did not end well (status: {one.log.status}) and was tried again"
            notes.append(f"{one.path}: {what}; its retry counts alone: {retry.path}")
    return kept, notes


def notes_on(opened: Sequence[OpenedLog]) -> tuple[str, ...]:
    """Return what a reader of a comparison of these logs should know."""
    notes = list(_differing(opened))
    reducers: dict[str, dict[str, None]] = defaultdict(dict)
    for about in (one.log.eval for one in opened if (one.log.eval.config.epochs or 1) > 1):
        reducers[about.task] |= dict.fromkeys(name for name in about.config.epochs_reducer or () if name != "mean")
    for task, names in reducers.items():
        if names:
            own = f"the logs' own scores are by {', '.join(names)}: their numbers are not these"
            notes.append(f"{task}: epochs are averaged here, and {own}")
    return (*_of_several_models(opened), *notes, *_with_other_targets(opened), *_pooled(opened))


def short(text: str, most: int = _LONGEST_REASON) -> str:
    """Return a text in one line, cut to `most` characters."""
    whole = " ".join(str(text).split())
    return whole if len(whole) <= most else whole[: most - 3] + "..."


def _differing(opened: Sequence[OpenedLog]) -> Iterator[str]:
    """Say of each task which settings are not the same in all logs, beside the model."""
    for task in dict.fromkeys(one.log.eval.task for one in opened):
        by_setting: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for one in opened:
            if one.log.eval.task == task:
                for name, value in _settings(one.log).items():
                    shown = short(json.dumps(value, sort_keys=True, default=str), _LONGEST_SETTING)
                    by_setting[name][shown].append(one.arm)
        for name, values in by_setting.items():
            if len(values) > 1:
                shown = "; ".join(f"{value} in {', '.join(dict.fromkeys(arms))}" for value, arms in values.items())
                verb = "are" if name.endswith("s") else "is"
                yield f"{task}: {name} {verb} not the same in all logs: {shown}"


def _of_several_models(opened: Sequence[OpenedLog]) -> Iterator[str]:
    """Say of each arm that is named after its model where its logs are of several.

    `hf/local` is told apart by `model_path` alone, an adapter behind a server by the name that its answers bear.
    """
    for arm in dict.fromkeys(one.arm for one in opened if one.arm == one.log.eval.model):
        logs = [one.log for one in opened if one.arm == arm]
        answering = [sorted({each.output.model for each in log.samples or ()} - {""}) for log in logs]
        kinds: dict[str, list[Any]] = {"arguments": [log.eval.model_args for log in logs], "answers by": answering}
        for what, of_logs in kinds.items():
            found = dict.fromkeys(short(json.dumps(each, sort_keys=True, default=str)) for each in of_logs if each)
            if len(found) > 1:
                which = f"{what} {' and '.join(found)}"
                yield f"{arm}: its logs count as runs of one model, and have {which}; NAME=LOG names arms of their own"


def _with_other_targets(opened: Sequence[OpenedLog]) -> Iterator[str]:
    """Say of each task how many samples are scored against another target in some log, as after a correction."""
    first: dict[tuple[str, str], tuple[Any, Any]] = {}
    changed: dict[str, dict[str, None]] = defaultdict(dict)
    for one in opened:
        task = one.log.eval.task
        for sample in one.log.samples or ():
            choices, target = first.setdefault((task, str(sample.id)), (sample.choices, sample.target))
            # Where choices are shuffled, so are the letters of targets.
            if choices == sample.choices and target != sample.target:
                changed[task][str(sample.id)] = None
    for task, names in changed.items():
        which = f"{len(names):,} sample{'s have' if len(names) > 1 else ' has'}"
        yield f"{task}: {which} not the same target in all logs ({next(iter(names))!r}, for one)"


def _pooled(opened: Sequence[OpenedLog]) -> Iterator[str]:
    """Say of each task whose samples are of several sets, as our own logs say in `set`, that they count as one."""
    sets: dict[str, Counter[str]] = defaultdict(Counter)
    for one in opened:
        found = {str(sample.id): (sample.metadata or {}).get("set") for sample in one.log.samples or ()}
        of_log = Counter(name for name in found.values() if isinstance(name, str))
        sets[one.log.eval.task] |= of_log
    for task, counts in sets.items():
        if len(counts) > 1:
            listed = ", ".join(f"{name} {n:,}" for name, n in counts.most_common())
            yield (
                f"{task}: samples of {len(counts)} sets are averaged together ({listed}), also where a score of 1 "
                "means another thing in each; a study's report has each set by itself (midspec report --against)"
            )


def _settings(log: EvalLog) -> dict[str, Any]:
    """Return what should be the same in two logs for only the model to differ."""
    about = log.eval
    config = about.model_generate_config.model_dump(exclude_none=True, exclude={"seed"})
    config |= log.plan.config.model_dump(exclude_none=True, exclude={"seed"})
    graders = {
        role: [found.model for found in (models if isinstance(models, list) else [models])]
        for role, models in (about.model_roles or {}).items()
    }
    return {
        "the data set": [about.dataset.name, about.dataset.samples],
        "the task's version": about.task_version,
        "the task's arguments": about.task_args,
        "the solver": [about.solver, about.solver_args],
        "the scorers": [[one.name, one.options] for one in about.scorers or ()],
        "sampling": config,
        "model roles": graders,
        "epochs": about.config.epochs or 1,
        "the epochs' reducer": (about.config.epochs_reducer if (about.config.epochs or 1) > 1 else None) or ["mean"],
    }
