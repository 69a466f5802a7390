"""Run a study in a folder, and continue where an earlier run stopped."""

from __future__ import annotations

import fnmatch
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from midspec.core.artifact import RECORD, locked, read_record, writable, write_json, write_text
from midspec.core.errors import ConfigError, FolderError, MissingError, StaleError, did_you_mean
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.models import choose_gpus
from midspec.study._beforehand import check_beforehand, check_judges
from midspec.study._graph import study_steps
from midspec.study._load import FIRST, Study, first_contrasts
from midspec.study._plan import check_floors, states
from midspec.study._step import Job, Step
from midspec.study.execution._devices import DevicePool
from midspec.study.execution._executor import Event, Executor, Listener, StepState, StepTask
from midspec.study.execution._local import LocalExecutor, StepFaultError
from midspec.study.execution._remote_run import RemoteRun
from midspec.study.jobs._eval_task import TaskStep


class Scheduler:
    """The steps of a run that are done, running and waiting.

    Among the steps that are ready, the one at the head of the longest chain of work goes first (a base before any
    arm), so that no worker idles at the end; among equals, one of the seed that a worker had last. Of steps with the
    same result (an untrained checkpoint, evaluated for every seed) one is made, and the others wait to take it over.
    """

    def __init__(self, steps: Sequence[Step], wanted: Iterable[str], done: Mapping[str, Record]) -> None:
        self.steps = {step.name: step for step in steps}
        self.records = dict(done)
        wanted = set(wanted)
        self._waiting = [name for name in self.steps if name in wanted and name not in done]
        self.n_steps = len(self._waiting) + len(done)
        self._running: set[str] = set()
        self._fingerprints: dict[str, str] = {}
        # For each step the cost of the longest chain of steps that begins with it.
        self._chain = {step.name: step.cost for step in steps}
        for step in reversed(steps):
            for parent in step.parents:
                self._chain[parent.name] = max(self._chain[parent.name], self._chain[step.name] + parent.cost)

    @property
    def n_done(self) -> int:
        """Return how many steps are done, those done before the run included."""
        return len(self.records)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """Return the steps that are still to be started."""
        return tuple(self.steps[name] for name in self._waiting)

    def take(self, last_seed: int | None, can_take: Callable[[Step], bool] = lambda _step: True) -> Step | None:
        """Return the next step to start, counted as running from now on; `None` when none is ready.

        Args:
            last_seed: of the step that ended last.
            can_take: whether there is a free place for a step.
        """
        ready = [
            name
            for name in self._waiting
            if all(parent.name in self.records for parent in self.steps[name].parents)
            and can_take(self.steps[name])
            and self._fingerprint(name) not in {self._fingerprints[running] for running in self._running}
        ]
        if not ready:
            return None
        best = max(ready, key=lambda name: (self._chain[name], self.steps[name].seed == last_seed))
        self._waiting.remove(best)
        self._running.add(best)
        return self.steps[best]

    def same_result(self, step: Step) -> Step | None:
        """Return a step that is done and has the result of this one: equal inputs and settings, by another name."""
        wanted = self._fingerprint(step.name)
        found = (name for name, record in self.records.items() if record.fingerprint == wanted and name != step.name)
        return next((self.steps[name] for name in found), None)

    def _fingerprint(self, name: str) -> str:
        """Return what identifies the result of a step whose inputs are done."""
        if name not in self._fingerprints:
            self._fingerprints[name] = fingerprint(self.steps[name].identity(self.records))
        return self._fingerprints[name]

    def finish(self, name: str, record: Record) -> None:
        """Count a running step as done."""
        self._running.discard(name)
        self.records[name] = record

    def give_up(self, name: str) -> None:
        """Count a running step as failed; nothing that is made from it will be started."""
        self._running.discard(name)
        lost = with_descendants(self.steps.values(), [name])
        self._waiting = [entry for entry in self._waiting if entry not in lost]

    @property
    def is_over(self) -> bool:
        """Return whether nothing runs and nothing can be started."""
        return not self._running and not self._waiting


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


