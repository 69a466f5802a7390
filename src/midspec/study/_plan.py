"""Plan a run: its steps, their states, sizes and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from midspec.core.artifact import read_record
from midspec.core.errors import PreflightError
from midspec.core.fingerprint import diff, fingerprint, listed
from midspec.core.records import Record, Strict
from midspec.models import Hardware, ModelShape, shape_of
from midspec.study._chains import chain_lines, floor_warning, unmatched_stages
from midspec.study._config import trained_questions, unknown_savings
from midspec.study._factors import (
    ArmDiff,
    alike_names,
    contrast_factors,
    diff_arms,
    mixed_contrasts,
    repeated_contrasts,
)
from midspec.study._graph import study_steps
from midspec.study._inputs import File, Model
from midspec.study._load import Study
from midspec.study._preflight import check_beforehand
from midspec.study._step import Step, lacks_answers
from midspec.study.jobs._analysis import AnalysisStep
from midspec.study.jobs._curate import CurateStep
from midspec.study.jobs._endpoints import Serving
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.jobs._preference import CACHE, PreferenceStep
from midspec.study.jobs._train import TrainStep
from midspec.train import UPDATE_FLOORS

State = Literal["done", "ready", "waiting", "stale"]

# Token estimates are off by less than this: under this share of the updates needed, there are too few.
_CLEARLY = 0.75
# Standard deviations assumed of arms' differences between questions, and of samples of one question (the maximum).
_BETWEEN_SD, _WITHIN_SD = 0.15, 0.5


_LAST_CYRILLIC = "\u052f"


class PlannedStep(Strict):
    """One step of a plan.

    Attributes:
        name: as `--only` and `--redo` take it.
        state: `done`; `ready` to be made; `waiting` for steps before it; `stale`, made from inputs that have changed.
        changes: for a stale step, the fields that differ.
        documents: rows that it writes, where known beforehand.
        updates: optimizer updates; `None` where they are not known before its data are made.
        tokens: of a corpus, an estimate; of training, positions run over, padding included.
        about: `updates` and `tokens` are an estimate, from the target tokens of its corpora.
        requests: to a model that writes or judges, if every reply is good; `None` where there are none.
        usd: cost of the requests, with the prefix cached; `None` where there are none or the price is unknown.
        eval_task: the task that it runs.
        questions: of the task.
        samples: of the task, all repeats together.
        prompt_tokens: of the task's samples in all, estimated.
        reply_tokens: of the task's samples in all, as assumed.
        gpu_hours: of training, or of one server for the task, as assumed.
    """

    name: str
    kind: str
    seed: int | None
    state: State
    changes: tuple[str, ...] = ()
    documents: int | None = None
    updates: int | None = None
    tokens: int | None = None
    about: bool = False
    requests: int | None = None
    usd: float | None = None
    eval_task: str | None = None
    questions: int | None = None
    samples: int | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    gpu_hours: float | None = None


class Plan(Strict):
    """The steps of a study and their totals.

    Attributes:
        name: the study's.
        steps: in an order in which they can be done.
        chains: a line for each arm with `stages`: what it is trained on, in order, and where it is evaluated.
        differ: by contrast, in what its arms differ.
        warnings: floors that the study lowered, stages in which arms are trained unequally, and contrasts of arms that
            differ in more than the study says.
        assumed: behind hours of training, hours and dollars of tasks, and the smallest differences they detect.
    """

    name: str
    steps: tuple[PlannedStep, ...]
    chains: tuple[str, ...] = ()
    differ: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    assumed: str = ""

    def count(self, state: State) -> int:
        """Count the steps in a state."""
        return sum(step.state == state for step in self.steps)

    def total(self, size: Literal["documents", "updates", "tokens"]) -> int:
        """Sum one size over the steps where it is known; tokens, over the steps that train."""
        training = (step for step in self.steps if size != "tokens" or step.kind in UPDATE_FLOORS)
        return sum(getattr(step, size) or 0 for step in training)

    @property
    def usd(self) -> float:
        """Return the cost of the requests of all steps that are not done, where prices are known."""
        return sum(step.usd or 0.0 for step in self.steps)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the steps with requests to a model whose price is unknown."""
        return tuple(step.name for step in self.steps if step.requests is not None and step.usd is None)

    @property
    def priced_by(self) -> str:
        """Return the entry of `models` that misses the price of the first of these."""
        first = next((step for step in self.steps if step.name in self.unpriced), None)
        return "judge" if first is not None and (first.eval_task or first.kind == CurateStep.kind) else "author"

    @property
    def n_unknown(self) -> int:
        """Count the training steps whose updates are not known before their data are made."""
        return sum(step.kind in UPDATE_FLOORS and step.updates is None for step in self.steps)


