"""Runs a study in a folder, and goes on where an earlier run stopped."""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from midspec.core.artifact import locked, read_record, writable, write_json, write_text
from midspec.core.errors import ConfigError, FolderError, MissingError, StaleError, did_you_mean
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.study._graph import study_steps
from midspec.study._load import FIRST, Study, first_contrasts, parse_study
from midspec.study._step import Step
from midspec.study.execution._executor import Event, Executor, Listener, StepState, StepTask
from midspec.study.execution._local import LocalExecutor, StepFaultError
from midspec.study.jobs._eval_task import TaskStep
from midspec.study.planning._plan import check_beforehand, check_floors, check_judges, states


class Scheduler:
    """The state of a run.

    Among the steps that are ready, the one at the head of the longest chain of work goes first (a base before any
    arm), so that no worker idles at the end; among equals, a worker stays with the seed it has.
    """

    def __init__(self, steps: Sequence[Step], wanted: Iterable[str], done: Mapping[str, Record]) -> None:
        self.steps = {step.name: step for step in steps}
        self.records = dict(done)
        wanted = set(wanted)
        self._waiting = [name for name in self.steps if name in wanted and name not in done]
        self.n_steps = len(self._waiting) + len(done)
        self._running: set[str] = set()
        self._lost: set[str] = set()
        self._chain = _chain_costs(steps)

    @property
    def n_done(self) -> int:
        """Steps that are done, those found done at the start included."""
        return len(self.records)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """Steps that are still to be started."""
        return tuple(self.steps[name] for name in self._waiting)

    def take(self, last_seed: int | None) -> Step | None:
        """The next step to start, now counted as running; `None` when none is ready."""
        ready = [
            name for name in self._waiting if all(parent.name in self.records for parent in self.steps[name].parents)
        ]
        if not ready:
            return None
        best = max(ready, key=lambda name: (self._chain[name], self.steps[name].seed == last_seed))
        self._waiting.remove(best)
        self._running.add(best)
        return self.steps[best]

    def finish(self, name: str, record: Record) -> None:
        """A running step is done."""
        self._running.discard(name)
        self.records[name] = record

    def give_up(self, name: str) -> None:
        """A running step failed: what is made from it will not be made."""
        self._running.discard(name)
        self._lost |= with_descendants(self.steps.values(), [name])
        self._waiting = [entry for entry in self._waiting if entry not in self._lost]

    @property
    def is_over(self) -> bool:
        """Nothing runs and nothing can be started."""
        return not self._running and not self._waiting


def _chain_costs(steps: Sequence[Step]) -> dict[str, float]:
    """For each step the cost of the longest chain of steps that begins with it."""
    chain = {step.name: step.cost for step in steps}
    for step in reversed(steps):
        for parent in step.parents:
            chain[parent.name] = max(chain[parent.name], chain[step.name] + parent.cost)
    return chain


def with_descendants(steps: Iterable[Step], names: Iterable[str]) -> set[str]:
    """These steps and all that are made from them. Steps come in the order in which they can be done."""
    found = set(names)
    for step in steps:
        if any(parent.name in found for parent in step.parents):
            found.add(step.name)
    return found


def with_ancestors(steps: Sequence[Step], names: Iterable[str]) -> set[str]:
    """These steps and all that they are made from."""
    found = set(names)
    for step in reversed(steps):
        if step.name in found:
            found.update(parent.name for parent in step.parents)
    return found


_STUDY, _HOME, _STORE = "study.yaml", "run.json", "calls.sqlite"
_ORPHAN_WAIT_S = 10.0


