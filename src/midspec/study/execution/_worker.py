"""A worker process: make one step after another until its parent has no more, and never outlive the parent.

It is long-lived, so that torch and inspect_ai are imported once. Compute libraries get one thread: steps side by side
are faster than many threads at this size, and a result does not depend on the number of cores.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from midspec.core.artifact import RECORD, build, read_record, take_over
from midspec.core.errors import DataError, FolderError, MidspecError
from midspec.core.garbage import freeze_modules, rare_collections
from midspec.core.processes import end_with
from midspec.core.records import Record
from midspec.study._inputs import File
from midspec.study.execution._executor import Progress, StepTask
from midspec.study.execution._step_status import StatusFile

_PROGRESS_EVERY_S = 0.2


class Finished(NamedTuple):
    """The record of a step, and whether it was made now."""

    record: Record
    made: bool


class Failed(NamedTuple):
    """The error of a step that was not made."""

    error: MidspecError


Reply = Progress | Finished | Failed


def serve(connection: Connection[Reply, StepTask]) -> None:
    """Make the tasks that the connection delivers, until it is closed."""
    n_modules = 0
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        # A fault of midspec ends this process: its traceback is in the log, and the parent sees the closed connection.
        try:
            connection.send(Finished(*make_step(task, connection.send)))
        except MidspecError as error:
            connection.send(Failed(error))
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            hint = "Raise the limit (`ulimit -n 4096`), or lower --concurrency or --workers"
            connection.send(Failed(FolderError("too many files are open at once", where="ulimit -n", hint=hint)))
        n_modules = freeze_modules(n_modules)


def make_step(task: StepTask, tell: Callable[[Progress], None], job: str = "") -> tuple[Record, bool]:
    """Make one step and keep its status file; return its record, and whether it was made now.

    Args:
        task: the step, with all that it needs.
        tell: called with how far it is, a few times a second at most.
        job: the cluster's number of the job, if any.
    """
    with StatusFile(task.status, task.step.name, job) if task.status else nullcontext() as status:
        told_at = 0.0

        def on_progress(at: int, of: int, note: str = "") -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= _PROGRESS_EVERY_S:
                told_at = time.monotonic()
                tell(Progress(at, of, note))
                if status is not None:
                    status.progress(at, of, note)

        job_of_step = replace(task.job, on_progress=on_progress)
        _check_inputs(task)
        make, resumable = partial(task.step.run, job_of_step), task.step.resumable
        if task.same_result is not None:
            make = partial(take_over, task.same_result)
        folder = task.job.folder
        return build(folder, task.identity, make, redo=task.redo, resumable=resumable, wait_s=task.wait_s)


def _check_inputs(task: StepTask) -> None:
    """Refuse a step whose inputs are not the files that their records are of: results go by the record's hashes.

    A record is the last that a step writes, so that only what is younger is hashed, as in a run that was copied or
    fetched. Once all is found as made, the record is dated after it: no other process reads the weights again for this.

    Raises:
        DataError: a file is gone, or holds something else.
    """
    began_ns = time.time_ns()  # a later change of a file that was read already must stay the younger
    for place in task.job.places.values():
        record = read_record(place)
        written_ns = newest_ns = (place / RECORD).stat().st_mtime_ns if record else 0
        for name, digest in record.outputs.items() if record else ():
            path = place / name
            if path.is_file():
                changed_ns = path.stat().st_mtime_ns
                newest_ns = max(newest_ns, changed_ns)
                is_as_made = changed_ns <= written_ns or File(str(path)).digest({}) == digest
            else:
                is_as_made = task.step.kind == "report"  # Shows no weights, which a run at a URL doesn't fetch for it.
            if not is_as_made:
                hint = f"Remove {place}, so that it is made anew; what is changed by hand has to be a file of your own"
                raise DataError("is gone, or was changed after it was made", where=str(path), hint=hint)
        if written_ns < newest_ns <= began_ns:
            with suppress(OSError):  # a run of somebody else's, or on a disk that can't be written
                os.utime(place / RECORD, ns=(newest_ns, newest_ns))


def main() -> None:
    """Run a worker process; its arguments are the connection's file descriptor and the parent's process id."""

    def stop(signum: int, _frame: object) -> None:
        raise SystemExit(128 + signum)

    end_with(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    with rare_collections():
        serve(Connection(int(sys.argv[1])))