def plan(
    study: Study, folder: Path | None = None, *, serving: Serving | None = None, hardware: Hardware | None = None
) -> Plan:
    """Plan a run of the study in `folder`; without one, nothing is done yet.

    Args:
        study: the study.
        folder: of its run.
        serving: assumptions about the model under test, its server and judges.
        hardware: that training is assumed to run on.

    Raises:
        PreflightError: a stage would make fewer updates than its floor, and so train nothing.
        MissingError: a file that the study names is not there.
        ConfigError, CheckpointError, SpecError, DataError: see `check_beforehand`.
    """
    steps = study_steps(study, folder)
    doubts = check_beforehand(study, steps)
    arms, recipes = study.config.arms, study.config.recipes
    factors = contrast_factors(_preferences(steps), study.config.contrasts)
    warnings = (
        *check_floors(steps),
        *unmatched_stages(arms, recipes),
        *mixed_contrasts(study.config.contrasts, factors),
        *repeated_contrasts(study.config.contrasts),
        *alike_names(arms),
        *trained_questions(study.config),
        *unknown_savings(study.config),
        *doubts,
    )
    shown = frozenset("".join((*arms, *(panel.title for panel in study.config.report.panels))))
    # Of Latin, Greek and Cyrillic letters no fonts need be looked through.
    if any(character > _LAST_CYRILLIC for character in shown):
        from midspec.report import glyph_warning

        warnings = (*warnings, *filter(None, [glyph_warning(shown)]))
    if folder and (lacking := to_go_on(steps, folder)):
        warnings = (*warnings, f"a run on this machine asks for the answers that it lacks: {listed(lacking)}")
    by_name = states(steps, folder)
    serving = serving or Serving()
    bases = {step.parent.name for step in steps if isinstance(step, TrainStep) and isinstance(step.parent, Model)}
    base = next(iter(bases), None)
    shape = shape_of(base) if base is not None else None
    trained = _Trained(shape, hardware or Hardware())
    planned = tuple(_planned(step, serving, trained, *by_name[step.name]) for step in steps)
    assumed = [f"{serving.words}. {_power(planned)}".strip()] if study.config.evals.tasks else []
    if any(step.kind in UPDATE_FLOORS and step.gpu_hours for step in planned):
        assumed.append(trained.hardware.words)
    elif base is not None and shape is None:
        assumed.append(f"GPU-hours of training are not known: no configuration of {base} is here")
    return Plan(
        name=study.config.name,
        steps=planned,
        chains=chain_lines(arms, recipes),
        differ={name: tuple(map(str, each)) for name, each in factors.items()},
        warnings=warnings,
        assumed="\n".join(assumed),
    )


def difference(study: Study, first: str, second: str, folder: Path | None = None) -> ArmDiff:
    """Return all in which two arms (or points of arms) of a study differ, after everything in them is resolved.

    Args:
        study: the study.
        first: name of an arm, or of a point such as `ARM@STAGE`.
        second: of another.
        folder: of its run, for the digests of data that are made.

    Raises:
        MissingError: a file that the study names is not there.
        ConfigError: there is no such arm.
    """
    return diff_arms(_preferences(study_steps(study, folder)), first, second, folder)


def _preferences(steps: Sequence[Step]) -> Mapping[tuple[str, int], PreferenceStep]:
    return next(step for step in steps if isinstance(step, AnalysisStep)).all_preferences


def _power(planned: Sequence[PlannedStep]) -> str:
    """Say the smallest difference of each task that is found with a power of 0.8, on measures that are shares."""
    from midspec.analysis import Spread, smallest_difference

    first = {step.eval_task: step for step in reversed(planned) if (step.questions or 0) > 1}
    smallest = []
    for name, step in reversed(first.items()):
        n_cells, n_samples = step.questions or 0, step.samples or 0
        points = 100 * smallest_difference(
            Spread(_BETWEEN_SD, _WITHIN_SD), n_cells=n_cells, n_repeats=n_samples // n_cells
        )
        smallest.append(f"{name} {points:.0f} points ({n_cells} questions x {n_samples // n_cells})")
    between, within = (f"{100 * sd:.0f}" for sd in (_BETWEEN_SD, _WITHIN_SD))
    spreads = f"of shares that spread by {between} points between questions and {within} within one"
    return f"A difference {spreads} is found 4 times in 5 from: {', '.join(smallest)}" if smallest else ""


