"""Read the scores of any Inspect logs, ours or not, as rows that can be compared.

A number is what Inspect's own `value_to_float` takes for one (C 1, P 0.5, I and N 0, yes and no, true and false,
numerals); what it calls 0 with a warning, because it can't be read, is no score here.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from inspect_ai.log import EvalLog, EvalSample, list_eval_logs
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, PARTIAL, Score

from midspec.core.errors import ConfigError, DataError, MissingError, did_you_mean, plural
from midspec.core.fingerprint import fingerprint
from midspec.core.records import ComparedLog, LoggedScore, LoggedScores
from midspec.evals._log_files import open_log, planned_epochs
from midspec.evals._log_notes import FINISHED, OpenedLog, notes_on, short, without_retried

Grouping = Literal["model", "file", "tag"]

_WORDS = {CORRECT: 1.0, PARTIAL: 0.5, INCORRECT: 0.0, NOANSWER: 0.0}
_TRUTHS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_ALONE = ", by itself"
# Variances of such scores have squares that a float still holds. What is beyond stands for "failed" in some scorers.
_LARGEST_SCORE = 1e60


def read_logs(
    sources: Sequence[str],
    *,
    by: Grouping = "model",
    scorers: Sequence[str] = (),
    cluster: str | None = None,
    seed: str | None = None,
    unfinished: bool = False,
) -> LoggedScores:
    """Read the scores of logs, sample by sample, and count what has none.

    Args:
        sources: `.eval` or `.json` logs, or folders of logs; `NAME=LOG` counts it to the arm NAME.
        by: what else a log's arm is named after.
        scorers: the only scorers to read (`NAME`, or `NAME/KEY` of a dictionary); all of them by default.
        cluster: a key of the samples' metadata; samples with one value of it are not independent.
        seed: a key of the logs' metadata, task arguments or model arguments: runs with one value are a pair.
        unfinished: whether logs of evaluations that did not end well are read too.

    Raises:
        MissingError: there is no such file, or no log in a folder.
        DataError: a log can't be read, did not end, has no score, is there twice, or asks other questions by the same
            sample ids.
        ConfigError: a scorer, a tag or a metadata key that is not in the logs.
    """
    opened, notes = without_retried([_open(path, name, by, seed) for name, path in _files(sources)])
    seen: dict[str, Path] = {}
    for one in opened:
        if (other := seen.setdefault(one.log.eval.eval_id, one.path)) is not one.path:
            raise DataError(f"is the same evaluation as {other}", where=str(one.path), hint="Give each log once")
    asked, groups = _Questions(), _clusters(opened, cluster)
    rows: list[LoggedScore] = []
    logs: list[ComparedLog] = []
    for one, run in zip(opened, _runs(opened, paired=seed is not None), strict=True):
        if one.log.status != FINISHED and not unfinished:
            hint = "Run it to its end (`inspect eval-retry`), or give --unfinished to take what it has"
            raise DataError(
                f"the evaluation did not end well (status: {one.log.status})", where=str(one.path), hint=hint
            )
        asked.check(one)
        found = list(_rows(one, run, _wanted(one, scorers), groups))
        rows += found
        logs.append(_counts(one, run, found))
    if n_alone := sum(group == f"{item}{_ALONE}" for (_, item), group in groups.items()):
        notes = [*notes, f"{plural(n_alone, 'sample')} without a value of {cluster!r}: each counts by itself"]
    return LoggedScores(logs=tuple(logs), scores=tuple(rows), notes=(*notes, *notes_on(opened)))


def _files(sources: Sequence[str]) -> Iterator[tuple[str | None, Path]]:
    """Yield each log with the arm that the user named, in order."""
    if not sources:
        raise MissingError("no log is given", where="LOG", hint="Give .eval or .json logs, or a folder of them")
    for source in sources:
        name, _, rest = source.partition("=")
        named = bool(rest) and not Path(source).exists()
        path = Path(rest if named else source)
        if path.is_dir():
            # Inspect lists the newest first.
            found = sorted(Path(info.name.removeprefix("file://")) for info in list_eval_logs(str(path)))
            if not found:
                raise MissingError("there is no Inspect log in this folder", where=str(path), hint="Check the path")
            yield from ((name if named else None, one) for one in found)
        else:
            yield (name if named else None, path)


def _open(path: Path, name: str | None, by: Grouping, seed_key: str | None) -> OpenedLog:
    log = open_log(path)
    about = log.eval
    if name is None and by == "tag" and not about.tags:
        raise ConfigError("the log has no tag", where=str(path), hint="Give --by model, or NAME=LOG")
    arm = name or {"model": about.model, "file": path.stem, "tag": "+".join(about.tags or ())}[by]
    seed = ""
    if seed_key is not None:
        known: dict[str, Any] = {**(about.metadata or {}), **about.task_args, **about.model_args}
        if seed_key not in known:
            raise ConfigError(f"the log has no {seed_key!r}", where=str(path), hint=did_you_mean(seed_key, known))
        seed = str(known[seed_key])
    return OpenedLog(path, log, arm, seed)


def _runs(opened: Sequence[OpenedLog], *, paired: bool) -> list[int]:
    """Number the logs of each arm and task from 1 on: by their seeds where runs are paired, else by time."""
    if paired:
        numbers = {name: number for number, name in enumerate(sorted({one.seed for one in opened}), start=1)}
        places = Counter((one.arm, one.log.eval.task, one.seed) for one in opened)
        (arm, task, seed), n = places.most_common(1)[0]
        if n > 1:
            what = f"{n} logs of {arm!r} have the seed {seed!r}"
            raise DataError(what, where=f"task {task!r}", hint="Leave out --seed, or all but one of them")
        return [numbers[one.seed] for one in opened]
    # Logs of one second are in the order in which they were given.
    order = sorted(range(len(opened)), key=lambda at: opened[at].log.eval.created)
    seen: Counter[tuple[str, str]] = Counter()
    runs = [0] * len(opened)
    for at in order:
        key = (opened[at].arm, opened[at].log.eval.task)
        seen[key] += 1
        runs[at] = seen[key]
    return runs


class _Questions:
    """What each sample id of a task asks, to find logs of different versions of a data set."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], tuple[str, Path]] = {}

    def check(self, log: OpenedLog) -> None:
        """Take in the questions of a log.

        Raises:
            DataError: a sample id was another question in an earlier log.
        """
        task, others, n = log.log.eval.task, [], 0
        for sample in log.log.samples or ():
            key, text = (task, str(sample.id)), sample.input
            if not isinstance(text, str):
                # Ids of messages are drawn anew in every evaluation.
                text = fingerprint([[one.role, one.model_dump(mode="json")["content"]] for one in text])
            first, path = self._asked.setdefault(key, (text, log.path))
            n += 1
            if first != text:
                others.append((key[1], path))
        if others:
            name, path = others[0]
            what = f"{len(others)} of {n} samples ask something else than in {path} by the same id ({name!r}, for one)"
            raise DataError(what, where=str(log.path), hint="Compare logs of one version of the data set")


