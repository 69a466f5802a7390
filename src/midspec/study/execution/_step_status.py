"""The status file of a step: who makes it, how far it is, how it ended; a small JSON beside its log, for any machine.

It is for people and for `midspec status`. A record alone says that a step is done, and nothing is decided by a status
file: one that can't be written is left out.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import ValidationError

from midspec.core.errors import MidspecError
from midspec.core.records import Strict
from midspec.study._step import Step, slug

_PROGRESS_EVERY_S = 2.0
_HEARTBEAT_S = 15.0
SILENT_AFTER_S = 4 * _HEARTBEAT_S
"""After so long without a sign of life a step that is called running has most likely lost its process."""
_TRACE_FRAMES = 4


class StepStatus(Strict):
    """What the process that makes a step last said of it.

    Attributes:
        step: its name.
        state: `stopped` is one that was told to end, and saved what it can go on from.
        host: of the process.
        pid: of the process.
        job: the cluster's number of the job, empty outside one.
        started_at: of this attempt, ISO 8601 in UTC.
        heard_at: when this was written.
        at: how far it is, in its own units.
        of: how many units it has, 0 where that is not known.
        note: a few words, such as the loss.
        error: in one line; of a fault the last lines of its traceback follow.
    """

    step: str
    state: Literal["running", "done", "failed", "stopped"] = "running"
    host: str = ""
    pid: int = 0
    job: str = ""
    started_at: str = ""
    heard_at: str = ""
    at: int = 0
    of: int = 0
    note: str = ""
    error: str = ""


def status_path(run: Path, step: Step) -> Path:
    """Return the status file of a step in a run's folder."""
    rest = step.name.partition("/")[2]
    return run / "logs" / step.kind / f"{slug(rest) if rest else step.kind}.json"


def log_path(run: Path, step: Step) -> Path:
    """Return the log of a step that a cluster's job makes."""
    path = status_path(run, step)
    return path.with_name(f"{path.name.removesuffix('.json')}.log")


def read_status(path: Path) -> tuple[StepStatus | None, float]:
    """Return a status and how many seconds ago its process last gave a sign of life; none where there is no such file.

    A file of another version, or one that is cut, counts as none.
    """
    try:
        return StepStatus.model_validate_json(path.read_bytes()), max(0.0, time.time() - path.stat().st_mtime)
    except (OSError, ValidationError):
        return None, 0.0


class StatusFile:
    """Keeps the status file of a step while it is made, and says at the end how that went.

    Args:
        path: of the file.
        step: the step's name.
        job: the cluster's number of the job, if any.
    """

    def __init__(self, path: Path, step: str, job: str = "") -> None:
        self._path = path
        now, host = _now(), os.environ.get("SLURMD_NODENAME", "") if job else ""
        self._status = StepStatus(
            step=step, host=host or socket.gethostname(), pid=os.getpid(), job=job, started_at=now, heard_at=now
        )
        self._written_at = 0.0
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._write()
        threading.Thread(target=self._give_signs_of_life, daemon=True).start()
        return self

    def progress(self, at: int, of: int, note: str) -> None:
        """Note how far the step is; written every two seconds."""
        if time.monotonic() - self._written_at >= _PROGRESS_EVERY_S:
            self._write(at=at, of=of, note=note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if error is None:
            self._write(state="done")
        elif isinstance(error, MidspecError):
            self._write(state="failed", error=str(error))
        elif isinstance(error, Exception):
            lines = traceback.format_exception(kind, error, trace, limit=-_TRACE_FRAMES)
            first = f"{type(error).__name__}: {error}".splitlines()[0]
            self._write(state="failed", error=f"{first}\n{''.join(lines).rstrip()}")
        else:
            self._write(state="stopped")

    def _write(self, **changes: object) -> None:
        self._status = self._status.model_copy(update={**changes, "heard_at": _now()})
        self._written_at = time.monotonic()
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Without the fsync of results: what is lost with the machine is told by the silence that follows.
            draft.write_text(self._status.model_dump_json(indent=2) + "\n", encoding="utf-8")
            draft.replace(self._path)

    def _give_signs_of_life(self) -> None:
        while not self._is_over.wait(_HEARTBEAT_S):
            with suppress(OSError):
                os.utime(self._path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
