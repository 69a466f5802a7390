"""Summarize what models knew right after their documents: by spec and clause, and what answers came to cost them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midspec.analysis import rates
from midspec.core.artifact import read_rows
from midspec.core.records import ArmScore, Estimate, ScoreRow
from midspec.curate import auc_of
from midspec.report import SeamClause, SeamDelta, SeamProbe
from midspec.study._config import StudyConfig
from midspec.study._inputs import spec_at
from midspec.study._step import step_name
from midspec.study.jobs._seam import CONTROL, SCORES
from midspec.study.reporting._results import FinishedStep, RunResults

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_DRAWS = 300
_KNOWS, _GAIN = "knows", "margin_gain"


class _Model(NamedTuple):
    """One model at the seam: its arms, and by seed its score rows by task, set, item and measure."""

    arms: tuple[str, ...]
    scores: Mapping[int, Mapping[tuple[str, str, str, str], ScoreRow]]


def seam_probes(config: StudyConfig, run: RunResults) -> tuple[SeamProbe, ...]:
    """Return what each model right after its documents knows of each spec; nothing where none was asked."""
    steps = [step for step in run.steps.values() if step.kind == "seam"]
    found: list[SeamProbe] = []
    for name in dict.fromkeys(step.label.rpartition(f" {_arms(step)[0]}")[0] for step in steps):
        models = _models([step for step in steps if step.label.startswith(f"{name} {_arms(step)[0]}")])
        control = next(model for model in models if CONTROL in model.arms)
        title = next((arm for arm in control.arms if arm != CONTROL), "the base")
        for model in models:
            if model is not control:
                found += _of_model(config, run, model, control, title)
    return tuple(found)


def _arms(step: FinishedStep) -> list[str]:
    arms = step.record.summary["arms"]
    assert isinstance(arms, list)
    return [str(arm) for arm in arms]


def _models(steps: Sequence[FinishedStep]) -> list[_Model]:
    groups: dict[tuple[str, ...], dict[int, Mapping[tuple[str, str, str, str], ScoreRow]]] = {}
    for step in steps:
        rows = read_rows(step.folder / SCORES, ScoreRow)
        groups.setdefault(tuple(_arms(step)), {})[step.seed or 0] = {
            (row.task, row.set, row.item, row.measure): row for row in rows
        }
    return [_Model(arms, scores) for arms, scores in groups.items()]


def _of_model(config: StudyConfig, run: RunResults, model: _Model, control: _Model, title: str) -> Iterator[SeamProbe]:
    """Yield a probe for each spec that was asked about."""
    arm = model.arms[0]
    stage = next(stage for stage in config.arms[arm].chain if stage.midtrain)
    own = {config.corpora[name].spec for name in stage.midtrain}
    specs = dict.fromkeys(key[1] for rows in model.scores.values() for key in rows if key[0] == "seam")
    deltas = tuple(_deltas(model, control))
    for spec in specs:
        scores = list(_spec_scores(model, control, arm, spec))
        knows, gain = _both(scores, config.report.level)
        is_own = spec in own
        yield SeamProbe(
            seam=arm,
            arms=model.arms,
            control=title,
            spec=spec,
            is_own=is_own,
            knows=knows,
            gain=gain,
            clauses=tuple(_clauses(config, run, spec, scores)) if is_own else (),
            deltas=deltas if is_own else (),
        )


def _spec_scores(model: _Model, control: _Model, arm: str, spec: str) -> Iterator[ArmScore]:
    """Yield what the model knows of a spec, and its margins minus the control's on the same probes."""
    for seed, rows in model.scores.items():
        for (task, set_, item, measure), row in rows.items():
            if task != "seam" or set_ != spec:
                continue
            about = {"task": task, "set": spec, "item": item, "domain": row.domain, "arm": arm, "seed": seed}
            if measure == _KNOWS:
                yield ArmScore(**about, measure=_KNOWS, value=row.value)
            else:
                other = control.scores[seed][task, set_, item, measure].value
                is_known = row.value is not None and other is not None
                value = row.value - other if is_known else None  # type: ignore[operator]
                yield ArmScore(**about, measure=_GAIN, value=value, unscored=None if is_known else "not scored")


def _both(scores: Sequence[ArmScore], level: float) -> tuple[Estimate, Estimate]:
    by_measure = {one.measure: one for one in rates(scores, level=level)}
    return by_measure[_KNOWS], by_measure[_GAIN]


def _clauses(config: StudyConfig, run: RunResults, spec: str, scores: Sequence[ArmScore]) -> Iterator[SeamClause]:
    step = run.steps[step_name("spec", spec, None)]
    read = spec_at(str(Path(step.folder) / "spec.md"), spec)
    texts = {clause.id: clause.text for clause in read.clauses}
    for clause in dict.fromkeys(one.domain for one in scores):
        knows, gain = _both([one for one in scores if one.domain == clause], config.report.level)
        yield SeamClause(id=clause, text=texts.get(clause, clause), knows=knows, gain=gain)


def _deltas(model: _Model, control: _Model) -> Iterator[SeamDelta]:
    """Yield for each set of pairs how the loss of each answer changed against the control."""
    sets = dict.fromkeys(key[1] for rows in model.scores.values() for key in rows if key[0] == "seam loss")
    for name in sets:
        by_seed = []
        for seed, rows in model.scores.items():
            items = dict.fromkeys(item for task, set_, item, _ in rows if (task, set_) == ("seam loss", name))
            changes = [
                [_change(rows, control.scores[seed], name, item, measure) for measure in ("loss_target", "loss_other")]
                for item in items
            ]
            by_seed.append(np.array(changes, dtype=np.float64))
        yield _delta(name, by_seed)


def _change(
    rows: Mapping[tuple[str, str, str, str], ScoreRow],
    before: Mapping[tuple[str, str, str, str], ScoreRow],
    name: str,
    item: str,
    measure: str,
) -> float:
    now, then = (each["seam loss", name, item, measure].value for each in (rows, before))
    return float("nan") if now is None or then is None else now - then


def _delta(name: str, by_seed: Sequence[NDArray[np.float64]]) -> SeamDelta:
    """Return the changes of one set with the AUC over seeds, and its interval by a bootstrap over items and seeds.

    Args:
        name: of the set.
        by_seed: for each seed (items, 2): the change of the target's loss and of the other's.
    """

    def auc(changes: NDArray[np.float64]) -> float:
        # The answer that became cheaper has the higher score.
        return auc_of(-changes[:, 0], -changes[:, 1])[0]

    draw = np.random.default_rng(0)
    means = []
    for _ in range(_N_DRAWS):
        seeds = draw.integers(len(by_seed), size=len(by_seed))
        means.append(
            np.mean([auc(by_seed[at][draw.integers(len(by_seed[at]), size=len(by_seed[at]))]) for at in seeds])
        )
    low, high = np.quantile(means, [0.025, 0.975])
    target, other = np.mean([changes.mean(axis=0) for changes in by_seed], axis=0)
    return SeamDelta(
        set=name,
        auc=float(np.mean(list(map(auc, by_seed)))),
        low=float(low),
        high=float(high),
        target=float(target),
        other=float(other),
        n_items=max(map(len, by_seed)),
        n_seeds=len(by_seed),
    )