def _wanted(one: OpenedLog, scorers: Sequence[str]) -> list[str]:
    """Return the names of a log's scores that are to be read, in the order in which they first appear."""
    names: dict[str, None] = {}
    for sample in one.log.samples or ():
        for name, score in (sample.scores or {}).items():
            names |= dict.fromkeys(found for found, _, _ in _values(name, score))
    if not names:
        hint = "Score it (`inspect score`), or leave it out"
        raise DataError("no sample has a score", where=str(one.path), hint=hint)
    kept = [name for name in names if not scorers or name in scorers or name.partition("/")[0] in scorers]
    if not kept:
        hint = f"There is {', '.join(names)}"
        raise ConfigError(f"the log has no scorer {', '.join(scorers)}", where=str(one.path), hint=hint)
    return kept


def _values(name: str, score: Score) -> Iterator[tuple[str, float | None, str | None]]:
    """Yield the numbers of a score: its scorer, the value, and why there is none."""
    if isinstance(score.value, Mapping):
        for key, value in score.value.items():
            yield (f"{name}/{key}", *_number(value, score))
    else:
        yield (name, *_number(score.value, score))


def _number(value: object, score: Score) -> tuple[float | None, str | None]:
    """Return a value as a number, or why it is none."""
    if isinstance(value, str):
        text = value.strip().lower()
        found = _WORDS.get(value, _TRUTHS.get(text))
        if found is not None:
            return found, None
        try:
            value = float(text)
        except ValueError:
            return None, f"the score {short(text)!r} is no number"
    if not isinstance(value, bool | int | float):
        return None, "no score" if value is None else "the score is a list"
    if not math.isnan(value) and not math.isinf(value):
        too_large = f"the score {value:.4g} is too large to be averaged" if abs(value) > _LARGEST_SCORE else None
        return (None if too_large else float(value)), too_large
    return None, short(score.reason or "scored as NaN") if math.isnan(value) else "the score is infinite"


