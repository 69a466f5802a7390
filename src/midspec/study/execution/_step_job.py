"""Make steps of a run folder in a job of a cluster: `midspec step RUN NAME ...`.

The folder says all: the study is in `study.yaml`, what is done in the records. A job that is told that its time is
nearly up (SIGUSR1) saves what the step can go on from, and puts itself back into the queue.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from midspec.core.artifact import locked, read_record
from midspec.core.errors import ConfigError, MidspecError, MissingError, did_you_mean
from midspec.core.fingerprint import fingerprint
from midspec.core.garbage import freeze_modules
from midspec.study._graph import study_steps
from midspec.study._plan import states
from midspec.study._step import Step
from midspec.study.execution._run import open_run
from midspec.study.execution._scheduler import Scheduler, task_maker
from midspec.study.execution._selection import with_ancestors, with_descendants
from midspec.study.execution._step_status import StatusFile, log_path, status_path
from midspec.study.execution._worker import make_step

# How long a job waits for the process of its own earlier attempt, on a node that is being given up.
_WAIT_FOR_OLD_S = 120.0
# A network file system may show a record of another node late (NFS: 60 s by default).
_RECORD_WITHIN_S, _RECORD_EVERY_S = 120.0, 2.0
_SAME_RESULT_WAIT_S = 14 * 24 * 3600.0
_REQUEUE_TRIES, _REQUEUE_EVERY_S = 8, 5.0
TRY_AGAIN = 75
"""The exit code of a job that could go on and could not put itself back into the queue (EX_TEMPFAIL)."""


class TimeUpError(MidspecError, TimeoutError):
    """A step that can't be continued did not end within the time of a whole job."""


def make_steps(
    folder: Path, names: Sequence[str], *, device: str = "auto", most_restarts: int = 10, tell: Callable[[str], None]
) -> int:
    """Make these steps of a run, in this order, each with a log and a status file of its own; return an exit code.

    A step that is done is passed over. After an error the steps that do not depend on it are still made.

    Args:
        folder: of the run.
        names: of the steps.
        device: that models run on.
        most_restarts: of this job; after so many it does not put itself back into the queue.
        tell: called with a line for each step that ended.

    Raises:
        MissingError: there is no run in the folder, or what a step is made from is not done.
        ConfigError: the study has no such step.
        MidspecError: the first that a step refused.
    """
    folder = folder.resolve()
    errors: list[Exception] = []
    lost: set[str] = set()
    with _warned() as warning:
        steps = study_steps(open_run(folder), folder)
        by_name = {step.name: step for step in steps}
        for name in names:
            if name not in by_name:
                raise ConfigError(
                    f"the study has no step {name!r}", where=str(folder), hint=did_you_mean(name, by_name)
                )
        work = _Work(folder, steps, Scheduler(steps, names, {}), device, warning, tell)
        work.note_done(names)
        for name in names:
            if work.is_done(name) or name in lost:
                continue
            try:
                work.make(by_name[name])
            except MidspecError as error:
                errors.append(error)
                lost |= with_descendants(steps, [name])
                tell(f"{name} failed: {error}")
            except (SystemExit, KeyboardInterrupt):
                if not warning.is_given:
                    raise
                return work.end_of_time(by_name[name], most_restarts)
    if errors:
        raise errors[0]
    return 0


@dataclass
class _Warning:
    """SIGUSR1, which comes before a job's time is up.

    Attributes:
        is_given: it has come.
        ends_step: it ends what is done now, as SIGTERM does. Between two steps there is nothing to save, and it is
            looked at before the next one begins.
    """

    is_given: bool = False
    ends_step: bool = False


@contextmanager
def _warned() -> Iterator[_Warning]:
    """Take SIGUSR1 as SIGTERM, which every part that saves its state knows, and note that it came."""
    warning = _Warning()

    def note(_signum: int, _frame: object) -> None:
        warning.is_given = True
        if warning.ends_step:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGUSR1, note)
    try:
        yield warning
    finally:
        signal.signal(signal.SIGUSR1, before)


