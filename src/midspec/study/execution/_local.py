"""Executes steps here: a few worker processes, each with one compute thread."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from midspec.core.artifact import writable
from midspec.core.errors import MidspecError
from midspec.core.records import Record
from midspec.study._step import Step
from midspec.study.execution._executor import Progress, StepState, StepTask
from midspec.study.execution._worker import Failed, Finished, Reply

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


@dataclass
class LocalHandle:
    """A step that a worker process makes; see `StepHandle`."""

    step: Step
    worker: int
    started_at: float
    state: StepState = StepState.RUNNING
    progress: Progress | None = None
    record: Record | None = None
    error: Exception | None = None

    @property
    def seconds(self) -> float:
        """How long ago the step was begun."""
        return time.monotonic() - self.started_at


class LocalExecutor:
    """Makes steps side by side in worker processes of this machine; see `Executor`.

    Args:
        logs: a folder for what workers and their libraries print.
        n_workers: how many processes at most.
    """

    def __init__(self, logs: Path, n_workers: int) -> None:
        self._logs, self._n_workers = logs, n_workers
        self._workers: list[_Worker] = []

    @property
    def n_free(self) -> int:
        """How many steps more can be submitted now."""
        return self._n_workers - sum(worker.handle is not None for worker in self._workers)

    def submit(self, task: StepTask) -> LocalHandle:
        """Begin to make a step, in the idle process that last worked on the same seed if there is one."""
        idle = [worker for worker in self._workers if worker.handle is None]
        if not idle:
            idle = [_Worker(len(self._workers) + 1, self._logs)]
            self._workers += idle
        return max(idle, key=lambda worker: worker.last_seed == task.step.seed).submit(task)

    def wait(self) -> Sequence[LocalHandle]:
        """Wait until a worker has something to say, or is gone; returns the handles that changed."""
        lines = {worker.line: worker for worker in self._workers if worker.handle is not None}
        ready = wait(list(lines))
        return [worker.receive() for line, worker in lines.items() if line in ready]

    def close(self) -> None:
        """End the processes: at once those that are idle, the others after they have put down what they hold."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One worker process, the line to it, and the step that it is making."""

    def __init__(self, number: int, logs: Path) -> None:
        self.number = number
        self.log = logs / f"worker-{number}.log"
        self.handle: LocalHandle | None = None
        self.last_seed: int | None = None
        self.line: Connection[StepTask, Reply]
        self._process: subprocess.Popen[bytes]
        self._start()

    def _start(self) -> None:
        ours, theirs = Pipe()
        code = "from midspec.study.execution._worker import main; main()"
        with writable(self.log.parent), self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, running our own module
                [sys.executable, "-c", code, str(theirs.fileno()), str(os.getpid())],
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

    def submit(self, task: StepTask) -> LocalHandle:
        self.handle = LocalHandle(task.step, self.number, time.monotonic())
        self.last_seed = task.step.seed
        self.line.send(task)
        return self.handle

    def receive(self) -> LocalHandle:
        """Take one reply of the process."""
        handle = self.handle
        assert handle is not None, "only a busy worker is listened to"
        try:
            reply = self.line.recv()
        except (EOFError, ConnectionError):
            handle.state, handle.error = self._lost()
        else:
            match reply:
                case Progress():
                    handle.progress = reply
                case Finished(record, _):
                    handle.state, handle.record = StepState.DONE, record
                case Failed(error):
                    handle.state, handle.error = StepState.FAILED, error
        if handle.state is not StepState.RUNNING:
            self.handle = None
        return handle

    def _lost(self) -> tuple[StepState, Exception]:
        """Why the line is closed; a new process takes the place of the one that is gone."""
        code = self._process.wait()
        name = self.handle.step.name if self.handle else "a worker"
        self.line.close()
        self._start()
        if code < 0:
            return StepState.PREEMPTED, WorkerLostError(
                f"its worker process was killed by signal {-code}",
                where=name,
                hint="Run again to go on, with fewer --workers if memory was short",
            )
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TRACE_LINES:]
        return StepState.FAILED, StepFaultError("\n".join([f"{name} failed (the whole log: {self.log})", *tail]))

    def ask_to_stop(self) -> None:
        """Tell the process to end: at once if it is idle, after putting down what it holds if it is not."""
        self.line.close()
        if self.handle is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until the process has ended, and end it if it does not."""
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