def _rows(
    one: OpenedLog, run: int, names: Sequence[str], groups: Mapping[tuple[str, str], str]
) -> Iterator[LoggedScore]:
    """Yield the rows of a log: one for each planned sample, epoch and scorer."""
    samples = _by_id(one)
    about = one.log.eval
    ids = about.dataset.sample_ids or ()
    epochs = planned_epochs(one.log, len(ids), one.path)
    planned = dict.fromkeys((str(item), epoch) for item in ids for epoch in epochs) | dict.fromkeys(samples)
    for item, epoch in planned:
        values = _scored(samples.get((item, epoch)), one.log)
        for name in names:
            value, reason = values.get(name, values.get("", (None, "not scored by this scorer")))
            yield LoggedScore(
                task=about.task,
                arm=one.arm,
                run=run,
                item=item,
                epoch=epoch,
                scorer=name,
                value=value,
                unscored=reason,
                cluster=groups.get((about.task, item), item),
            )


def _by_id(one: OpenedLog) -> dict[tuple[str, int], EvalSample]:
    """Return samples by id and epoch; of one that was tried again, the one that did not fail."""
    found: dict[tuple[str, int], EvalSample] = {}
    epochs = range(1, max(one.log.eval.config.epochs or 1, len(one.log.samples or ())) + 1)
    for sample in one.log.samples or ():
        key = (str(sample.id), sample.epoch)
        if sample.epoch not in epochs:
            # Scores are laid out by epoch, so that one of the billionth would take all memory.
            what = f"the sample {key[0]!r} is of epoch {sample.epoch:,}, and there are at most {len(epochs):,}"
            raise DataError(what, where=str(one.path), hint="Its numbers are damaged: make it or copy it again")
        if key in found and found[key].error is None and sample.error is None:
            what = f"the sample {key[0]!r} is there twice in epoch {key[1]}"
            raise DataError(what, where=str(one.path), hint="Give each sample of the data set an id of its own")
        if key not in found or sample.error is None:
            found[key] = sample
    return found


def _scored(sample: EvalSample | None, log: EvalLog) -> dict[str, tuple[float | None, str | None]]:
    """Return a sample's values by scorer; under the empty name, why there is none."""
    if sample is None:
        return {"": (None, f"not in the log (status: {log.status})")}
    if sample.invalidation is not None:
        return {"": (None, "the sample was invalidated")}
    if not sample.scores:
        return {"": (None, short(sample.error.message) if sample.error is not None else "not scored")}
    return {
        found: (value, reason) for name, score in sample.scores.items() for found, value, reason in _values(name, score)
    }


def _clusters(opened: Sequence[OpenedLog], key: str | None) -> dict[tuple[str, str], str]:
    """Return each sample's cluster by task and id; a sample that one log lacks has the cluster of the others.

    A sample whose value is null, NaN or empty is a cluster of its own.

    Raises:
        ConfigError: a sample's metadata has no such key.
        DataError: a sample has one value in one log and another in another.
    """
    found: dict[tuple[str, str], tuple[str, Path]] = {}
    for one in opened:
        for sample in one.log.samples or ():
            name = str(sample.id)
            if key is not None and key not in sample.metadata:
                hint = did_you_mean(key, sample.metadata)
                raise ConfigError(f"has no {key!r} in its metadata", where=f"{one.path}, sample {name!r}", hint=hint)
            group = name if key is None else sample.metadata[key]
            if group is None or group == "" or group != group:  # null, empty or NaN
                group = f"{name}{_ALONE}"
            elif isinstance(group, float) and group.is_integer():
                group = int(group)  # as a column of whole numbers is read where one of them is missing
            value = group if isinstance(group, str) else json.dumps(group, sort_keys=True, default=str)
            first, path = found.setdefault((one.log.eval.task, name), (value, one.path))
            if first != value:
                what = f"{key} of the sample {name!r} is {short(value)!r}, and {short(first)!r} in {path}"
                raise DataError(what, where=str(one.path), hint="Name a key whose values are the same in all logs")
    return {place: value for place, (value, _) in found.items()}


def _counts(one: OpenedLog, run: int, rows: Sequence[LoggedScore]) -> ComparedLog:
    about = one.log.eval
    n_scored: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        n_scored[row.scorer] += row.value is not None
        if row.value is None:
            reasons[row.scorer][row.unscored or ""] += 1
    n_planned = len({(row.item, row.epoch) for row in rows})
    return ComparedLog(
        file=str(one.path),
        arm=one.arm,
        run=run,
        task=about.task,
        model=about.model,
        eval_id=about.eval_id,
        status=one.log.status,
        created=about.created,
        seed=one.seed,
        dataset=about.dataset.name or "",
        n_planned=n_planned,
        n_missing=n_planned - len({(str(sample.id), sample.epoch) for sample in one.log.samples or ()}),
        n_scored=dict(n_scored),
        unscored={name: dict(counts.most_common()) for name, counts in reasons.items()},
    )