STUDY, HOME, _STORE = "study.yaml", "run.json", "calls.sqlite"
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
    reuse: Sequence[Path] = (),
    on_event: Listener = lambda _event: None,
    remote: RemoteRun | None = None,
) -> dict[str, Record]:
    """Do the steps of a study that are not done yet; return the records of all that are done now, by name.

    Args:
        study: to run.
        folder: of the run; one that was interrupted there is continued.
        executor: `local` is worker processes on this machine.
        only: names or patterns (`eval/*`) of the steps to do, with those that they need; all by default.
        redo: names or patterns of steps to make anew, also from changed inputs; those that depend on them follow.
        workers: how many processes side by side; by default one per core, and where there are GPUs one per GPU for
            steps on models, and one per core for the others.
        device: that models run on; never part of a result's identity.
        reuse: other runs, or folders of runs; a result of the same inputs and settings is copied from there.
        on_event: called with each event.
        remote: the run in its store, whose working folder `folder` is.

    Raises:
        MissingError: `reuse` names a folder without a run.
        StaleError: a step is there that was made from other inputs, and `redo` does not name it.
        InUseError: another run is writing the folder.
        PreflightError: training that would teach nothing.
        MidspecError: whatever a step refuses; the steps that do not depend on it are done nevertheless.
    """
    if executor != "local":
        raise ConfigError(f"there is no executor {executor!r}", where="executor", hint="There is local")
    began = time.monotonic()
    pool = DevicePool(choose_gpus(device), workers, _n_cores())
    steps = study_steps(study, folder)
    on_event = remote.follow(steps, on_event) if remote else on_event
    check_beforehand(study, steps)
    check_floors(steps)
    _check_devices(steps, pool)
    _check_folder(study, folder)
    elsewhere = {name: place for run in _runs_in(reuse, folder) for name, place in _results_of(run)}
    wanted = with_ancestors(steps, _matching(steps, only, "--only")) if only else {step.name for step in steps}
    again = _matching(steps, redo, "--redo") if redo else set()
    try:
        with locked(folder):
            scheduler = _open(steps, folder, wanted, with_descendants(steps, again))
            if any(isinstance(step, TaskStep) and step.judging.graders for step in scheduler.waiting):
                check_judges(study)
            first = first_contrasts(study, folder)
            with writable(folder):
                write_text(folder / STUDY, study.text)
                write_json(folder / HOME, {"home": str(study.home), FIRST: first})
                (folder / "logs").mkdir(exist_ok=True)
            on_event(Event("begin", scheduler.n_done, scheduler.n_steps))
            local = LocalExecutor(folder / "logs", pool)
            task_for = _task_maker(steps, folder, scheduler, again, device, elsewhere)
            _run_steps(scheduler, local, remote.fetching(task_for) if remote else task_for, on_event)
    finally:
        # A run that was refused before it began leaves no empty folder behind.
        with suppress(OSError):
            folder.rmdir()
    on_event(Event("end", scheduler.n_done, scheduler.n_steps, seconds=time.monotonic() - began))
    return scheduler.records


def _run_steps(
    scheduler: Scheduler, executor: Executor, task_for: Callable[[Step], StepTask], on_event: Listener
) -> None:
    """Do the scheduler's steps, side by side, until it is over.

    An error in one step gives up what depends on it; the rest is still done, and then the first error is raised.

    Args:
        scheduler: of the steps; updated as they are done.
        executor: that does them; closed at the end.
        task_for: gives the task of a step whose inputs are done.
        on_event: called with each event.
    """
    errors: list[Exception] = []
    last_seed: int | None = None

    def notify(kind: Literal["start", "progress", "done", "fail"], step: str, worker: int, **more: Any) -> None:
        on_event(Event(kind, scheduler.n_done, scheduler.n_steps, step, worker, **more))

    try:
        while not scheduler.is_over:
            while (step := scheduler.take(last_seed, executor.can_take)) is not None:
                notify("start", step.name, executor.submit(task_for(step)).worker)
            for handle in executor.wait():
                name, worker = handle.step.name, handle.worker
                if handle.state is StepState.RUNNING and handle.progress is not None:
                    notify("progress", name, worker, **handle.progress._asdict())
                elif handle.state is StepState.DONE and handle.record is not None:
                    scheduler.finish(name, handle.record)
                    notify("done", name, worker, seconds=handle.seconds)
                else:
                    error = handle.error or StepFaultError(f"{name} ended as {handle.state.value}")
                    errors.append(error)
                    scheduler.give_up(name)
                    notify("fail", name, worker, note=str(error).splitlines()[0])
                last_seed = handle.step.seed
    finally:
        executor.close()
    if errors:
        raise errors[0]


def _check_folder(study: Study, folder: Path) -> None:
    """Refuse a folder that is a file, or holds files that no run of this study made.

    Raises:
        FolderError: see above.
    """

    def is_trace(entry: Path) -> bool:
        # A run that was killed as it began leaves a lock, half a file, or the study.
        if entry.name == STUDY:
            return entry.is_file() and entry.read_bytes() == study.text.encode()
        begun = entry.suffix == ".tmp" and entry.name.startswith((f".{STUDY}.", f".{HOME}."))
        return entry.name == ".lock" or begun

    if folder.exists() and not folder.is_dir():
        raise FolderError("is a file, not a folder", where=str(folder), hint="Choose another --out")
    if not folder.is_dir() or (folder / HOME).is_file():
        return
    if not all(map(is_trace, folder.iterdir())):
        raise FolderError("holds files that are not a midspec run", where=str(folder), hint="Choose another --out")


