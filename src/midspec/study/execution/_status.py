"""Tell from a run's folder how far it is, on any machine that sees the folder; with Slurm here, from its queue too."""

from __future__ import annotations

import os
import shutil
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from midspec.core.errors import ConfigError, UnreachableError
from midspec.core.records import Record, Strict
from midspec.study._graph import study_steps
from midspec.study._plan import states
from midspec.study._step import Step
from midspec.study.execution._run import open_run
from midspec.study.execution._slurm import JobFolder
from midspec.study.execution._slurm_queue import QueuedTask, Slurm
from midspec.study.execution._step_status import SILENT_AFTER_S, StepStatus, log_path, read_status, status_path

_LOG_LINES, _LOG_BYTES = 6, 8_000
_LOST_AFTER_SILENCES = 10  # of `SILENT_AFTER_S`: then a process of this number is none of ours any more

State = Literal["done", "running", "queued", "failed", "stopped", "lost", "waiting", "stale"]
STATES: tuple[State, ...] = ("done", "running", "queued", "failed", "stopped", "lost", "waiting", "stale")


class StepNow(Strict):
    """A step of a run at this moment.

    Attributes:
        name: of the step.
        kind: of the step.
        state: `done`; `running`; `queued` in a cluster; `failed` or `stopped` and not begun again; `lost`, begun and
            its process is gone without a word; `waiting` to be begun; `stale`, made from inputs that have changed.
        seconds: it took, or has run; `None` before it begins.
        job: the cluster's number of its job, if any.
        host: where it was begun.
        at: how far it is, in its own units.
        of: how many units it has, 0 where that is not known.
        note: a few words: the loss, or why a job waits, in the cluster's words.
        error: of a failed step, in one line.
        log: last lines of the log of a step that failed or is lost.
    """

    name: str
    kind: str
    state: State
    seconds: float | None = None
    job: str = ""
    host: str = ""
    at: int = 0
    of: int = 0
    note: str = ""
    error: str = ""
    log: tuple[str, ...] = ()


class RunStatus(Strict):
    """A run at this moment.

    Attributes:
        name: the study's.
        folder: of the run.
        steps: in an order in which they can be done.
        queue: what Slurm says; `none` where the run has no jobs or there is no Slurm here.
    """

    name: str
    folder: str
    steps: tuple[StepNow, ...]
    queue: Literal["asked", "no answer", "none"] = "none"

    def count(self, state: State) -> int:
        """Count the steps in a state."""
        return sum(step.state == state for step in self.steps)

    def by_kind(self) -> dict[str, Counter[State]]:
        """Count the steps of each kind by state."""
        counts: dict[str, Counter[State]] = {}
        for step in self.steps:
            counts.setdefault(step.kind, Counter())[step.state] += 1
        return counts


def run_status(folder: Path) -> RunStatus:
    """Tell how far the run in a folder is; reads only.

    Raises:
        MissingError: there is no run in the folder.
    """
    study = open_run(folder)
    steps = study_steps(study, folder)
    jobs = JobFolder(folder, study.config.name, study.config.execution.slurm)
    queued: dict[str, QueuedTask] = {}
    queue: Literal["asked", "no answer", "none"] = "none"
    submissions = jobs.submissions()
    if submissions and shutil.which("squeue"):
        try:
            tasks = {(task.name, task.task or 0): task for task in Slurm().queue() if task.is_live}
            queue = "asked"
        except (UnreachableError, ConfigError):
            tasks, queue = {}, "no answer"
        for submission in submissions:
            for number, names in submission.tasks.items():
                if (task := tasks.get((submission.name, number))) is not None:
                    queued |= dict.fromkeys(names, task)
    known = states(steps, folder)
    return RunStatus(
        name=study.config.name,
        folder=str(folder),
        steps=tuple(_now(step, folder, known[step.name], queued.get(step.name), queue == "asked") for step in steps),
        queue=queue,
    )


def _now(
    step: Step,
    folder: Path,
    known: tuple[str, Record | None, Sequence[str]],
    task: QueuedTask | None,
    is_queue_known: bool,
) -> StepNow:
    """Tell the state of one step: its record decides, then the queue, then what its process last said."""
    plan_state, record, _ = known
    if plan_state == "done" and record is not None:
        took = record.execution.seconds
        return StepNow(name=step.name, kind=step.kind, state="done", seconds=took, host=record.execution.host)
    status, silent_s = read_status(status_path(folder, step))
    state = _state(status, silent_s, task, is_queue_known, "stale" if plan_state == "stale" else "waiting")
    if status is None or state in {"waiting", "stale", "queued"}:
        reason = task.reason if task is not None and task.reason != "None" else ""
        return StepNow(
            name=step.name, kind=step.kind, state=state, job=task.id if task is not None else "", note=reason
        )
    said: Mapping[str, object] = status.model_dump(include={"host", "job", "at", "of", "note"})
    began = datetime.fromisoformat(status.started_at) if status.started_at else datetime.now(UTC)
    until = datetime.now(UTC) if state == "running" else datetime.fromisoformat(status.heard_at)
    return StepNow.model_validate(
        {
            **said,
            "name": step.name,
            "kind": step.kind,
            "state": state,
            "seconds": round(max(0.0, (until - began).total_seconds()), 1),
            "error": status.error.splitlines()[0] if status.error else "",
            "log": _tail(folder, step, status) if state in {"failed", "lost"} else (),
        }
    )


def _state(
    status: StepStatus | None, silent_s: float, task: QueuedTask | None, is_queue_known: bool, otherwise: State
) -> State:
    """Tell the state of a step that is not done."""
    if task is not None and (status is None or status.job != task.id or task.state == "PENDING"):
        return "queued"
    if status is None or status.state == "done":
        return otherwise
    if status.state != "running":
        return status.state
    if task is not None:
        return "running"
    if status.job and is_queue_known:
        return "lost"  # its job has left the queue
    if status.host == socket.gethostname() and not status.job:
        # Another process may have its number by now, as after a container's restart.
        return "running" if _is_alive(status.pid) and silent_s < _LOST_AFTER_SILENCES * SILENT_AFTER_S else "lost"
    return "running" if silent_s < SILENT_AFTER_S else "lost"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tail(folder: Path, step: Step, status: StepStatus) -> tuple[str, ...]:
    """Return the last lines of a step's log; without one, those of the traceback in its status."""
    path = log_path(folder, step)
    text = "\n".join(status.error.splitlines()[1:])
    if path.is_file():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-_LOG_LINES:]
