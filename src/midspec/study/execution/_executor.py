"""What executes steps: the protocol that the run loop knows, and the events of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from midspec.core.records import Identity, Record
from midspec.study._step import Step


class StepState(Enum):
    """How far a step that was submitted is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """It raised, or its process ended by itself: the same again would fail again."""
    PREEMPTED = "preempted"
    """Somebody took its machine or killed its process: it can be submitted again, and goes on where it was."""
    TIMED_OUT = "timed out"
    """It ran into a limit of time: it can be submitted again with more."""


@dataclass(frozen=True)
class StepTask:
    """A step whose inputs are done: all that a worker needs to make it.

    Attributes:
        step: what to make.
        identity: what identifies its result.
        folder: the result's final place.
        store: the file that keeps what language models reply.
        places: the folders of the steps that it is made from, by name.
        device: what models run on.
        redo: replace a result of other inputs.
        wait_s: how long to wait for another writer of the folder.
    """

    step: Step
    identity: Identity
    folder: Path
    store: Path
    places: dict[str, Path]
    device: str = "auto"
    redo: bool = False
    wait_s: float = 0.0


class Progress(NamedTuple):
    """How far a running step is, in its own units; `of` is 0 when unknown."""

    at: int
    of: int
    note: str


class StepHandle(Protocol):
    """A step that was submitted."""

    @property
    def step(self) -> Step:
        """The step."""
        ...

    @property
    def worker(self) -> int:
        """A number for whoever shows what runs side by side."""
        ...

    @property
    def state(self) -> StepState:
        """How far it is."""
        ...

    @property
    def progress(self) -> Progress | None:
        """The latest that it told, while it runs."""
        ...

    @property
    def record(self) -> Record | None:
        """Of its result, once it is done."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it is not done, once it has ended otherwise."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took, once it has ended."""
        ...


class Executor(Protocol):
    """Makes steps somewhere: worker processes here, a cluster elsewhere."""

    @property
    def n_free(self) -> int:
        """How many steps more can be submitted now."""
        ...

    def submit(self, task: StepTask) -> StepHandle:
        """Begin to make a step; returns at once."""
        ...

    def wait(self) -> Sequence[StepHandle]:
        """Wait until something was heard of steps that run; returns the handles that changed."""
        ...

    def close(self) -> None:
        """Stop what still runs, after it has put down what it holds; nothing is lost that was done."""
        ...


class Event(NamedTuple):
    """Something that happened in a run.

    Attributes:
        kind: `begin` and `end` of the run; `start`, `progress`, `done` or `fail` of a step.
        n_done: steps done so far, those found done included.
        n_steps: steps in all.
        step: the step's name; empty for the run.
        worker: which worker process, from 1.
        at: how far the step is, in its own units.
        of: how many units it has, or 0 when unknown.
        seconds: how long it took.
        note: a few words about it.
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