class _Work:
    """The steps of one job."""

    def __init__(
        self,
        folder: Path,
        steps: Sequence[Step],
        scheduler: Scheduler,
        device: str,
        warning: _Warning,
        tell: Callable[[str], None],
    ) -> None:
        self._folder, self._steps, self._scheduler, self._tell = folder, steps, scheduler, tell
        self._task_for = task_maker(steps, folder, scheduler, (), device, wait_s=_WAIT_FOR_OLD_S)
        self._job, self._warning = _job_number(os.environ), warning
        self._begun, self._n_made, self._n_modules = "", 0, 0

    def is_done(self, name: str) -> bool:
        """Return whether the record of a step is known."""
        return name in self._scheduler.records

    def make(self, step: Step) -> None:
        """Make one step, or take over the same result of another one.

        Raises:
            SystemExit: the job was warned before.
        """
        began = time.monotonic()
        self._warning.ends_step = True
        try:
            if self._warning.is_given:
                raise SystemExit
            self._check_inputs(step)
            with self._one_of_twins(step):
                # The result of a finished step that has the same one is taken over.
                for twin in self._twins(step):
                    if (theirs := read_record(twin.folder(self._folder))) is not None:
                        self._scheduler.records.setdefault(twin.name, theirs)
                self._begun = step.name
                with _output_to(log_path(self._folder, step)) as log:
                    try:
                        record, is_made = make_step(self._task_for(step), lambda _progress: None, self._job)
                    except Exception:
                        log.write(traceback.format_exc().encode())
                        raise
            self._scheduler.finish(step.name, record)
        finally:
            self._warning.ends_step = False
        self._n_made += is_made
        self._n_modules = freeze_modules(self._n_modules)
        self._tell(f"{step.name} ({time.monotonic() - began:.1f} s)" if is_made else f"{step.name} was done")

    def _check_inputs(self, step: Step) -> None:
        """Refuse a step whose inputs are not done; in a cluster's job, wait for records that another node wrote."""
        deadline = time.monotonic() + (_RECORD_WITHIN_S if self._job else 0)
        records = self._scheduler.records
        while missing := [parent.name for parent in step.parents if parent.name not in records]:
            if time.monotonic() >= deadline:
                hint = "Make that one first: midspec run does all in their order"
                with StatusFile(status_path(self._folder, step), step.name, self._job):
                    raise MissingError(f"it is made from {missing[0]}, which is not done", where=step.name, hint=hint)
            time.sleep(_RECORD_EVERY_S)
            self.note_done([step.name])

    def note_done(self, names: Sequence[str]) -> None:
        """Take in the records of what these steps are made from, and of themselves."""
        chosen = with_ancestors(self._steps, names)
        relevant = [step for step in self._steps if step.name in chosen]
        for name, (state, record, _) in states(relevant, self._folder).items():
            if record is not None and state == "done":
                self._scheduler.records[name] = record

    @contextmanager
    def _one_of_twins(self, step: Step) -> Iterator[None]:
        """Hold the step's result among the steps that may have the same one, so that a second job waits for it."""
        if not self._twins(step):
            yield
            return
        mark = fingerprint(step.identity(self._scheduler.records))
        held = self._folder / "jobs" / "same" / mark[:16]
        with locked(held, wait_s=_SAME_RESULT_WAIT_S):
            yield
        with suppress(OSError):
            held.rmdir()

    def _twins(self, step: Step) -> list[Step]:
        alike = (one for one in self._steps if one.kind == step.kind and one.name != step.name)
        return [one for one in alike if one.settings == step.settings]

    def end_of_time(self, step: Step, most_restarts: int) -> int:
        """Put the job back into the queue; return its exit code.

        Raises:
            TimeUpError: the next job would get no further, or there were too many already.
        """
        n_restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        error: TimeUpError | None = None
        # The signal may have come when all was written and nothing noted.
        self.note_done([step.name])
        is_cut = self._begun == step.name and not self.is_done(step.name)
        hint = f"Raise execution.slurm.time_min, for this kind alone under kinds.{step.kind}"
        if is_cut and not step.resumable and not self._n_made:
            error = TimeUpError(
                "did not end within the time of a job and can't be continued", where=step.name, hint=hint
            )
        elif n_restarts >= most_restarts:
            error = TimeUpError(f"was out of time after {n_restarts} restarts", where=step.name, hint=hint)
        if error is not None:
            with StatusFile(status_path(self._folder, step), step.name, self._job):
                raise error
        is_left = f"{step.name} is out of time and goes on" if is_cut else "time is up; the rest is made"
        self._tell(f"{is_left} in another job")
        return _requeue(self._tell)


def _job_number(environment: Mapping[str, str]) -> str:
    """Return the cluster's number of the job that this process is in; empty outside one."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")


def _requeue(tell: Callable[[str], None]) -> int:
    """Put this job back into the queue, once the controller answers; Slurm then ends this process."""
    for _ in range(_REQUEUE_TRIES):
        command = ["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if ran.returncode == 0:
            return 0
        tell(f"scontrol requeue: {' '.join(ran.stderr.split())}")
        time.sleep(_REQUEUE_EVERY_S)
    return TRY_AGAIN


@contextmanager
def _output_to(path: Path) -> Iterator[BinaryIO]:
    """Write all output of this process to a file, also that of libraries written in C, and afterwards as before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, handle in zip((1, 2), before, strict=True):
                os.dup2(handle, number)
                os.close(handle)
