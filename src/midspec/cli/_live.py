"""A run while it runs: a live view on a terminal, one line for each thing that happened elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from midspec.study import Event

__all__ = ["Bar", "RunView"]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class RunView:
    """Shows the events of a run: steps done of all, and what each worker is at."""

    def __init__(self) -> None:
        self._live = _progress() if sys.stderr.isatty() else None
        self._all: TaskID | None = None
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> RunView:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def hear(self, event: Event) -> None:
        """Show one event."""
        if self._live:
            self._draw(self._live, event)
        elif line := _line(event):
            print(line, file=sys.stderr, flush=True)

    def _draw(self, live: Progress, event: Event) -> None:
        if self._all is None:
            self._all = live.add_task("all steps", total=event.n_steps, note="")
        live.update(self._all, completed=event.n_done, total=event.n_steps)
        if event.kind == "start":
            old = self._tasks.pop(event.worker, None)
            if old is not None:
                live.remove_task(old)
            self._tasks[event.worker] = live.add_task(event.step, total=1, note="")
        elif event.kind == "progress":
            live.update(self._tasks[event.worker], completed=event.at, total=event.of or 1, note=event.note)
        elif event.kind in {"done", "fail"}:
            live.remove_task(self._tasks.pop(event.worker))
        if event.kind == "fail":
            live.console.print(_line(event), markup=False, highlight=False)


def _line(event: Event) -> str:
    """One event in words; nothing for progress inside a step."""
    done = f"[{event.n_done}/{event.n_steps}]"
    match event.kind:
        case "begin":
            return f"{done} steps done at the start"
        case "done":
            return f"{done} {event.step} ({event.seconds:.1f} s)"
        case "fail":
            return f"{done} {event.step} failed"
        case "end":
            return f"{done} in {event.seconds:.0f} s"
    return ""


class Bar:
    """The progress of one step; without a terminal a line every ten seconds."""

    _EVERY_S = 10.0

    def __init__(self, name: str, unit: str) -> None:
        self._name = name
        self._unit = unit
        self._live = _progress() if sys.stderr.isatty() else None
        self._task: TaskID | None = None
        self._told = time.monotonic()

    def __enter__(self) -> Bar:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def tell(self, at: int, of: int, note: str) -> None:
        """Show that `at` of `of` units are done."""
        if self._live:
            if self._task is None:
                self._task = self._live.add_task(self._name, total=of, note=note)
            self._live.update(self._task, completed=at, total=of, note=note)
        elif time.monotonic() - self._told >= self._EVERY_S:
            self._told = time.monotonic()
            print(f"{self._name}: {at} of {of} {self._unit}, {note}", file=sys.stderr, flush=True)
