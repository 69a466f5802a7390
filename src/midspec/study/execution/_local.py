"""Runs steps here: a few worker processes, each with one compute thread."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, NamedTuple

from midspec.core.artifact import writable
from midspec.core.errors import MidspecError
from midspec.core.records import Record
from midspec.study._steps import Step
from midspec.study.execution._scheduler import Scheduler
from midspec.study.execution._worker import Failed, Finished, Progressed, Reply, Task


class Event(NamedTuple):
    """Something that happened in a run.

    Attributes:
        kind: `begin` and `end` of the run; `start`, `progress`, `done` and `fail` of a step.
        n_done: steps done so far, those found done at the start included.
        n_steps: steps that this run is about.
        step: the step's name.
        worker: the number of the worker, from 1.
        at: progress inside the step, in its own units (training updates).
        of: how many units there are; 0 when unknown.
        seconds: since the run began (`begin`, `end`), or that the step took (`done`).
        note: words for a reader.
    """

    kind: Literal["begin", "start", "progress", "done", "fail", "end"]
    n_done: int
    n_steps: int
    step: str = ""
    worker: int = 0
    at: int = 0
    of: int = 0
    seconds: float = 0.0
    note: str = ""


Listener = Callable[[Event], None]


_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_STOP_WITHIN_S = 10.0
_TRACE_LINES = 12


class StepFaultError(RuntimeError):
    """A step failed by a fault of ours; the message ends with the traceback."""


class WorkerLostError(MidspecError, ChildProcessError):
    """A worker process was killed from outside, most often because memory ran out."""


class _Worker:
    """One worker process, the line to it, and the step that it is making."""

    def __init__(self, number: int, logs: Path) -> None:
        self.number = number
        self.log = logs / f"worker-{number}.log"
        self.step: Step | None = None
        self.since = 0.0
        self.last_seed: int | None = None
        self.line: Connection[Task, Reply]
        self._process: subprocess.Popen[bytes]
        self._start()

    def _start(self) -> None:
        ours, theirs = Pipe()
        handle = str(theirs.fileno())
        code = "from midspec.study.execution._worker import main; main()"
        with writable(self.log.parent), self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, running our own module
                [sys.executable, "-c", code, handle, str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | _ENVIRONMENT,
                # A Ctrl-C in the terminal is the parent's to handle.
                start_new_session=True,
            )
        theirs.close()
        self.line = ours

    def send(self, task: Task) -> None:
        self.step, self.since, self.last_seed = task.step, time.monotonic(), task.step.seed
        self.line.send(task)

    def lost(self) -> Exception:
        """Why the line is closed; a new process takes the place of the one that is gone."""
        code = self._process.wait()
        name = self.step.name if self.step else "a worker"
        self.line.close()
        self._start()
        if code < 0:
            return WorkerLostError(
                f"its worker process was killed by signal {-code}",
                where=name,
                hint="Run again to go on, with fewer --workers if memory was short",
            )
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TRACE_LINES:]
        return StepFaultError("\n".join([f"{name} failed (the whole log: {self.log})", *tail]))

    def ask_to_stop(self) -> None:
        """Tell the process to end: at once if it is idle, after putting down what it holds if it is not."""
        self.line.close()
        if self.step is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until the process has ended, and end it if it does not."""
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run_here(
    board: Scheduler, task_for: Callable[[Step], Task], logs: Path, n_workers: int, on_event: Listener
) -> None:
    """Do the board's steps, side by side, until it is over.

    An error in one step gives up what depends on it; the rest is still done, and then the first error is raised.

    Args:
        board: what is to be done; updated as it is.
        task_for: the task that makes a step whose inputs are done.
        logs: a folder for what workers and their libraries print.
        n_workers: how many processes at most.
        on_event: is told what happens.
    """
    errors: list[Exception] = []
    workers: list[_Worker] = []
    try:
        while not board.is_over:
            _hand_out(board, workers, task_for, on_event)
            while len(workers) < n_workers and (step := board.take(None)) is not None:
                workers.append(_Worker(len(workers) + 1, logs))
                _start(board, workers[-1], step, task_for, on_event)
            for worker in _reporting(workers):
                errors += _hear(board, worker, on_event)
    finally:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.stop()
    if errors:
        raise errors[0]


def _hand_out(
    board: Scheduler, workers: Sequence[_Worker], task_for: Callable[[Step], Task], on_event: Listener
) -> None:
    for worker in workers:
        if worker.step is None and (step := board.take(worker.last_seed)) is not None:
            _start(board, worker, step, task_for, on_event)


def _start(board: Scheduler, worker: _Worker, step: Step, task_for: Callable[[Step], Task], on_event: Listener) -> None:
    worker.send(task_for(step))
    on_event(Event("start", board.n_done, board.n_steps, step.name, worker.number))


def _reporting(workers: Sequence[_Worker]) -> list[_Worker]:
    """The busy workers that have something to say, or are gone; waits until there is one."""
    lines = {worker.line: worker for worker in workers if worker.step is not None}
    ready = wait(list(lines))
    return [worker for line, worker in lines.items() if line in ready]


def _hear(board: Scheduler, worker: _Worker, on_event: Listener) -> list[Exception]:
    """Take one reply of a worker; gives the error, if it is one."""
    step = worker.step
    if step is None:
        return []
    try:
        reply = worker.line.recv()
    except (EOFError, ConnectionError):
        return _failed(board, worker, step, worker.lost(), on_event)
    match reply:
        case Progressed(at, of, note):
            on_event(Event("progress", board.n_done, board.n_steps, step.name, worker.number, at, of, note=note))
        case Finished(record, _):
            worker.step = None
            _done(board, worker, step, record, on_event)
        case Failed(error):
            return _failed(board, worker, step, error, on_event)
    return []


def _done(board: Scheduler, worker: _Worker, step: Step, record: Record, on_event: Listener) -> None:
    board.finish(step.name, record)
    seconds = time.monotonic() - worker.since
    on_event(Event("done", board.n_done, board.n_steps, step.name, worker.number, seconds=seconds))


def _failed(board: Scheduler, worker: _Worker, step: Step, error: Exception, on_event: Listener) -> list[Exception]:
    worker.step = None
    board.give_up(step.name)
    on_event(Event("fail", board.n_done, board.n_steps, step.name, worker.number, note=str(error).splitlines()[0]))
    return [error]
