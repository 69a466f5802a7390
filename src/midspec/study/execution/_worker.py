"""A worker process: makes one step after another until its parent has no more, and never outlives the parent.

It is long-lived, so that importing torch and inspect_ai is paid once. Compute libraries get one thread: side by
side beats many threads at this size, and a result does not depend on how many cores there were.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from midspec.core.artifact import build
from midspec.core.errors import MidspecError
from midspec.core.records import Record
from midspec.study._step import Job
from midspec.study.execution._executor import Progress, StepTask

_POLL_S = 0.2
_TELL_EVERY_S = 0.2


class Finished(NamedTuple):
    """A step's record, and whether it was made now."""

    record: Record
    made: bool


class Failed(NamedTuple):
    """Why a step was not made, and what the user can do about it."""

    error: MidspecError


Reply = Progress | Finished | Failed


def serve(line: Connection[Reply, StepTask]) -> None:
    """Make the tasks that come down the line, until it is closed."""
    n_modules = 0
    while True:
        try:
            task = line.recv()
        except EOFError:
            return
        line.send(_attempt(task, line))
        n_modules = _settle(n_modules)


def _settle(n_modules: int) -> int:
    """Hide what was imported since there were `n_modules` from the garbage collector; returns how many there are now.

    Trainer and Inspect collect in full after every step, 0.23 s each time for the 700,000 objects of their modules.
    """
    if len(sys.modules) > n_modules:
        gc.collect()
        gc.freeze()
    return len(sys.modules)


def _attempt(task: StepTask, line: Connection[Reply, StepTask]) -> Reply:
    # A fault of ours ends this process: its traceback is in the log, and the parent sees that the line is closed.
    try:
        return Finished(*_build(task, line))
    except MidspecError as error:
        return Failed(error)


def _build(task: StepTask, line: Connection[Reply, StepTask]) -> tuple[Record, bool]:
    told = 0.0

    def on_progress(at: int, of: int, note: str = "") -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_EVERY_S:
            told = time.monotonic()
            line.send(Progress(at, of, note))

    job = Job(folder=task.folder, store=task.store, places=task.places, device=task.device, on_progress=on_progress)
    return build(
        task.folder,
        task.identity,
        partial(task.step.run, job),
        redo=task.redo,
        resumable=task.step.resumable,
        wait_s=task.wait_s,
    )


def _follow(parent: int) -> None:
    """End this process, whatever it is doing, as soon as its parent is gone."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


def _stop(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)


def main() -> None:
    """What a worker process runs; its arguments are the line's file descriptor and the parent's process id."""
    handle, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    # The default threshold (700) costs an evaluation a fifth of its time: 1.8 s against 1.4 s on 120 pairs.
    gc.set_threshold(100_000, 20, 20)
    serve(Connection(handle))
