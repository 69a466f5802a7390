"""The protocol between the run loop and what executes steps, and the events of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from midspec.core.records import Identity, Record
from midspec.study._step import Job, Step

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
"""The environment of every process that makes steps, so that a result does not depend on the number of cores."""


class StepState(Enum):
    """The state of a submitted step."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """It raised, or its process ended by itself: another attempt would fail too."""
    PREEMPTED = "preempted"
    """Its machine was taken or its process killed: submitted again, it continues."""
    TIMED_OUT = "timed out"
    """It reached a time limit: submitted again, it continues where it is resumable."""
    NODE_FAILED = "node failed"
    """Its machine is gone: submitted again, it continues."""
    OUT_OF_MEMORY = "out of memory"
    """It needed more memory than it was given."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""


@dataclass(frozen=True)
class StepTask:
    """A step whose inputs are done, with all that a worker needs to make it.

    Attributes:
        step: to make.
        identity: of its result.
        job: its places and device.
        redo: replace a result of other inputs.
        wait_s: how long to wait for another writer of the folder.
        same_result: the folder of a finished step of the same identity, whose files are taken over.
        status: the file that says how far it is.
    """

    step: Step
    identity: Identity
    job: Job
    redo: bool = False
    wait_s: float = 0.0
    same_result: Path | None = None
    status: Path | None = None


class Progress(NamedTuple):
    """How far a running step is, in its own units; `of` is 0 when unknown."""

    at: int
    of: int
    note: str


@dataclass
class StepHandle:
    """A step that was submitted; its executor updates it.

    Attributes:
        step: that was submitted.
        worker: a number for whoever shows what runs side by side.
        started_at: by `time.monotonic`.
        state: how far it is.
        progress: the latest, while it runs.
        record: of its result, once it is done.
        error: why it is not done, once it has ended otherwise.
    """

    step: Step
    worker: int
    started_at: float
    state: StepState = StepState.RUNNING
    progress: Progress | None = None
    record: Record | None = None
    error: Exception | None = None

    @property
    def seconds(self) -> float:
        """Return how long ago the step was begun."""
        return time.monotonic() - self.started_at


class Executor(Protocol):
    """Makes steps somewhere: worker processes here, a cluster elsewhere."""

    def can_take(self, step: Step) -> bool:
        """Return whether this step can be submitted now."""
        ...

    def submit(self, task: StepTask) -> StepHandle:
        """Begin to make a step; return at once."""
        ...

    def wait(self) -> Sequence[StepHandle]:
        """Wait until running steps have news; return the handles that changed."""
        ...

    def close(self) -> None:
        """Stop what still runs after it has saved its state; what is done stays done."""
        ...


class Event(NamedTuple):
    """Something that happened in a run.

    Attributes:
        kind: `begin` and `end` of the run; `start`, `progress`, `done` or `fail` of a step; `say` of a note for people.
        n_done: steps done so far, those done before the run included.
        n_steps: steps in all.
        step: the step's name; empty for the run.
        worker: which worker process, from 1.
        at: how far the step is, in its own units.
        of: how many units it has, or 0 when unknown.
        seconds: how long it took.
        note: a few words, such as the loss.
    """

    kind: Literal["begin", "start", "progress", "done", "fail", "say", "end"]
    n_done: int
    n_steps: int
    step: str = ""
    worker: int = 0
    at: int = 0
    of: int = 0
    seconds: float = 0.0
    note: str = ""


Listener = Callable[[Event], None]