def _runs_in(folders: Iterable[Path], own: Path) -> Iterator[Path]:
    """Yield the runs that folders are or hold, but not the run in `own`.

    Raises:
        MissingError: a folder is and holds none.
    """
    for folder in folders:
        runs = [folder] if (folder / HOME).is_file() else sorted(path.parent for path in folder.glob(f"*/{HOME}"))
        # Before its first study a folder of runs is empty, or not there.
        if not runs and folder.resolve() != own.resolve().parent:
            raise MissingError("there is no study run", where=f"--reuse {folder}", hint="Name the folder of a run")
        yield from (run for run in runs if run.resolve() != own.resolve())


def _results_of(run: Path) -> Iterator[tuple[str, Path]]:
    """Yield each finished result of a run but its analysis and report, with what identifies it."""
    for path in sorted(run.glob(f"steps/*/*/{RECORD}")):
        if (record := read_record(path.parent)) is not None:
            yield record.fingerprint, path.parent


def _matching(steps: Sequence[Step], patterns: Iterable[str], option: str) -> set[str]:
    names = [step.name for step in steps]
    selected: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
        hits = hits or [step.name for step in steps if pattern in {step.kind, f"{step.kind}/{step.label}"}]
        if not hits:
            hint = did_you_mean(pattern, names)
            hint = hint if hint.startswith("Did") else "midspec plan lists the steps"
            raise ConfigError(f"there is no step {pattern!r}", where=option, hint=hint)
        selected.update(hits)
    return selected


def is_older_analysis(name: str, changes: Sequence[str]) -> bool:
    """Return whether a stale step is the analysis of an older version, which is made again in seconds.

    Its scores and contrasts are the same.
    """
    return name == "analysis" and bool(changes) and all(change.startswith("step: ") for change in changes)


def _open(steps: Sequence[Step], folder: Path, wanted: set[str], follows: set[str]) -> Scheduler:
    """Create the scheduler of a run; a stale step that is not to be made again is refused."""
    done: dict[str, Record] = {}
    for name, (state, record, changes) in states(steps, folder).items():
        if name in follows or name not in wanted:
            continue
        if state == "stale" and name != "report" and not is_older_analysis(name, changes):
            raise StaleError(
                f"{name} was made from other inputs ({'; '.join(changes)})",
                where=str(folder),
                hint=f"Choose another --out, or pass --redo '{name}' to make it again",
            )
        if state == "done" and record is not None:
            done[name] = record
    return Scheduler(steps, wanted, done)


def _task_maker(
    steps: Sequence[Step],
    folder: Path,
    scheduler: Scheduler,
    again: set[str],
    device: str,
    elsewhere: Mapping[str, Path],
) -> Callable[[Step], StepTask]:
    """Return a function that gives the task of a step whose inputs are done.

    Args:
        steps: of the study.
        folder: of the run.
        scheduler: which of them are done.
        again: the names of those that are made anew.
        device: that models run on.
        elsewhere: results of other runs, by fingerprint.
    """
    follows = with_descendants(steps, again) | {"report"}

    def task(step: Step) -> StepTask:
        identity, place = step.identity(scheduler.records), step.folder(folder)
        record = read_record(place)
        changed = record is not None and record.fingerprint != fingerprint(identity)
        older = record is not None and record.identity.model_copy(update={"step": identity.step}) == identity
        is_older = step.kind == "analysis" and older
        redo = step.name in again or (changed and (step.name in follows or is_older))
        places = {parent.name: parent.folder(folder) for parent in step.parents}
        job = Job(folder=place, store=folder / _STORE, places=places, device=device)
        same = None if redo else scheduler.same_result(step)
        result = None if same is None else same.folder(folder)
        if result is None and step.name not in follows:
            result = elsewhere.get(fingerprint(identity))
        return StepTask(step, identity, job, redo=redo, wait_s=_ORPHAN_WAIT_S, same_result=result)

    return task


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _check_devices(steps: Iterable[Step], pool: DevicePool) -> None:
    """Refuse a step that needs more GPUs than there are: it would never begin."""
    for step in steps:
        if pool.needs(step.n_devices) > len(pool.gpus):
            raise ConfigError(
                f"{step.name} needs {step.n_devices} GPUs, and there are {len(pool.gpus)}",
                where="execution.processes",
                hint="Lower it, or make more GPUs visible",
            )
