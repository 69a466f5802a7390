"""Execute steps in worker processes of this machine, each with one compute thread and its own GPU, if any."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from midspec.core.artifact import writable
from midspec.core.errors import MidspecError
from midspec.core.memory import MEMORY_SETTINGS
from midspec.models import VISIBLE
from midspec.study._step import Step
from midspec.study.execution._devices import DevicePool
from midspec.study.execution._executor import ONE_THREAD, Progress, StepHandle, StepState, StepTask
from midspec.study.execution._worker import Failed, Finished, Reply

_STOP_WITHIN_S = 10.0
_TRACE_LINES = 12


class StepFaultError(RuntimeError):
    """A step failed by a fault of midspec; the message ends with the traceback."""


class WorkerLostError(MidspecError, ChildProcessError):
    """A worker process was killed from outside, most often because memory ran out."""


class LocalExecutor:
    """Makes steps side by side in worker processes of this machine; see `Executor`.

    A process sees the GPUs of its steps alone, and a process for steps without a model none.

    Args:
        logs: a folder for the output of workers and their libraries.
        pool: the GPUs, and how many steps side by side.
    """

    def __init__(self, logs: Path, pool: DevicePool) -> None:
        self._logs, self._pool = logs, pool
        self._workers: list[_Worker] = []
        self._n_started = 0

    def can_take(self, step: Step) -> bool:
        """Return whether this step can be submitted now."""
        return self._pool.can_take(self._pool.needs(step.n_devices))

    def submit(self, task: StepTask) -> StepHandle:
        """Begin to make a step, in the idle process that last worked on the same seed if there is one."""
        idle = [worker for worker in self._workers if worker.handle is None]
        gpus = self._choose(task.step, idle)
        for worker in idle:
            if worker.gpus != gpus and set(worker.gpus) & set(gpus):
                # What it has computed on still holds memory of a GPU that is another process's now.
                worker.ask_to_stop()
                worker.stop()
                self._workers.remove(worker)
        idle = [worker for worker in idle if worker.gpus == gpus]
        if not idle:
            self._n_started += 1
            visible = {VISIBLE: ",".join(gpus)} if self._pool.gpus else {}
            idle = [_Worker(self._n_started, self._logs, gpus, visible)]
            self._workers += idle
        self._pool.take(gpus)
        # A process counts its GPUs from 0.
        device = "cuda" if gpus and task.job.device.startswith("cuda:") else task.job.device
        task = replace(task, job=replace(task.job, device=device))
        return max(idle, key=lambda worker: worker.last_seed == task.step.seed).submit(task)

    def _choose(self, step: Step, idle: Sequence[_Worker]) -> tuple[str, ...]:
        """Return the GPUs for a step: free ones, and of those the ones whose process worked on the same seed."""
        seeds = {worker.gpus: worker.last_seed for worker in idle}
        # A stable sort: among equals the least busy stays first.
        free = sorted(self._pool.free_gpus, key=lambda gpu: seeds.get((gpu,), ...) != step.seed)
        return tuple(free[: self._pool.needs(step.n_devices)])

    def wait(self) -> Sequence[StepHandle]:
        """Wait until a worker has news or is gone; return the handles that changed."""
        workers = {worker.connection: worker for worker in self._workers if worker.handle is not None}
        ready = wait(list(workers))
        handles = [worker.receive() for connection, worker in workers.items() if connection in ready]
        for worker in workers.values():
            if worker.handle is None:
                self._pool.give_back(worker.gpus)
        return handles

    def close(self) -> None:
        """End the processes: idle ones at once, the others after they have saved their state."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One worker process, the connection to it, and the step that it is making."""

    def __init__(self, number: int, logs: Path, gpus: tuple[str, ...], visible: Mapping[str, str]) -> None:
        self.number, self.gpus, self._visible = number, gpus, visible
        self.log = logs / f"worker-{number}.log"
        self.handle: StepHandle | None = None
        self.last_seed: int | None = None
        self.connection: Connection[StepTask, Reply]
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
                env={**MEMORY_SETTINGS, **os.environ, **ONE_THREAD, **self._visible},
                # A Ctrl-C in the terminal is the parent's to handle.
                start_new_session=True,
            )
        theirs.close()
        self.connection = ours

    def submit(self, task: StepTask) -> StepHandle:
        self.handle = StepHandle(task.step, self.number, time.monotonic())
        self.last_seed = task.step.seed
        self.connection.send(task)
        return self.handle

    def receive(self) -> StepHandle:
        """Receive one reply of the process."""
        handle = self.handle
        assert handle is not None, "only busy workers are waited for"
        try:
            reply = self.connection.recv()
        except (EOFError, ConnectionError):
            handle.state, handle.error = self._restart(handle.step.name)
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

    def _restart(self, name: str) -> tuple[StepState, Exception]:
        """Start a new process in place of the one that is gone; return why that ended."""
        code = self._process.wait()
        self.connection.close()
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
        """Tell the process to end: at once if it is idle, else after it has saved its state."""
        self.connection.close()
        if self.handle is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until the process has ended; kill it if it does not."""
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
