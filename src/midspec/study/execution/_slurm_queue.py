"""Slurm's commands, called as a user would, and what they say of jobs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from midspec.core.errors import ConfigError, UnreachableError
from midspec.study.execution._batches import MAX_ARRAY_SIZE
from midspec.study.execution._executor import StepState

_ASK_WITHIN_S, _MAX_SHOWN = 60.0, 200
# What the clients say when the controller does not answer or takes no more jobs for now; all else is a refusal.
_UNREACHABLE = re.compile(
    r"contact slurm controller|timed out|connection (refused|reset|failure)|communication|zero bytes|"
    r"temporarily unable|resource temporarily|transport endpoint|unable to (connect|resolve|establish)|standby mode|"
    r"can't be reached|DNS SRV lookup|a configuration source",
    re.IGNORECASE,
)
_FULL = re.compile(r"submit ?(job|limit)|MaxSubmit|too many|job violates accounting", re.IGNORECASE)
# Refusals that pass: a partition that is closed for now, and a job to wait for that has left the queue meanwhile.
_NOT_NOW = re.compile(r"partition not available \((inactive|drain|down)|job dependency problem", re.IGNORECASE)
# Which limit of the account or QOS it is. One on the size or time of a job is no matter of waiting.
_LIMIT = re.compile(r"\b(?:QOS|Assoc)(?:Grp|Max|Min)\w+")
# Clusters print greetings, or what a job costs, around the line with its number; some ignore --parsable.
_NUMBER = re.compile(r"^\s*(?:Submitted batch job )?(\d+)(?:;\S*| on cluster \S+)?\s*$", re.MULTILINE)
# Inside a job its variables would be handed on to all that it submits, as a task's number that is none of theirs; the
# others narrow what a user sees of the queue.
# Two of sbatch's own would make arrays of plain jobs, or let it wait for them.
_OF_OTHERS = re.compile(r"SLURM_(?!CONF|CLUSTERS$|JWT$)|SLURMD_|SQUEUE_|SACCT_|SBATCH_(?:ARRAY_INX|WAIT)$")

ENDED: Mapping[str, StepState] = {
    "COMPLETED": StepState.DONE,
    "FAILED": StepState.FAILED,
    "DEADLINE": StepState.TIMED_OUT,
    "TIMEOUT": StepState.TIMED_OUT,
    "PREEMPTED": StepState.PREEMPTED,
    "REVOKED": StepState.PREEMPTED,
    "NODE_FAIL": StepState.NODE_FAILED,
    "BOOT_FAIL": StepState.NODE_FAILED,
    "OUT_OF_MEMORY": StepState.OUT_OF_MEMORY,
    "CANCELLED": StepState.CANCELLED,
}
"""What Slurm calls the end of a job; every other state is of one that waits or runs."""


class NoRoomError(UnreachableError):
    """The cluster takes no more jobs of this user at the moment."""


class NotNowError(NoRoomError):
    """The cluster does not take this job at the moment, however few there are."""


class QueuedTask(NamedTuple):
    """A job, or a task of an array, as the queue shows it.

    Attributes:
        name: of the job.
        job: the number of the job, of all tasks of an array the same.
        task: the number in the array; `None` for a plain job.
        state: in Slurm's words.
        reason: why it is in that state, in Slurm's words.
    """

    name: str
    job: str
    task: int | None
    state: str
    reason: str

    @property
    def id(self) -> str:
        """Return the number by which Slurm's commands take it."""
        return self.job if self.task is None else f"{self.job}_{self.task}"

    @property
    def is_live(self) -> bool:
        """Return whether it runs, or waits for what may come."""
        return first_word(self.state) not in ENDED and not self.is_stranded

    @property
    def is_stranded(self) -> bool:
        """Return whether it waits for a job that did not end well; not every Slurm cancels it then as it is told to."""
        return "DependencyNeverSatisfied" in self.reason

    @property
    def is_held(self) -> bool:
        """Return whether it waits until somebody releases it: a user, an administrator or Slurm itself holds it."""
        return self.is_live and re.search(r"JobHeld|held\b", self.reason) is not None


