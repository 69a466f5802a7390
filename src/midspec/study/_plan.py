"""What a run would do, before it does it: the steps, how far they are, and their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from midspec.artifact import read_record
from midspec.errors import PreflightError
from midspec.fingerprint import diff, fingerprint
from midspec.records import Record, Strict
from midspec.study._beforehand import check_beforehand
from midspec.study._graph import study_steps
from midspec.study._load import Study
from midspec.study._steps import Step, identity, step_folder

__all__ = ["Plan", "PlannedStep", "State", "check_floors", "floor_warning", "plan", "states"]

State = Literal["done", "ready", "waiting", "stale"]

_FLOORS = {"pretrain": 100, "midtrain": 100, "finetune": 30}


class PlannedStep(Strict):
    """One step of a plan.

    Attributes:
        name: as `--only` and `--redo` take it.
        state: `done`; `ready` to be made; `waiting` for steps before it; `stale`, made from inputs that have changed.
        changes: for a stale step, the fields that differ.
        documents: how many it writes, where that is known beforehand.
        updates: optimizer updates.
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


class Plan(Strict):
    """The steps of a study and what they come to; `warnings` are what a reader must know before it runs."""

    name: str
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """How many steps are in a state."""
        return sum(step.state == state for step in self.steps)

    def total(self, size: Literal["documents", "updates", "tokens"]) -> int:
        """The sum of one size over the steps where it is known; of tokens, over the steps that train."""
        training = (step for step in self.steps if size != "tokens" or step.kind in _FLOORS)
        return sum(getattr(step, size) or 0 for step in training)


def plan(study: Study, folder: Path | None = None) -> Plan:
    """What `run_study` would do in `folder` (nothing is done yet, without one).

    Raises:
        PreflightError: a stage would make fewer updates than its floor, and so train nothing.
        MissingError: a file that the study names is not there.
        ConfigError, CheckpointError, SpecError, DataError: what it names can't be used; see `check_beforehand`.
    """
    steps = study_steps(study)
    check_beforehand(study, steps)
    warnings = check_floors(steps)
    known = states(steps, folder)
    planned = tuple(_planned(step, *known[step.name]) for step in steps)
    return Plan(name=study.config.name, steps=planned, warnings=warnings)


def states(steps: Sequence[Step], folder: Path | None) -> dict[str, tuple[State, Record | None, tuple[str, ...]]]:
    """For each step its state, its record if it has one, and what changed if it is stale."""
    found: dict[str, tuple[State, Record | None, tuple[str, ...]]] = {}
    done: dict[str, Record] = {}
    for step in steps:
        record = read_record(step_folder(folder, step)) if folder else None
        if any(name not in done for name in step.inputs):
            found[step.name] = ("waiting", record, ())
            continue
        wanted = identity(step, done)
        if record is None:
            found[step.name] = ("ready", None, ())
        elif record.fingerprint == fingerprint(wanted):
            done[step.name] = record
            found[step.name] = ("done", record, ())
        else:
            found[step.name] = ("stale", record, tuple(str(change) for change in diff(record.identity, wanted)))
    return found


def _planned(step: Step, state: State, record: Record | None, changes: tuple[str, ...]) -> PlannedStep:
    summary = record.summary if record and state == "done" else {}
    return PlannedStep(
        name=step.name, kind=step.kind, seed=step.seed, state=state, changes=changes, **_size(step, summary)
    )


def _size(step: Step, summary: Mapping[str, JsonValue]) -> dict[str, int | None]:
    if step.kind in _FLOORS:
        updates = _updates(step)
        recipe = _mapping(step.config["recipe"])
        row = _whole(recipe.get("rows_per_update")) * _whole(recipe.get("row_tokens"))
        return {"updates": updates, "tokens": updates * row if updates else None}
    if step.kind in {"corpus", "chats"}:
        asked = _mapping(step.config[step.kind])
        known = (summary.get("n_documents"), summary.get("n_chats"), asked.get("n_documents"), asked.get("n_samples"))
        rows = next((count for count in known if isinstance(count, int)), None)
        return {"documents": rows, "tokens": _whole(asked.get("target_tokens")) or None}
    return {}


def check_floors(steps: Sequence[Step]) -> tuple[str, ...]:
    """Refuse training that would change nothing; gives a warning for each floor that the study lowered.

    Where the number of updates follows from data that is not there yet, training's own preflight refuses later.

    Raises:
        PreflightError: a recipe makes fewer updates than its stage's floor.
    """
    warnings = [floor_warning(step.kind, step.config) for step in steps]
    for step in steps:
        floor, updates = _floor(step.kind, step.config), _updates(step)
        if floor is not None and updates is not None and updates < floor:
            raise PreflightError(
                f"{updates} updates would train nothing; the floor of {step.kind} is {floor}",
                where=step.name,
                mend="Raise n_updates, or lower min_updates in the recipe if you know that so few are enough",
            )
    return tuple(dict.fromkeys(warning for warning in warnings if warning))


def floor_warning(kind: str, config: Mapping[str, JsonValue]) -> str:
    """A sentence, if a training step's config lowers the floor of its stage; else empty."""
    floor = _floor(kind, config)
    if floor is None or floor >= _FLOORS[kind]:
        return ""
    return f"The study lowered the floor of {kind} updates from {_FLOORS[kind]} to {floor}."


def _floor(kind: str, config: Mapping[str, JsonValue]) -> int | None:
    if kind not in _FLOORS:
        return None
    floor = _mapping(config["recipe"]).get("min_updates")
    return floor if isinstance(floor, int) else _FLOORS[kind]


def _updates(step: Step) -> int | None:
    updates = _mapping(step.config.get("recipe")).get("n_updates")
    return updates if isinstance(updates, int) else None


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _whole(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
