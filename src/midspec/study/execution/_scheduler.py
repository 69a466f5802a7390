"""Which steps are done, running, ready or given up, and which ready one goes first. Pure bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from midspec.core.records import Record
from midspec.study._step import Step


class Scheduler:
    """The state of a run.

    Among the steps that are ready, the one at the head of the longest chain of work goes first (a base before any
    arm), so that no worker idles at the end; among equals, a worker stays with the seed it has.
    """

    def __init__(self, steps: Sequence[Step], wanted: Iterable[str], done: Mapping[str, Record]) -> None:
        self.steps = {step.name: step for step in steps}
        self.records = dict(done)
        wanted = set(wanted)
        self._waiting = [name for name in self.steps if name in wanted and name not in done]
        self.n_steps = len(self._waiting) + len(done)
        self._running: set[str] = set()
        self._lost: set[str] = set()
        self._chain = _chain_costs(steps)

    @property
    def n_done(self) -> int:
        """Steps that are done, those found done at the start included."""
        return len(self.records)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """Steps that are still to be started."""
        return tuple(self.steps[name] for name in self._waiting)

    def take(self, last_seed: int | None) -> Step | None:
        """The next step to start, now counted as running; `None` when none is ready."""
        ready = [
            name for name in self._waiting if all(parent.name in self.records for parent in self.steps[name].parents)
        ]
        if not ready:
            return None
        best = max(ready, key=lambda name: (self._chain[name], self.steps[name].seed == last_seed))
        self._waiting.remove(best)
        self._running.add(best)
        return self.steps[best]

    def finish(self, name: str, record: Record) -> None:
        """A running step is done."""
        self._running.discard(name)
        self.records[name] = record

    def give_up(self, name: str) -> None:
        """A running step failed: what is made from it will not be made."""
        self._running.discard(name)
        self._lost |= with_descendants(self.steps.values(), [name])
        self._waiting = [entry for entry in self._waiting if entry not in self._lost]

    @property
    def is_over(self) -> bool:
        """Nothing runs and nothing can be started."""
        return not self._running and not self._waiting


def _chain_costs(steps: Sequence[Step]) -> dict[str, float]:
    """For each step the cost of the longest chain of steps that begins with it."""
    chain = {step.name: step.cost for step in steps}
    for step in reversed(steps):
        for parent in step.parents:
            chain[parent.name] = max(chain[parent.name], chain[step.name] + parent.cost)
    return chain


def with_descendants(steps: Iterable[Step], names: Iterable[str]) -> set[str]:
    """These steps and all that are made from them. Steps come in the order in which they can be done."""
    found = set(names)
    for step in steps:
        if any(parent.name in found for parent in step.parents):
            found.add(step.name)
    return found


def with_ancestors(steps: Sequence[Step], names: Iterable[str]) -> set[str]:
    """These steps and all that they are made from."""
    found = set(names)
    for step in reversed(steps):
        if step.name in found:
            found.update(parent.name for parent in step.parents)
    return found
