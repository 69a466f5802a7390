"""Train in several processes of this machine: start them, follow them, and end all when one ends.

They meet through a file, and reach each other over the loopback interface alone; what each runs is in `_worker.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from midspec.core.artifact import Built
from midspec.core.errors import ConfigError, MidspecError
from midspec.models import VISIBLE, choose_gpus
from midspec.train._job import Progress, TrainJob
from midspec.train._ranks import STORE, ProcessLostError

if TYPE_CHECKING:
    from midspec.train._recorder import GracefulStop

_POLL_S = 0.2
# A process that ends takes the others with it; for so long the one that knows why may say so.
_REASON_S = 3.0
# What a process may take to end after its last message.
_END_S = 60.0
_TRACE_LINES = 12
_CODE = "from midspec.train._worker import main; main()"

Reply = Progress | Built | MidspecError


def train_in_processes(
    job: TrainJob, folder: Path, *, device: str, on_progress: Callable[[Progress], None] | None = None
) -> Built:
    """Train a job in `job.execution.processes` processes of this machine, each on a GPU of its own if there are GPUs.

    Args:
        job: what to train.
        folder: as for `train`.
        device: auto, cpu or cuda.
        on_progress: called after every update.

    Raises:
        ConfigError: there are fewer GPUs than processes.
        ProcessLostError: a process was killed; the same job goes on from its last checkpoint.
        MidspecError: what `train` refuses.
    """
    from midspec.train._recorder import GracefulStop

    n = job.execution.processes or 1
    gpus = choose_gpus(device)
    if gpus and len(gpus) < n:
        raise ConfigError(
            f"{n} processes need {n} GPUs, and there are {len(gpus)}",
            where="execution.processes",
            hint="Lower it, or make more GPUs visible",
        )
    with tempfile.TemporaryDirectory(prefix="midspec-") as place, GracefulStop() as stop:
        processes = [_Process(rank, n, Path(place), gpus[:n]) for rank in range(n)]
        try:
            for process in processes:
                process.connection.send((job, folder, "cuda" if gpus else device))
            return _follow(processes, stop, on_progress)
        finally:
            for process in processes:
                process.end()


class _Process:
    """One process of a training, and the connection to it."""

    def __init__(self, rank: int, n: int, place: Path, gpus: Sequence[str]) -> None:
        self.rank = rank
        self.built: Built | None = None
        self.log = place / f"{rank}.log"
        threads = os.environ.get("OMP_NUM_THREADS", "1")  # else accelerate sets another number than was asked for
        settings = {"RANK": rank, "WORLD_SIZE": n, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": n, STORE: place / "store"}
        settings |= {"OMP_NUM_THREADS": threads}
        # Nothing is reached from outside this machine.
        loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
        visible = {VISIBLE: ",".join(gpus)} if gpus else {}
        ours, theirs = Pipe()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, running our own module
                [sys.executable, "-c", _CODE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **{name: str(value) for name, value in settings.items()}, **loopback, **visible},
                # A Ctrl-C in the terminal is the parent's to handle.
                start_new_session=True,
            )
        theirs.close()
        self.connection: Connection[tuple[TrainJob, Path, str], Reply] = ours
        self.is_open = True
        self._is_asked = False

    @property
    def code(self) -> int | None:
        """Return the exit code, once the process has ended."""
        return self._process.poll()

    def receive(self) -> Progress | None:
        """Receive one message; return it if it is progress.

        Raises:
            MidspecError: what the process refused.
        """
        try:
            reply = self.connection.recv()
        except (EOFError, ConnectionError):
            self.is_open = False
            return None
        if isinstance(reply, MidspecError):
            raise reply
        if isinstance(reply, Built):
            self.built = reply
            return None
        return reply

    def ask_to_stop(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._process.terminate()

    def wait(self) -> int:
        return self._process.wait(_END_S)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def trace(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TRACE_LINES:])


def _follow(processes: Sequence[_Process], stop: GracefulStop, on_progress: Callable[[Progress], None] | None) -> Built:
    """Pass progress and a signal on until all processes have ended; return what the first one built."""
    lost_at: float | None = None
    while any(process.is_open for process in processes):
        _pass_progress_on(processes, on_progress)
        if stop.requested is not None:
            for process in processes:
                process.ask_to_stop()
        elif any(process.code for process in processes):
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > _REASON_S:
                raise _reason(processes)
    if stop.requested is not None:
        # `stop` passes the signal on as it is left.
        return Built(outputs=())
    codes, built = [process.wait() for process in processes], processes[0].built
    if any(codes) or built is None:
        raise _reason(processes)
    return built


def _pass_progress_on(processes: Sequence[_Process], on_progress: Callable[[Progress], None] | None) -> None:
    opened = {process.connection: process for process in processes if process.is_open}
    for connection in wait(list(opened), _POLL_S):
        progress = opened[connection].receive()  # type: ignore[index]
        if progress is not None and on_progress is not None:
            on_progress(progress)


def _reason(processes: Sequence[_Process]) -> Exception:
    """Return why processes have ended: one was killed from outside, else the last lines of the one that failed."""
    for process in processes:
        if (process.code or 0) < 0:
            number = -(process.code or 0)
            # It says something of its own if it was not killed from outside: an abort's reason, a fault's trace.
            said = "" if number in {signal.SIGKILL, signal.SIGTERM} else process.trace()
            return ProcessLostError(
                f"process {process.rank} of {len(processes)} was killed by signal {number}" + (said and f":\n{said}\n"),
                where="execution.processes",
                hint="The same command goes on from the last checkpoint",
            )
    # One that lost the others failed after them, and its trace says only that.
    lost = ("Connection closed by peer", "Connection reset by peer")
    failed = [process for process in processes if process.code]
    failed.sort(key=lambda process: any(text in process.trace() for text in lost))
    return RuntimeError(f"process {failed[0].rank} of {len(processes)} failed:\n{failed[0].trace()}")