class Slurm:
    """Slurm's commands, called as a user would."""

    def submit(self, script: Path, dependency: str, name: str) -> str:
        """Submit a script; return the job's number.

        Raises:
            UnreachableError: the controller does not answer.
            NoRoomError: it has no room for more jobs.
            ConfigError: it refuses the script.
        """
        # What stands in the script, once more: variables such as SBATCH_PARTITION are above that, not above options.
        asked = [f"--dependency={dependency}"] if dependency else []
        for line in script.read_text(encoding="utf-8").splitlines():
            asked += shlex.split(line.removeprefix("#SBATCH"), comments=True) if line.startswith("#SBATCH ") else []
        error: UnreachableError | ConfigError
        try:
            told = self._ask("sbatch", "--parsable", *asked, str(script))
            if numbers := _NUMBER.findall(told):
                return str(numbers[-1])
            seen = " ".join(told.split())[-_MAX_SHOWN:] or "nothing"
            error = ConfigError(f"told no number of a job: {seen}", where="sbatch", hint="Is it Slurm's own command?")
        except NoRoomError:
            raise
        except UnreachableError as lost:
            error = lost
        # The controller may have taken the job and not been able to say so.
        with suppress(UnreachableError):
            if found := [task.job for task in self.queue() if task.name == name]:
                return found[0]
        raise error

    def queue(self) -> tuple[QueuedTask, ...]:
        """Return this user's jobs that wait, run or have ended a short time ago.

        Raises:
            UnreachableError: the controller does not answer.
        """
        options = ("--states=all", "--array", "--noheader", f"--user={os.getuid()}", "--format=%j|%F|%K|%T|%r")
        lines = (line.split("|") for line in self._ask("squeue", *options).splitlines())
        return tuple(
            QueuedTask(name, job, int(task) if task.isdigit() else None, state, reason)
            for name, job, task, state, reason in (line for line in lines if len(line) == 5)
        )

    def release(self, job: str) -> None:
        """Let a job that is held go on.

        Raises:
            UnreachableError: the controller does not answer.
            ConfigError: it refuses.
        """
        self._ask("scontrol", "release", job)

    def cancel(self, job: str) -> None:
        """Take a job out of the queue.

        Raises:
            UnreachableError: the controller does not answer.
            ConfigError: it refuses.
        """
        self._ask("scancel", job)

    def most_tasks(self) -> int:
        """Return how many tasks an array may have on this cluster; Slurm's default where it does not tell."""
        told = ""
        with suppress(UnreachableError, ConfigError):
            told = self._ask("scontrol", "show", "config")
        found = re.findall(r"^MaxArraySize\s*=\s*(\d+)|\bmax_array_tasks=(\d+)", told, re.MULTILINE)
        # Where there are no arrays, MaxArraySize is 0.
        return max(1, min((int(size or tasks) for size, tasks in found), default=MAX_ARRAY_SIZE))

    def ended(self, jobs: Collection[str]) -> dict[str, str]:
        """Return the end states of jobs and tasks that have left the queue, by number; none without accounting."""
        # Asked for single tasks of an array that were cancelled before they began, sacct tells nothing (Slurm 22.05).
        numbers = ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
        options = ("--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={numbers}")
        if not jobs or shutil.which("sacct") is None:
            return {}
        try:
            lines = self._ask("sacct", *options).splitlines()
        except (UnreachableError, ConfigError):
            return {}
        rows = [(job, state) for job, _, state in (line.partition("|") for line in lines) if state]
        # Slurm says who cancelled a job: `CANCELLED by 1000`.
        return {each: first_word(state) for job, state in rows for each in task_ids(job) if each in jobs}

    def _ask(self, *command: str) -> str:
        try:
            ran = subprocess.run(  # noqa: S603 - Slurm's own commands, without a shell
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=_ASK_WITHIN_S,
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if not _OF_OTHERS.match(name)},
            )
        except (FileNotFoundError, PermissionError) as error:
            hint = "Run this where the cluster's jobs are submitted, or write the scripts alone with --dry-run"
            raise ConfigError(f"there is no {command[0]} here", where="--executor slurm", hint=hint) from error
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(f"no answer within {_ASK_WITHIN_S:.0f} s", where=command[0]) from error
        # With several clusters squeue ends well although one did not answer: what it shows is not the queue.
        is_partial = command[0] == "squeue" and _UNREACHABLE.search(ran.stderr)
        if ran.returncode == 0 and not is_partial:
            return ran.stdout
        told = " ".join(ran.stderr.replace(f"{command[0]}: error:", "").split()) or f"ended with {ran.returncode}"
        if _UNREACHABLE.search(told):
            raise UnreachableError(told, where=command[0])
        if _NOT_NOW.search(told):
            raise NotNowError(told, where=command[0])
        limits = _LIMIT.findall(told)
        if _FULL.search(told) and (not limits or any("Submit" in limit for limit in limits)):
            raise NoRoomError(told, where=command[0])
        raise ConfigError(told, where=command[0], hint="Correct execution.slurm in the study file")


def task_ids(job: str) -> list[str]:
    """Return the numbers of the tasks that a line is about: of one, or as `12_[0,2-4%1]` of those that never began."""
    number, _, rest = job.partition("_[")
    if not rest:
        return [job]
    found = re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", rest.partition("%")[0])
    spans = [range(int(first), int(last or first) + 1, int(step or 1)) for first, last, step in found]
    return [f"{number}_{task}" for span in spans for task in span]


def first_word(state: str) -> str:
    """Return the state alone: Slurm also says `CANCELLED by 1000` and `CANCELLED+`."""
    return state.split()[0].rstrip("+") if state.split() else ""
