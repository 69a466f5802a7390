"""Run a study in a folder, and continue where an earlier run stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from midspec.core.artifact import RECORD, locked, read_record, writable, write_json, write_text
from midspec.core.errors import ConfigError, DataError, FolderError, MissingError, StaleError, UnreachableError
from midspec.core.fingerprint import listed
from midspec.core.machine import granted
from midspec.core.records import Record
from midspec.models import choose_gpus
from midspec.study._first_contrasts import FIRST, first_contrasts
from midspec.study._graph import study_steps
from midspec.study._load import Study, parse_study
from midspec.study._plan import check_floors, states, to_go_on
from midspec.study._preflight import check_beforehand, check_judges
from midspec.study._step import RUN_FILE, STUDY_FILE, Step
from midspec.study.execution._devices import DevicePool
from midspec.study.execution._executor import Event, Executor, Listener, StepState, StepTask
from midspec.study.execution._local import LocalExecutor, StepFaultError
from midspec.study.execution._remote_run import RemoteRun
from midspec.study.execution._scheduler import Scheduler, task_maker
from midspec.study.execution._selection import canary_of, matching_steps, wanted_steps, with_descendants
from midspec.study.execution._skypilot import write_sky_pipeline
from midspec.study.execution._slurm_run import SlurmRun
from midspec.study.jobs._eval_task import TaskStep

Place = Literal["local", "slurm", "skypilot"]


def run_study(
    study: Study,
    folder: Path,
    *,
    executor: Literal["local", "slurm"] = "local",
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    workers: int | None = None,
    device: str = "auto",
    canary: bool = False,
    follow: bool = True,
    reuse: Sequence[Path] = (),
    go_on: bool = True,
    on_event: Listener = lambda _event: None,
    remote: RemoteRun | None = None,
) -> dict[str, Record]:
    """Do the steps of a study that are not done yet; return the records of all that are done now, by name.

    Args:
        study: to run.
        folder: of the run; one that was interrupted there is continued.
        executor: `local` is worker processes on this machine, `slurm` jobs of a cluster that sees the folder too.
        only: names or patterns (`eval/*`) of the steps to do, with those that they need; all by default.
        redo: names or patterns of steps to make anew, also from changed inputs; those that depend on them follow.
        workers: how many processes side by side; by default one per core, and where there are GPUs one per GPU for
            steps on models, and one per core for the others.
        device: that models run on; never part of a result's identity.
        canary: do one step of each kind first, and nothing more if one of them fails.
        follow: with `slurm`, wait for the jobs; else return when they are submitted.
        reuse: other runs, or folders of runs; a result of the same inputs and settings is copied from there.
        go_on: ask again for answers that finished steps lack, with the executor `local`.
        on_event: called with each event.
        remote: the run in its store, whose working folder `folder` is.

    Raises:
        MissingError: `reuse` names a folder without a run.
        StaleError: a step is there that was made from other inputs, and `redo` does not name it.
        InUseError: another run is writing the folder.
        PreflightError: training that would teach nothing.
        MidspecError: whatever a step refuses; the steps that do not depend on it are done nevertheless.
    """
    began = time.monotonic()
    steps = study_steps(study, folder)
    on_event = remote.follow(steps, on_event, study.config.execution.store.state_every_s) if remote else on_event
    doubts = check_beforehand(study, steps)
    check_floors(steps)
    pool = DevicePool(choose_gpus(device), workers, granted().n_usable_cores) if executor == "local" else None
    if pool is not None:
        _check_devices(steps, pool)
    elif redo or reuse:
        hint = "Do that with --executor local, --only those steps; then go on here"
        raise ConfigError("is for the executor local", where="--redo" if redo else "--reuse", hint=hint)
    _check_folder(study, folder)
    elsewhere = {name: place for run in _runs_in(reuse, folder) for name, place in _results_of(run)}
    wanted = wanted_steps(steps, only)
    again = matching_steps(steps, redo, "--redo") if redo else set()
    with _run_folder(folder):
        lacking = to_go_on(steps, folder) if go_on and pool is not None else {}
        goes_on = {name: record for name, record in lacking.items() if name in wanted - again}
        if goes_on:  # what is made from them follows, unless it is stale already
            _open(steps, folder, wanted, with_descendants(steps, again))
        follows = with_descendants(steps, again | goes_on.keys())
        scheduler = _open(steps, folder, wanted, follows)
        _begin(study, folder, scheduler, goes_on)
        on_event(Event("begin", scheduler.n_done, scheduler.n_steps))
        for note in [
            *(f"warning: {doubt}" for doubt in doubts),
            *(f"{name} asks for what it lacks" for name in goes_on),
        ]:
            on_event(Event("say", scheduler.n_done, scheduler.n_steps, note=note))
        first = canary_of([step for step in steps if step.name in wanted])
        for part in [first, wanted] if canary else [wanted]:
            scheduler = _open(steps, folder, wanted, follows, part)
            if pool is None:
                jobs = SlurmRun(folder, study.config.name, study.config.execution.slurm, scheduler, on_event)
                jobs.follow(stop_at_fault=part != wanted) if follow or part != wanted else jobs.submit()
            else:
                local = LocalExecutor(folder / "logs", pool)
                task_for = task_maker(steps, folder, scheduler, again, device, elsewhere=elsewhere, goes_on=goes_on)
                task_for = remote.fetching(task_for) if remote else task_for
                _run_steps(scheduler, local, task_for, on_event, stop_at_fault=part != wanted, there=goes_on)
            follows -= set(scheduler.records)
    on_event(Event("end", scheduler.n_done, scheduler.n_steps, seconds=time.monotonic() - began))
    return scheduler.records


def write_jobs(
    study: Study, folder: Path, executor: Place, *, only: Sequence[str] = (), settings: Sequence[str] = ()
) -> Path:
    """Write what would be submitted, and submit nothing; return the path of the file to begin with.

    Args:
        study: to run.
        folder: of the run.
        executor: that would run it.
        only: with `slurm`, names or patterns of the steps to do, with those that they need; all by default.
        settings: with which the study was changed (`with_settings`) after it was read from its file.

    Raises:
        MidspecError: as `run_study` before its first step.
    """
    steps = study_steps(study, folder)
    check_beforehand(study, steps)
    check_floors(steps)
    _check_folder(study, folder)
    with _run_folder(folder):
        scheduler = _open(steps, folder, wanted_steps(steps, only), set())
        _begin(study, folder, scheduler)
        if executor == "skypilot":
            return write_sky_pipeline(study, folder, steps, settings)
        entry = study.config.execution.slurm
        return SlurmRun(folder, study.config.name, entry, scheduler, lambda _event: None).dry()


@contextmanager
def _run_folder(folder: Path) -> Iterator[None]:
    """Hold the folder of a run; one that was refused before it began leaves no empty folder behind."""
    try:
        with locked(folder):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _begin(study: Study, folder: Path, scheduler: Scheduler, there: Collection[str] = ()) -> None:
    """Write down what is run, where any later command and any other machine finds it.

    Args:
        study: to run.
        folder: of the run.
        scheduler: of its steps.
        there: names of those that have a result, for which the judges need not be there.
    """
    new = [step for step in scheduler.waiting if step.name not in there]
    if any(isinstance(step, TaskStep) and step.judging.graders for step in new):
        check_judges(study)
    first = first_contrasts(study, folder)
    with writable(folder):
        write_text(folder / STUDY_FILE, study.text)
        write_json(folder / RUN_FILE, {"home": str(study.home), FIRST: first})
        (folder / "logs").mkdir(exist_ok=True)


def open_run(folder: Path) -> Study:
    """Read the study of a run from its folder.

    Raises:
        MissingError: there is no run in the folder.
        DataError: what it holds is not what a run writes.
    """
    if not (folder / STUDY_FILE).is_file() or not (folder / RUN_FILE).is_file():
        raise MissingError("there is no study run", where=str(folder), hint="Name the folder that midspec run wrote")
    try:
        home = Path(json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["home"])
    except (ValueError, KeyError, TypeError) as error:
        hint = "Run midspec run on the study again"
        raise DataError("does not say where the study stands", where=str(folder / RUN_FILE), hint=hint) from error
    return parse_study((folder / STUDY_FILE).read_text(encoding="utf-8"), home=home, name=str(folder / STUDY_FILE))


def _run_steps(
    scheduler: Scheduler,
    executor: Executor,
    task_for: Callable[[Step], StepTask],
    on_event: Listener,
    *,
    stop_at_fault: bool = False,
    there: Mapping[str, Record] | None = None,
) -> None:
    """Do the scheduler's steps, side by side, until it is over.

    An error in one step gives up what depends on it; the rest is still done, and then the first error is raised.
    A step that had a result which lacks some answers keeps it.

    Args:
        scheduler: of the steps; updated as they are done.
        executor: that does them; closed at the end.
        task_for: gives the task of a step whose inputs are done.
        on_event: called with each event.
        stop_at_fault: begin nothing more after an error.
        there: the records of results that lack some answers, by step.
    """
    errors: list[Exception] = []
    last_seed: int | None = None

    def notify(kind: Literal["start", "progress", "done", "fail"], step: str, worker: int, **more: Any) -> None:
        on_event(Event(kind, scheduler.n_done, scheduler.n_steps, step, worker, **more))

    try:
        while not scheduler.is_over:
            if stop_at_fault and errors:
                break
            while (step := scheduler.take(last_seed, executor.can_take)) is not None:
                notify("start", step.name, executor.submit(task_for(step)).worker)
            for handle in executor.wait():
                name, worker = handle.step.name, handle.worker
                if handle.state is StepState.RUNNING and handle.progress is not None:
                    notify("progress", name, worker, **handle.progress._asdict())
                elif handle.state is StepState.DONE and handle.record is not None:
                    scheduler.finish(name, handle.record)
                    notify("done", name, worker, seconds=handle.seconds)
                elif there and name in there and isinstance(handle.error, (ConfigError, UnreachableError)):
                    scheduler.finish(name, there[name])
                    note = f"{name} stays without what it lacks: {str(handle.error).splitlines()[0]}"
                    on_event(Event("say", scheduler.n_done, scheduler.n_steps, note=note))
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
        if entry.name == STUDY_FILE:
            return entry.is_file() and entry.read_bytes() == study.text.encode()
        begun = entry.suffix == ".tmp" and entry.name.startswith((f".{STUDY_FILE}.", f".{RUN_FILE}."))
        return entry.name == ".lock" or begun

    if folder.exists() and not folder.is_dir():
        raise FolderError("is a file, not a folder", where=str(folder), hint="Choose another --out")
    if not folder.is_dir() or (folder / RUN_FILE).is_file():
        return
    if not all(map(is_trace, folder.iterdir())):
        raise FolderError("holds files that are not a midspec run", where=str(folder), hint="Choose another --out")


def _runs_in(folders: Iterable[Path], own: Path) -> Iterator[Path]:
    """Yield the runs that folders are or hold, but not the run in `own`.

    Raises:
        MissingError: a folder is and holds none.
    """
    for folder in folders:
        inner = sorted(path.parent for path in folder.glob(f"*/{RUN_FILE}"))
        runs = [folder] if (folder / RUN_FILE).is_file() else inner
        # Before its first study a folder of runs is empty, or not there.
        if not runs and folder.resolve() != own.resolve().parent:
            raise MissingError("there is no study run", where=f"--reuse {folder}", hint="Name the folder of a run")
        yield from (run for run in runs if run.resolve() != own.resolve())


def _results_of(run: Path) -> Iterator[tuple[str, Path]]:
    """Yield each finished result of a run but its analysis and report, with what identifies it."""
    for path in sorted(run.glob(f"steps/*/*/{RECORD}")):
        if (record := read_record(path.parent)) is not None:
            yield record.fingerprint, path.parent


def is_older_analysis(name: str, changes: Sequence[str]) -> bool:
    """Return whether a stale step is the analysis of an older version or of scores since completed: made in seconds.

    Its contrasts, arms and seeds are the same.
    """
    absent = any("(absent)" in change for change in changes)
    is_older = bool(changes) and all(change.startswith(("step: ", "inputs.")) for change in changes)
    return name == "analysis" and is_older and not absent


def _open(
    steps: Sequence[Step], folder: Path, wanted: set[str], follows: set[str], part: set[str] | None = None
) -> Scheduler:
    """Create the scheduler of a run; a stale step that is not to be made again is refused.

    Args:
        steps: of the study.
        folder: of the run.
        wanted: names of the steps to do.
        follows: names of those that are made anew.
        part: of what is wanted, to do now; all by default.
    """
    done: dict[str, Record] = {}
    for name, (state, record, changes) in states(steps, folder).items():
        if name in follows or name not in wanted:
            continue
        if state == "stale" and name != "report" and not is_older_analysis(name, changes):
            raise StaleError(
                f"{name} was made from other inputs ({listed(changes)})",
                where=str(folder),
                hint=f"Choose another --out, or pass --redo '{name}' to make it again",
            )
        if state == "done" and record is not None:
            done[name] = record
    return Scheduler(steps, wanted if part is None else part, done)


def _check_devices(steps: Iterable[Step], pool: DevicePool) -> None:
    """Refuse a step that needs more GPUs than there are: it would never begin."""
    for step in steps:
        if pool.needs(step.n_devices) > len(pool.gpus):
            raise ConfigError(
                f"{step.name} needs {step.n_devices} GPUs, and there are {len(pool.gpus)}",
                where="execution.processes",
                hint="Lower it, or make more GPUs visible",
            )
