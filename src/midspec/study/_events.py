"""What a run tells while it runs. `study` prints nothing; whoever listens shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["Event", "Listener"]


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
