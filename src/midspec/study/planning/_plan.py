"""What a run would do, before it does it: the steps, how far they are, and their size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from midspec.core.artifact import read_record
from midspec.core.errors import PreflightError
from midspec.core.fingerprint import diff, fingerprint
from midspec.core.records import Record, Strict
from midspec.study._graph import study_steps
from midspec.study._load import Study
from midspec.study._step import Step
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.jobs._train import TrainStep
from midspec.study.planning._preflight import check_beforehand
from midspec.study.planning._task_estimate import Serving
from midspec.train import UPDATE_FLOORS

State = Literal["done", "ready", "waiting", "stale"]

# An estimate from words: under this share of what is needed, it is too little however it is off.
_CLEARLY = 0.75
# What arms' differences vary by from question to question, and samples about their question's rate (the most there is).
_BETWEEN_SD, _WITHIN_SD = 0.15, 0.5


class PlannedStep(Strict):
    """One step of a plan.

    Attributes:
        name: as `--only` and `--redo` take it.
        state: `done`; `ready` to be made; `waiting` for steps before it; `stale`, made from inputs that have changed.
        changes: for a stale step, the fields that differ.
        documents: how many it writes, where that is known beforehand.
        updates: optimizer updates; `None` where they are not known before its data are made.
        requests: to a model that writes or judges, if every reply is good; `None` where no model is asked.
        eval_task: the task that it asks.
        questions: how many the task has.
        samples: how many answers the task asks for, all repeats together.
        prompt_tokens: of a task, about what the model reads in all.
        reply_tokens: of a task, about what it writes in all, as assumed.
        gpu_hours: of a task, what that takes one server, as assumed.
        usd: what these cost, with the prefix cached; `None` where no model is asked or its price is unknown.
        about: `updates` and `tokens` are an estimate, from the tokens that its corpora are to have.
        tokens: of a corpus, about how many it is to have; of training, positions run over, padding included.
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
    """The steps of a study and what they come to.

    Attributes:
        name: the study's.
        steps: in an order in which they can be done.
        warnings: what a reader must know before it runs.
        assumed: what the hours and dollars of tasks rest on, and what differences they find; empty without tasks.
    """

    name: str
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...] = ()
    assumed: str = ""

    def count(self, state: State) -> int:
        """How many steps are in a state."""
        return sum(step.state == state for step in self.steps)

    def total(self, size: Literal["documents", "updates", "tokens"]) -> int:
        """The sum of one size over the steps where it is known; of tokens, over the steps that train."""
        training = (step for step in self.steps if size != "tokens" or step.kind in UPDATE_FLOORS)
        return sum(getattr(step, size) or 0 for step in training)

    @property
    def usd(self) -> float:
        """What the requests of all steps that are not done cost together, where their prices are known."""
        return sum(step.usd or 0.0 for step in self.steps)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Steps that ask a model whose price is unknown."""
        return tuple(step.name for step in self.steps if step.requests is not None and step.usd is None)

    @property
    def priced_by(self) -> str:
        """The entry of `models` that the price of the first of these is missing from."""
        first = next((step for step in self.steps if step.name in self.unpriced), None)
        return "judge" if first is not None and first.eval_task else "author"

    @property
    def n_unknown(self) -> int:
        """How many steps train for a number of updates that is not known before their data are made."""
        return sum(step.kind in UPDATE_FLOORS and step.updates is None for step in self.steps)


def plan(study: Study, folder: Path | None = None, *, serving: Serving | None = None) -> Plan:
    """Plan what `run_study` would do in `folder` (nothing is done yet, without one).

    Args:
        study: the study.
        folder: of its run.
        serving: what is assumed of the model that takes tasks, its server and judges.

    Raises:
        PreflightError: a stage would make fewer updates than its floor, and so train nothing.
        MissingError: a file that the study names is not there.
        ConfigError, CheckpointError, SpecError, DataError: what it names can't be used; see `check_beforehand`.
    """
    steps = study_steps(study, folder)
    check_beforehand(study, steps)
    warnings = check_floors(steps)
    known = states(steps, folder)
    serving = serving or Serving()
    planned = tuple(_planned(step, serving, *known[step.name]) for step in steps)
    assumed = f"{serving.words}. {_power(planned)}".strip() if study.config.evals.tasks else ""
    return Plan(name=study.config.name, steps=planned, warnings=warnings, assumed=assumed)


def _power(planned: Sequence[PlannedStep]) -> str:
    """From which difference on a task tells two arms of one seed apart 4 times in 5, on measures that are shares."""
    from midspec.analysis import Spread, smallest_difference

    first = {step.eval_task: step for step in reversed(planned) if (step.questions or 0) > 1}
    told = []
    for name, step in reversed(first.items()):
        n_cells, n_samples = step.questions or 0, step.samples or 0
        points = 100 * smallest_difference(
            Spread(_BETWEEN_SD, _WITHIN_SD), n_cells=n_cells, n_repeats=n_samples // n_cells
        )
        told.append(f"{name} {points:.0f} points ({n_cells} questions x {n_samples // n_cells})")
    between, within = (f"{100 * sd:.0f}" for sd in (_BETWEEN_SD, _WITHIN_SD))
    spreads = f"of shares that spread by {between} points between questions and {within} within one"
    return f"A difference {spreads} is found 4 times in 5 from: {', '.join(told)}" if told else ""


def states(steps: Sequence[Step], folder: Path | None) -> dict[str, tuple[State, Record | None, tuple[str, ...]]]:
    """For each step its state, its record if it has one, and what changed if it is stale."""
    found: dict[str, tuple[State, Record | None, tuple[str, ...]]] = {}
    done: dict[str, Record] = {}
    for step in steps:
        record = read_record(step.folder(folder)) if folder else None
        if any(parent.name not in done for parent in step.parents):
            found[step.name] = ("waiting", record, ())
            continue
        wanted = step.identity(done)
        if record is None:
            found[step.name] = ("ready", None, ())
        elif record.fingerprint == fingerprint(wanted):
            done[step.name] = record
            found[step.name] = ("done", record, ())
        else:
            found[step.name] = ("stale", record, tuple(str(change) for change in diff(record.identity, wanted)))
    return found


def _planned(
    step: Step, serving: Serving, state: State, record: Record | None, changes: tuple[str, ...]
) -> PlannedStep:
    sizes: dict[str, Any] = {}
    cost = None
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
    """Refuse training that would change nothing; returns a warning for each floor that the study lowered.

    Where the number of updates follows from data that is not there yet, training's own preflight refuses later.

    Raises:
        PreflightError: a recipe asks for fewer updates than its stage's floor, or its data can't make as many.
    """
    training = [step for step in steps if isinstance(step, TrainStep)]
    for step in training:
        _refuse_under_floor(step)
    return tuple(dict.fromkeys(warning for step in training if (warning := floor_warning(step.kind, step.floor))))


def floor_warning(stage: str, floor: int) -> str:
    """A sentence, if a recipe lowers the floor of its stage; else empty."""
    usual = UPDATE_FLOORS[stage]
    return f"The study lowered the floor of {stage} updates from {usual} to {floor}." if floor < usual else ""


def _refuse_under_floor(step: TrainStep) -> None:
    asked, floor = step.recipe.n_updates, step.floor
    if asked is not None and asked < floor:
        raise PreflightError(
            f"{asked} updates would train nothing; the floor of {step.kind} is {floor}",
            where=step.name,
            hint="Raise n_updates, or lower min_updates in the recipe if you know that so few are enough",
        )
    needed = floor if asked is None else max(asked, floor)
    most, expected = step.most_updates(), step.updates_expected()
    made = ""
    if most is not None and most < needed:
        made = f"its chats make at most {most} updates"
    elif expected is not None and expected < _CLEARLY * needed:
        made = f"its documents' target_tokens make about {expected} updates"
    if made:
        need = f"the floor of {step.kind} is {floor}" if asked is None else f"n_updates asks for {asked}"
        hint = "Ask for more data, or for fewer rows_per_update"
        raise PreflightError(f"{made}, and {need}", where=step.name, hint=hint)
