"""Submit the steps of a run to Slurm and follow them, until they are done or can't be.

Jobs wait for each other by Slurm's own dependencies and put themselves back into the queue, so a run goes on without
this process. While it is there, it submits again what Slurm gave up for reasons that pass (a lost node, preemption, a
time limit), and tells how far everything is.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from midspec.core.artifact import read_record
from midspec.core.errors import ConfigError, DataError, FolderError, MidspecError, UnreachableError
from midspec.core.fingerprint import fingerprint
from midspec.study._execution_entry import SlurmEntry
from midspec.study._graph import STEP_KINDS
from midspec.study._step import Step
from midspec.study.execution._batches import JobArray, make_arrays, make_batches, usual_updates
from midspec.study.execution._executor import Event, Listener, StepState
from midspec.study.execution._local import StepFaultError
from midspec.study.execution._scheduler import Scheduler
from midspec.study.execution._selection import with_descendants
from midspec.study.execution._slurm import JobFolder, Submission, dependency
from midspec.study.execution._slurm_queue import ENDED, NoRoomError, NotNowError, QueuedTask, Slurm, first_word
from midspec.study.execution._step_status import StepStatus, log_path, read_status, status_path

# A network file system may show a file of another node late (NFS: 60 s by default).
_RECORD_WITHIN_S = 120.0
_HINTS = {
    StepState.OUT_OF_MEMORY: "Raise execution.slurm.memory_gb, for this kind alone under kinds.{kind}",
    StepState.TIMED_OUT: "Raise execution.slurm.time_min, for this kind alone under kinds.{kind}",
    StepState.CANCELLED: "The same command submits it again",
    StepState.FAILED: "See the log; a process that is killed most often needs more execution.slurm.memory_gb",
}
_PASSING = {StepState.PREEMPTED, StepState.NODE_FAILED, StepState.TIMED_OUT, None}
"""Ends of a job after which another one goes on; `None` is one that left the queue without a word."""


class StepEndedError(MidspecError, RuntimeError):
    """A step whose job ended without its result, for a reason that the step itself could not tell."""


class _Task(NamedTuple):
    """A job or a task of an array that was submitted, and what is known of it."""

    submission: Submission
    number: int
    queued: QueuedTask | None

    @property
    def id(self) -> str:
        return self.submission.task_id(self.number)

    @property
    def steps(self) -> tuple[str, ...]:
        return self.submission.tasks[self.number]

    @property
    def is_live(self) -> bool:
        return self.queued is not None and self.queued.is_live


class SlurmRun:
    """The steps of a run that Slurm makes.

    Args:
        run: the run's folder.
        study: the study's name.
        entry: how steps become jobs.
        scheduler: what is done and what is wanted; records are added to it.
        on_event: called with each event.

    Raises:
        ConfigError: `entry` names a kind of step that there is not.
        FolderError: the folder's path is none that Slurm takes.
    """

    def __init__(self, run: Path, study: str, entry: SlurmEntry, scheduler: Scheduler, on_event: Listener) -> None:
        for kind in entry.kinds:
            STEP_KINDS.get(kind, where="execution.slurm.kinds")
        # In the path of a log Slurm fills `%j` and the like, and its jobs end without a word (Slurm 22.05).
        if bad := re.search(r"[%\\\x00-\x1f]", str(run.resolve())):
            what = f"has {bad[0]!r} in its path, so Slurm finds no place for logs"
            raise FolderError(what, where=repr(str(run))[1:-1], hint="Choose another --out")
        if entry.updates_per_job is None:
            entry = entry.model_copy(update={"updates_per_job": usual_updates(scheduler.steps.values())})
        self._run, self._entry, self._scheduler, self._on_event = run, entry, scheduler, on_event
        self._slurm, self._jobs = Slurm(), JobFolder(run, study, entry)
        self._undone = {step.name: step for step in scheduler.waiting}
        self._workers = {name: number for number, name in enumerate(scheduler.steps, start=1)}
        self._shown: dict[str, StepStatus] = {}
        self._tries: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._judged: set[str] = set()
        self._ended_at: dict[str, float] = {}
        self._said, self._has_asked, self._most_tasks = "", False, 0
        self._errors: list[Exception] = []

    def dry(self) -> Path:
        """Write all scripts, and one that submits them; submit nothing. Return the path of the latter."""
        tasks: list[_Task] = []
        with suppress(UnreachableError, ConfigError):
            tasks = self._tasks()
        for submission in self._jobs.submissions():
            if not submission.job:
                self._jobs.forget(submission.name)
        arrays = self._missing(tasks)
        return self._jobs.write_submit(arrays, self._jobs.write(arrays))

    def submit(self) -> None:
        """Submit what is neither done nor in the queue, and leave it to Slurm.

        Raises:
            UnreachableError: the controller does not answer, or takes no more jobs now.
            ConfigError: it refuses a script.
        """
        try:
            self._submit(self._tasks())
        except UnreachableError as error:
            is_full = isinstance(error, NoRoomError)
            later = "without --detach it does so as room is made" if is_full else "what was submitted stays"
            error.hint = f"The same command submits the rest later; {later}"
            raise

    def follow(self, *, stop_at_fault: bool = False) -> None:
        """Submit what is missing and follow it, until every step is done or can't be.

        Args:
            stop_at_fault: submit nothing more after a step failed, and cancel nothing.

        Raises:
            MidspecError: the first that a step refused, or why its job ended.
        """
        try:
            while self._undone and not (stop_at_fault and self._errors):
                try:
                    self._poll(stop_at_fault=stop_at_fault)
                except UnreachableError as error:
                    what = "takes no more jobs now" if isinstance(error, NoRoomError) else "does not answer"
                    self._say(f"Slurm {what}, asked again every {self._entry.poll_s:g} s: {error}", once=True)
                    self._note_done()
                self._note_progress()
                if self._undone:
                    time.sleep(self._entry.poll_s)
        except (KeyboardInterrupt, SystemExit):
            self._say("the jobs in the queue go on without this command")
            raise
        if self._errors:
            raise self._errors[0]

    def _poll(self, *, stop_at_fault: bool) -> None:
        """Ask the queue once, decide about jobs that have ended, and submit what is missing."""
        tasks = self._tasks()
        # After the queue: of a job that had ended then, the records are there now.
        self._note_done()
        self._judge(tasks)
        if stop_at_fault and self._errors:
            return
        self._look_at_held([task.queued for task in tasks if task.queued is not None and task.queued.is_held])
        self._submit(tasks)

    def _look_at_held(self, held: Sequence[QueuedTask]) -> None:
        """Release jobs that a node could not launch, as often as a job may begin again; tell of all others once."""
        others: dict[str, list[str]] = {}
        for task in held:
            self._held[task.id] += 1
            n_releases = self._entry.most_restarts if task.reason.lower().startswith("launch failed") else 0
            if self._held[task.id] <= n_releases:
                # Refused where it was let go in the meantime.
                with suppress(ConfigError):
                    self._slurm.release(task.id)
                    self._say(f"job {task.id} could not be launched on its node, and is released")
            elif self._held[task.id] == n_releases + 1:
                others.setdefault(task.reason, []).append(task.id)
        for reason, jobs in others.items():
            self._say(f"held in the queue ({reason}) until: scontrol release {' '.join(jobs)}")

    def _submit(self, tasks: Sequence[_Task]) -> None:
        arrays = self._missing(tasks)
        written = self._jobs.write(arrays)
        jobs: list[str] = []
        try:
            for array, submission in zip(arrays, written, strict=True):
                waits = dependency(array, jobs, [len(one.tasks) > 1 for one in arrays])
                jobs.append(self._slurm.submit(self._jobs.script(submission.name), waits, submission.name))
                self._jobs.note(submission.name, jobs[-1])
                self._tries.update(step.name for batch in array.tasks.values() for step in batch.steps)
        except MidspecError as error:
            # One that may have been taken without an answer stays, and is looked for by its name.
            is_full = isinstance(error, NoRoomError)
            n_kept = len(jobs) + (isinstance(error, UnreachableError) and not is_full)
            for submission in written[n_kept:]:
                self._jobs.forget(submission.name)
            n_tasks = len(arrays[len(jobs)].tasks)
            is_few = jobs or n_tasks == 1 or isinstance(error, NotNowError)
            if not is_full or is_few or any(task.is_live for task in tasks):
                raise
            # Each task counts as a job, and nothing else of this run is there: the array is over the limit by itself.
            self._most_tasks = n_tasks // 2
            self._submit(tasks)
            return
        if jobs:
            self._say(f"submitted {len(jobs)} job{'s' if len(jobs) > 1 else ''}")

    def _missing(self, tasks: Sequence[_Task]) -> list[JobArray]:
        """Return the jobs of what is neither done nor in the queue."""
        live = {step: task.id for task in tasks if task.id not in self._judged for step in task.steps}
        steps = [step for name, step in self._undone.items() if name not in live]
        self._most_tasks = self._most_tasks or self._slurm.most_tasks()
        return make_arrays(make_batches(steps, self._entry, leaders=self._leaders(steps), live=live), self._most_tasks)

    def _leaders(self, steps: Sequence[Step]) -> dict[str, str]:
        """Return for a step the one with the same result before it, where the inputs of both are done."""
        first: dict[str, str] = {}
        leaders: dict[str, str] = {}
        for step in steps:
            if all(parent.name in self._scheduler.records for parent in step.parents):
                mark = fingerprint(step.identity(self._scheduler.records))
                leader = first.setdefault(mark, step.name)
                if leader != step.name:
                    leaders[step.name] = leader
        return leaders

    def _tasks(self) -> list[_Task]:
        """Return all tasks that were submitted, each as the queue shows it; jobs whose number is not noted are."""
        queue = [task for task in self._slurm.queue() if task.name.startswith(self._jobs.prefix)]
        queued = {(task.name, task.task or 0): task for task in queue}
        numbers = {task.name: task.job for task in queue}
        tasks = []
        for submission in self._jobs.submissions():
            if not submission.job and submission.name in numbers:
                self._jobs.note(submission.name, numbers[submission.name])
                submission = replace(submission, job=numbers[submission.name])
            if submission.job:
                tasks += [
                    _Task(submission, number, queued.get((submission.name, number))) for number in submission.tasks
                ]
        if not self._has_asked:
            # What ended before this command is not its to judge: the steps are submitted again.
            self._judged = {task.id for task in tasks if not task.is_live}
            self._has_asked = True
        return tasks

    def _note_done(self) -> None:
        """Take in the records that are there now."""
        for name, step in list(self._undone.items()):
            if any(parent.name not in self._scheduler.records for parent in step.parents):
                continue
            try:
                record = read_record(step.folder(self._run))
            except DataError:
                continue
            if record is not None and record.fingerprint == fingerprint(step.identity(self._scheduler.records)):
                self._scheduler.finish(name, record)
                del self._undone[name]
                self._shown.pop(name, None)
                self._notify("done", name, seconds=record.execution.seconds)

    def _note_progress(self) -> None:
        for name, step in self._undone.items():
            status, _ = read_status(status_path(self._run, step))
            before = self._shown.get(name)
            if status is None or status.state != "running" or status == before:
                continue
            self._shown[name] = status
            if before is None or before.started_at != status.started_at:
                self._notify("start", name)
            self._notify("progress", name, at=status.at, of=status.of, note=status.note)

    def _judge(self, tasks: Sequence[_Task]) -> None:
        """Decide about the steps of jobs that have ended: give up, or leave them to be submitted again."""
        over = [task for task in tasks if not task.is_live and task.id not in self._judged]
        ends = self._slurm.ended([task.id for task in over if task.queued is None])
        states = {task.id: ENDED.get(_end_of(task, ends)) for task in tasks if not task.is_live}
        bad = {task.submission.name for task in tasks if states.get(task.id) not in {None, StepState.DONE}}
        for task in over:
            undone = [self._undone[name] for name in task.steps if name in self._undone]
            if not undone or self._is_judged(task, undone, states[task.id], bad):
                self._judged.add(task.id)
                if task.queued is not None and task.queued.is_stranded:
                    with suppress(ConfigError):
                        self._slurm.cancel(task.id)

    def _is_judged(self, task: _Task, undone: Sequence[Step], state: StepState | None, bad: Set[str]) -> bool:
        """Decide about one job; return whether that is final."""
        read = {step.name: read_status(status_path(self._run, step))[0] for step in undone}
        own = {name: status for name, status in read.items() if status is not None and status.job == task.id}
        failed = {name: status for name, status in own.items() if status.state == "failed"}
        if state is StepState.DONE:
            if time.monotonic() - self._ended_at.setdefault(task.id, time.monotonic()) < _RECORD_WITHIN_S:
                return False
            hint = "Is the run folder the same on all nodes?"
            error = StepEndedError(f"job {task.id} ended well and left no record", where=undone[0].name, hint=hint)
            self._give_up(undone[0], error)
        elif failed and state in {StepState.FAILED, None}:
            for name, status in failed.items():
                self._give_up(self._scheduler.steps[name], _told(name, status.error))
        elif state in _PASSING or (state is StepState.FAILED and own):
            self._try_again(task, undone[0], state)
        elif state is not StepState.CANCELLED or own or not bad & set(task.submission.after):
            self._give_up(undone[0], self._ended(task, undone[0], state))
        # Else Slurm itself cancelled it, as what it waited for did not end well: it is submitted again.
        return True

    def _try_again(self, task: _Task, step: Step, state: StepState | None) -> None:
        """Leave a step to be submitted again, unless that was done too often."""
        words = "was lost" if state is None else f"ended: {state.value}"
        # A process that was killed without a word most often needed more memory, and would again.
        is_hopeful = state is not StepState.FAILED and (state is not StepState.TIMED_OUT or step.resumable)
        most = self._entry.most_restarts if is_hopeful else 1
        if self._tries[step.name] > most:
            self._give_up(step, self._ended(task, step, state))
        else:
            self._say(f"{step.name}: job {task.id} {words}; submitted again")

    def _ended(self, task: _Task, step: Step, state: StepState | None) -> StepEndedError:
        log = log_path(self._run, step)
        log = log if log.is_file() else self._run / "logs" / "slurm"
        words = "was lost" if state is None else f"ended: {state.value}"
        hint = _HINTS.get(state or StepState.FAILED, "See the log").format(kind=step.kind)
        return StepEndedError(f"job {task.id} {words} (log: {log})", where=step.name, hint=hint)

    def _give_up(self, step: Step, error: Exception) -> None:
        self._errors.append(error)
        lost = with_descendants(self._scheduler.steps.values(), [step.name])
        self._undone = {name: one for name, one in self._undone.items() if name not in lost}
        if step.name not in self._shown:
            self._notify("start", step.name)
        self._notify("fail", step.name, note=str(error).splitlines()[0])

    def _say(self, what: str, *, once: bool = False) -> None:
        if not once or self._said != what:
            self._on_event(Event("say", self._scheduler.n_done, self._scheduler.n_steps, note=what))
        self._said = what

    def _notify(self, kind: Literal["start", "progress", "done", "fail"], step: str, **more: Any) -> None:
        self._on_event(Event(kind, self._scheduler.n_done, self._scheduler.n_steps, step, self._workers[step], **more))


def _end_of(task: _Task, ends: Mapping[str, str]) -> str:
    if task.queued is None:
        return first_word(ends.get(task.id, ""))
    return "CANCELLED" if task.queued.is_stranded else first_word(task.queued.state)


def _told(name: str, error: str) -> Exception:
    """Return what a step said as an error: a refusal, or a fault of ours with the end of its traceback."""
    first, _, rest = error.partition("\n")
    return StepFaultError(f"{name} failed: {error}") if rest else StepEndedError(first)