def run_study(
    study: Study,
    folder: Path,
    *,
    executor: Literal["local"] = "local",
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    workers: int | None = None,
    device: str = "auto",
    on_event: Listener = lambda _event: None,
) -> dict[str, Record]:
    """Do the steps of a study that are not done yet; gives the records of all that are done now, by name.

    Args:
        study: what to run.
        folder: where; a run that was interrupted there is continued.
        executor: where the work is done; `local` is worker processes on this machine.
        only: names or patterns (`eval/*`) of the steps to do, with what they need; all by default.
        redo: names or patterns of steps to make anew, from changed inputs too; what depends on them follows.
        workers: how many processes side by side; by default one a core, and one in all where there is a GPU.
        device: what models run on; never part of a result's identity.
        on_event: is told what happens.

    Raises:
        StaleError: a step is there that was made from other inputs, and `redo` does not name it.
        InUseError: another run is writing the folder.
        PreflightError: training that would teach nothing.
        MidspecError: whatever a step refuses; the steps that do not depend on it are done nevertheless.
    """
    if executor != "local":
        raise ConfigError(f"there is no executor {executor!r}", where="executor", hint="There is local")
    began = time.monotonic()
    steps = study_steps(study, folder)
    check_beforehand(study, steps)
    check_floors(steps)
    _check_folder(study, folder)
    wanted = with_ancestors(steps, _matching(steps, only, "--only")) if only else {step.name for step in steps}
    again = _matching(steps, redo, "--redo") if redo else set()
    with _tidied(folder), locked(folder):
        scheduler = _open(steps, folder, wanted, with_descendants(steps, again))
        if any(isinstance(step, TaskStep) and step.judging.graders for step in scheduler.waiting):
            check_judges(study)
        _keep_study(study, folder)
        on_event(Event("begin", scheduler.n_done, scheduler.n_steps))
        place = LocalExecutor(folder / "logs", workers or _usual_workers())
        _run_steps(scheduler, place, _task_maker(steps, folder, scheduler, again, device), on_event)
    on_event(Event("end", scheduler.n_done, scheduler.n_steps, seconds=time.monotonic() - began))
    return scheduler.records


def _run_steps(
    scheduler: Scheduler, executor: Executor, task_for: Callable[[Step], StepTask], on_event: Listener
) -> None:
    """Do the scheduler's steps, side by side, until it is over.

    An error in one step gives up what depends on it; the rest is still done, and then the first error is raised.

    Args:
        scheduler: what is to be done; updated as it is.
        executor: where it is done; closed at the end.
        task_for: the task that makes a step whose inputs are done.
        on_event: is told what happens.
    """
    errors: list[Exception] = []
    last_seed: int | None = None

    def tell(kind: Literal["start", "progress", "done", "fail"], step: str, worker: int, **more: Any) -> None:
        on_event(Event(kind, scheduler.n_done, scheduler.n_steps, step, worker, **more))

    try:
        while not scheduler.is_over:
            while executor.n_free and (step := scheduler.take(last_seed)) is not None:
                tell("start", step.name, executor.submit(task_for(step)).worker)
            for handle in executor.wait():
                name, worker = handle.step.name, handle.worker
                if handle.state is StepState.RUNNING and handle.progress is not None:
                    tell("progress", name, worker, **handle.progress._asdict())
                elif handle.state is StepState.DONE and handle.record is not None:
                    scheduler.finish(name, handle.record)
                    tell("done", name, worker, seconds=handle.seconds)
                else:
                    error = handle.error or StepFaultError(f"{name} ended as {handle.state.value}")
                    errors.append(error)
                    scheduler.give_up(name)
                    tell("fail", name, worker, note=str(error).splitlines()[0])
                last_seed = handle.step.seed
    finally:
        executor.close()
    if errors:
        raise errors[0]


@contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """Leave no empty folder behind a run that was refused before it began."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def report_again(folder: Path, *, on_event: Listener = lambda _event: None) -> Path:
    """Write the report of a finished run once more; gives the path of its page.

    Raises:
        MissingError: there is no run in the folder, or it is not finished.
    """
    if not (folder / _STUDY).is_file():
        raise MissingError("there is no study run", where=str(folder), hint="Name the folder that midspec run wrote")
    home = _home(folder)
    study = parse_study((folder / _STUDY).read_text(encoding="utf-8"), home=home, name=str(folder / _STUDY))
    steps = study_steps(study, folder)
    undone = [name for name, (state, *_) in states(steps, folder).items() if state != "done" and name != "report"]
    if undone:
        raise MissingError(
            f"{len(undone)} of {len(steps)} steps are not done ({undone[0]} first)",
            where=str(folder),
            hint="Run midspec run on the study first",
        )
    run_study(study, folder, redo=["report"], workers=1, on_event=on_event)
    return folder / "report" / "report.html"


def _check_folder(study: Study, folder: Path) -> None:
    """A run folder is absent, empty, or has what an earlier run left.

    Raises:
        FolderError: it is a file, or holds files that no run made.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError("is a file, not a folder", where=str(folder), hint="Choose another --out")
    if not folder.is_dir() or (folder / _HOME).is_file():
        return
    if not all(_is_trace(entry, study.text) for entry in folder.iterdir()):
        raise FolderError("holds files that are not a midspec run", where=str(folder), hint="Choose another --out")


def _is_trace(entry: Path, text: str) -> bool:
    """What a run of this study left that was killed as it began: a lock, half a file, the study."""
    if entry.name == _STUDY:
        return entry.is_file() and entry.read_bytes() == text.encode()
    return entry.name == ".lock" or (entry.suffix == ".tmp" and entry.name.startswith((f".{_STUDY}.", f".{_HOME}.")))


def _home(folder: Path) -> Path:
    return Path(json.loads((folder / _HOME).read_text(encoding="utf-8"))["home"])


def _keep_study(study: Study, folder: Path) -> None:
    """Keep the study beside its results, with the contrasts that stood before the first of them.

    The folder that the study's paths start at is about this run only.
    """
    first = first_contrasts(study, folder)
    with writable(folder):
        write_text(folder / _STUDY, study.text)
        write_json(folder / _HOME, {"home": str(study.home), FIRST: first})
        (folder / "logs").mkdir(exist_ok=True)


def _matching(steps: Sequence[Step], patterns: Iterable[str], option: str) -> set[str]:
    names = [step.name for step in steps]
    found: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
        hits = hits or [step.name for step in steps if pattern in {step.kind, f"{step.kind}/{step.label}"}]
        if not hits:
            raise ConfigError(f"there is no step {pattern!r}", where=option, hint=_step_mend(pattern, names))
        found.update(hits)
    return found


def _step_mend(pattern: str, names: Sequence[str]) -> str:
    hint = did_you_mean(pattern, names)
    return hint if hint.startswith("Did") else "midspec plan lists the steps"


def _open(steps: Sequence[Step], folder: Path, wanted: set[str], follows: set[str]) -> Scheduler:
    """What is done and what is to be done; a stale step that nobody asked to make again is refused."""
    done: dict[str, Record] = {}
    for name, (state, record, changes) in states(steps, folder).items():
        if name in follows or name not in wanted:
            continue
        if state == "stale" and name != "report":
            raise StaleError(
                f"{name} was made from other inputs ({'; '.join(changes)})",
                where=str(folder),
                hint=f"Choose another --out, or pass --redo '{name}' to make it again",
            )
        if state == "done" and record is not None:
            done[name] = record
    return Scheduler(steps, wanted, done)


def _task_maker(
    steps: Sequence[Step], folder: Path, scheduler: Scheduler, again: set[str], device: str
) -> Callable[[Step], StepTask]:
    """What turns a step whose inputs are done into a task."""
    follows = with_descendants(steps, again) | {"report"}

    def task(step: Step) -> StepTask:
        wanted, place = step.identity(scheduler.records), step.folder(folder)
        record = read_record(place)
        changed = record is not None and record.fingerprint != fingerprint(wanted)
        return StepTask(
            step=step,
            identity=wanted,
            folder=place,
            store=folder / _STORE,
            places={parent.name: parent.folder(folder) for parent in step.parents},
            device=device,
            redo=step.name in again or (changed and step.name in follows),
            wait_s=_ORPHAN_WAIT_S,
        )

    return task


def _usual_workers() -> int:
    """One a core that this process may use; one in all where there is a GPU, which models would have to share."""
    if Path("/dev/nvidia0").exists():
        return 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
