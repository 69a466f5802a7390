"""Which steps of a run are done, running and waiting, which is next, and what a worker needs to make it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from midspec.core.artifact import read_record
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.study._step import REPLIES_FILE, Job, Step
from midspec.study.execution._executor import StepTask
from midspec.study.execution._selection import with_descendants
from midspec.study.execution._step_status import status_path

_ORPHAN_WAIT_S = 10.0


class Scheduler:
    """The steps of a run that are done, running and waiting.

    Among the steps that are ready, those without a model go first: what is wrong with data is seen before anything
    trains. Then the one at the head of the longest chain of work (a base before any arm), so that no worker idles at
    the end; among equals, one of the seed that a worker had last. Of steps with the same result (an untrained
    checkpoint, evaluated for every seed) one is made, and the others wait to take it over.
    """

    def __init__(self, steps: Sequence[Step], wanted: Iterable[str], done: Mapping[str, Record]) -> None:
        self.steps = {step.name: step for step in steps}
        self.records = dict(done)
        wanted = set(wanted)
        self._waiting = [name for name in self.steps if name in wanted and name not in done]
        self.n_steps = len(self._waiting) + len(done)
        self._running: set[str] = set()
        self._fingerprints: dict[str, str] = {}
        # For each step the cost of the longest chain of steps that begins with it.
        self._chain = {step.name: step.cost for step in steps}
        for step in reversed(steps):
            for parent in step.parents:
                self._chain[parent.name] = max(self._chain[parent.name], self._chain[step.name] + parent.cost)

    @property
    def n_done(self) -> int:
        """Return how many steps are done, those done before the run included."""
        return len(self.records)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """Return the steps that are still to be started."""
        return tuple(self.steps[name] for name in self._waiting)

    def take(self, last_seed: int | None, can_take: Callable[[Step], bool] = lambda _step: True) -> Step | None:
        """Return the next step to start, counted as running from now on; `None` when none is ready.

        Args:
            last_seed: of the step that ended last.
            can_take: whether there is a free place for a step.
        """
        ready = [
            name
            for name in self._waiting
            if all(parent.name in self.records for parent in self.steps[name].parents)
            and can_take(self.steps[name])
            and self._fingerprint(name) not in {self._fingerprints[running] for running in self._running}
        ]
        if not ready:
            return None
        best = max(
            ready,
            key=lambda name: (
                not self.steps[name].opens_model,
                self._chain[name],
                self.steps[name].seed == last_seed,
            ),
        )
        self._waiting.remove(best)
        self._running.add(best)
        return self.steps[best]

    def same_result(self, step: Step) -> Step | None:
        """Return a step that is done and has the result of this one: equal inputs and settings, by another name."""
        wanted = self._fingerprint(step.name)
        found = (name for name, record in self.records.items() if record.fingerprint == wanted and name != step.name)
        return next((self.steps[name] for name in found), None)

    def _fingerprint(self, name: str) -> str:
        """Return what identifies the result of a step whose inputs are done."""
        if name not in self._fingerprints:
            self._fingerprints[name] = fingerprint(self.steps[name].identity(self.records))
        return self._fingerprints[name]

    def finish(self, name: str, record: Record) -> None:
        """Count a running step as done."""
        self._running.discard(name)
        self.records[name] = record

    def give_up(self, name: str) -> None:
        """Count a running step as failed; nothing that is made from it will be started."""
        self._running.discard(name)
        lost = with_descendants(self.steps.values(), [name])
        self._waiting = [entry for entry in self._waiting if entry not in lost]

    @property
    def is_over(self) -> bool:
        """Return whether nothing runs and nothing can be started."""
        return not self._running and not self._waiting


def task_maker(
    steps: Sequence[Step],
    folder: Path,
    scheduler: Scheduler,
    again: Collection[str],
    device: str,
    *,
    elsewhere: Mapping[str, Path] | None = None,
    goes_on: Collection[str] = (),
    wait_s: float = _ORPHAN_WAIT_S,
) -> Callable[[Step], StepTask]:
    """Return a function that gives the task of a step whose inputs are done.

    Args:
        steps: of the study.
        folder: of the run.
        scheduler: with the records of what is done.
        again: names of the steps to make anew; those that depend on them follow where their inputs changed.
        device: that models run on.
        elsewhere: results of other runs, by fingerprint.
        goes_on: names of the steps that ask for what their results lack; one of the same result is taken over.
        wait_s: how long a step waits for another writer of its folder.
    """
    follows = with_descendants(steps, {*again, *goes_on}) | {"report"}

    def task(step: Step) -> StepTask:
        identity, place = step.identity(scheduler.records), step.folder(folder)
        record = read_record(place)
        changed = record is not None and record.fingerprint != fingerprint(identity)
        is_older = (
            step.kind == "analysis"
            and record is not None
            and (record.identity.config, set(record.identity.inputs)) == (identity.config, set(identity.inputs))
        )
        redo = step.name in again or step.name in goes_on or (changed and (step.name in follows or is_older))
        places = {parent.name: parent.folder(folder) for parent in step.parents}
        job = Job(folder=place, store=folder / REPLIES_FILE, places=places, device=device)
        same = None if redo and step.name not in goes_on else scheduler.same_result(step)
        result = None if same is None else same.folder(folder)
        if result is None and elsewhere and step.name not in follows:
            result = elsewhere.get(fingerprint(identity))
        logs = status_path(folder, step)
        return StepTask(step, identity, job, redo=redo, wait_s=wait_s, same_result=result, status=logs)

    return task