def states(steps: Sequence[Step], folder: Path | None) -> dict[str, tuple[State, Record | None, tuple[str, ...]]]:
    """Return for each step its state, its record if it has one, and what changed if it is stale."""
    by_name: dict[str, tuple[State, Record | None, tuple[str, ...]]] = {}
    done: dict[str, Record] = {}
    for step in steps:
        record = read_record(step.folder(folder)) if folder else None
        if any(parent.name not in done for parent in step.parents):
            by_name[step.name] = ("waiting", record, ())
            continue
        identity = step.identity(done)
        if record is None:
            by_name[step.name] = ("ready", None, ())
        elif record.fingerprint == fingerprint(identity):
            done[step.name] = record
            by_name[step.name] = ("done", record, ())
        else:
            # A file from outside is told by its name, as nobody knows it by its hash.
            files = {f"inputs.{role}": one.path for role, one in step.inputs.items() if isinstance(one, File)}
            changes = (
                f"{files[change.path]} was changed" if change.path in files and change.before else str(change)
                for change in diff(record.identity, identity)
            )
            by_name[step.name] = ("stale", record, tuple(changes))
    return by_name


def to_go_on(steps: Sequence[Step], folder: Path) -> dict[str, Record]:
    """Return the records of finished steps that a fault of a server or an account left without some answers.

    Only those are meant of which the answers that came are kept, and others with the same result.
    """
    found = {name: record for name, (state, record, _) in states(steps, folder).items() if state == "done" and record}
    lacking = {name: record for name, record in found.items() if lacks_answers(record)}
    kept = {lacking[s.name].fingerprint for s in steps if s.name in lacking and (s.folder(folder) / CACHE).is_file()}
    return {name: record for name, record in lacking.items() if record.fingerprint in kept}


class _Trained(NamedTuple):
    """What a study trains, and on what."""

    shape: ModelShape | None
    hardware: Hardware

    def hours(self, step: TrainStep) -> float | None:
        """Estimate the GPU-hours of a training step; `None` where model or data are not known beforehand."""
        tokens = step.size({}).tokens
        operations = step.operations(self.shape, tokens) if self.shape is not None and tokens else None
        return None if operations is None else self.hardware.hours(operations)


def _planned(
    step: Step, serving: Serving, trained: _Trained, state: State, record: Record | None, changes: tuple[str, ...]
) -> PlannedStep:
    sizes: dict[str, Any] = {}
    cost = None
    if state != "done" and isinstance(step, TrainStep):
        sizes = {"gpu_hours": trained.hours(step)}
    if state != "done" and isinstance(step, TaskStep):
        estimate, cost = step.estimate(serving)
        sizes = {
            "questions": estimate.n_questions,
            "samples": estimate.n_samples,
            "gpu_hours": estimate.gpu_hours(serving),
            **estimate.model_dump(include={"prompt_tokens", "reply_tokens"}),
        }
    elif state != "done":
        cost = step.price()
    return PlannedStep(
        eval_task=step.task if isinstance(step, TaskStep) else None,
        **sizes,
        name=step.name,
        kind=step.kind,
        seed=step.seed,
        state=state,
        changes=changes,
        **step.size(record.summary if record is not None and state == "done" else {})._asdict(),
        **(cost._asdict() if cost else {}),
    )


def check_floors(steps: Sequence[Step]) -> tuple[str, ...]:
    """Refuse training that would change nothing; return a warning for each floor that the study lowered.

    Where the number of updates follows from data that is not there yet, training's own preflight refuses later.

    Raises:
        PreflightError: a recipe asks for fewer updates than its stage's floor, or its data can't make as many.
    """
    training = [step for step in steps if isinstance(step, TrainStep)]
    for step in training:
        _refuse_under_floor(step)
    return tuple(dict.fromkeys(warning for step in training if (warning := floor_warning(step.kind, step.floor))))


def _refuse_under_floor(step: TrainStep) -> None:
    n_updates, floor = step.recipe.n_updates, step.floor
    if n_updates is not None and n_updates < floor:
        raise PreflightError(
            f"{n_updates} updates would train nothing; the floor of {step.kind} is {floor}",
            where=step.name,
            hint="Raise n_updates, or lower min_updates in the recipe if you know that so few are enough",
        )
    needed = floor if n_updates is None else max(n_updates, floor)
    most, expected = step.most_updates(), step.updates_expected()
    made = ""
    if most is not None and most < needed:
        made = f"its chats make at most {most} updates"
    elif expected is not None and expected < _CLEARLY * needed:
        made = f"its documents' target_tokens make about {expected} updates"
    if made:
        need = f"the floor of {step.kind} is {floor}" if n_updates is None else f"n_updates asks for {n_updates}"
        hint = "Ask for more data, or for fewer rows_per_update"
        raise PreflightError(f"{made}, and {need}", where=step.name, hint=hint)
