"""Slurm: scripts for sbatch that one can read, and how they are submitted.

`RUN/jobs` holds for every submission `NAME.sh`, the script, and `NAME.json`, its steps; `submitted.txt` has a line
`NAME JOB-ID` for what sbatch took. A name is used once, and it is the job's name in the queue, so a job is found again
where whoever submitted it died before the line was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from midspec.core.artifact import write_text
from midspec.core.errors import ConfigError
from midspec.core.memory import MEMORY_SETTINGS
from midspec.study._execution_entry import SlurmEntry, SlurmResources
from midspec.study._step import slug
from midspec.study.execution._batches import JobArray
from midspec.study.execution._executor import ONE_THREAD

_JOBS, _SUBMITTED = "jobs", "submitted.txt"


@dataclass(frozen=True)
class Submission:
    """A script in `RUN/jobs`.

    Attributes:
        name: of the job and the script.
        tasks: names of steps by task number; of a plain job under 0.
        is_array: whether it has task numbers for Slurm too.
        after: names of the submissions that it waits for.
        job: Slurm's number; empty where none was written down.
    """

    name: str
    tasks: Mapping[int, tuple[str, ...]]
    is_array: bool
    after: tuple[str, ...] = ()
    job: str = ""

    def task_id(self, task: int) -> str:
        """Return the number by which Slurm's commands take a task."""
        return f"{self.job}_{task}" if self.is_array else self.job


class JobFolder:
    """The scripts of a run and what was submitted of them: `RUN/jobs`.

    Args:
        run: the run's folder.
        study: the study's name.
        entry: how its steps become jobs.
    """

    def __init__(self, run: Path, study: str, entry: SlurmEntry) -> None:
        self._run, self._study, self._entry = run.resolve(), study, entry
        self._folder = self._run / _JOBS
        self.prefix = f"midspec-{hashlib.sha256(str(self._run).encode()).hexdigest()[:6]}-"

    def submissions(self) -> list[Submission]:
        """Read everything that was written, in the order of writing."""
        jobs: dict[str, str] = {}
        with suppress(FileNotFoundError):
            lines = (self._folder / _SUBMITTED).read_text(encoding="utf-8").splitlines()
            jobs = dict(line.split() for line in lines if len(line.split()) == 2)
        paths = sorted(self._folder.glob(f"{self.prefix}*.json"), key=lambda path: _number(path.stem))
        return [_read(path, jobs.get(path.stem, "")) for path in paths]

    def write(self, arrays: Sequence[JobArray]) -> list[Submission]:
        """Write a script for each array; return them as they are to be submitted."""
        if not arrays:
            return []
        before = self.submissions()
        first = max((_number(submission.name) for submission in before), default=0) + 1
        names_of = {submission.task_id(number): submission.name for submission in before for number in submission.tasks}
        names = [f"{self.prefix}{first + index:03}-{slug(array.label)}" for index, array in enumerate(arrays)]
        (self._run / "logs" / "slurm").mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(exist_ok=True)
        written = []
        for name, array in zip(names, arrays, strict=True):
            tasks = {number: tuple(step.name for step in batch.steps) for number, batch in array.tasks.items()}
            waits = [names[each.array] for each in array.after] + [names_of[job] for job in array.after_jobs]
            after = tuple(dict.fromkeys(waits))
            submission = Submission(name, tasks, len(tasks) > 1, after)
            plain = {"tasks": {str(number): list(steps) for number, steps in tasks.items()}, "after": list(after)}
            write_text(self._folder / f"{name}.sh", self._script(submission, array))
            write_text(self._folder / f"{name}.json", json.dumps(plain, indent=2) + "\n")
            written.append(submission)
        return written

    def note(self, name: str, job: str) -> None:
        """Write down the number of a submitted script."""
        with (self._folder / _SUBMITTED).open("a", encoding="utf-8") as file:
            file.write(f"{name} {job}\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self, name: str) -> None:
        """Remove a script that was never submitted."""
        for suffix in (".sh", ".json"):
            (self._folder / f"{name}{suffix}").unlink(missing_ok=True)

    def script(self, name: str) -> Path:
        """Return the path of a script."""
        return self._folder / f"{name}.sh"

    def write_submit(self, arrays: Sequence[JobArray], written: Sequence[Submission]) -> Path:
        """Write a script that submits the others, for whoever does that by hand; return its path."""
        lines = ["#!/bin/bash", f"# Submits the jobs of the study {self._study}.", "set -euo pipefail"]
        # Inside a job, so that its variables are not handed on.
        lines += ["for name in ${!SLURM_@}; do case $name in SLURM_C[OL]*) ;; *) unset $name ;; esac; done"]
        lines += [f"cd {shlex.quote(str(self._folder))}"]
        variables = [f"job_{number:03}" for number in range(1, len(arrays) + 1)]
        for variable, array, submission in zip(variables, arrays, written, strict=True):
            waits = dependency(array, [f"${{{one}}}" for one in variables], [len(one.tasks) > 1 for one in arrays])
            option = f' "--dependency={waits}"' if waits else ""
            name = shlex.quote(submission.name)
            # The number has a line of its own, with what clusters greet with before it.
            lines += [f"{variable}=$(sbatch --parsable{option} {name}.sh | grep -oE '^[0-9]+' | tail -n 1)"]
            lines += [f'echo "{submission.name} ${variable}" | tee -a {_SUBMITTED}']
        path = self._folder / "submit.sh"
        self._folder.mkdir(exist_ok=True)
        write_text(path, "\n".join(lines) + "\n")
        return path

    def _script(self, submission: Submission, array: JobArray) -> str:
        """Return the text of a script: options, the user's own lines, and one command of ours."""
        log = "%x-%A_%a.log" if submission.is_array else "%x-%j.log"
        options = {
            "job-name": submission.name,
            "chdir": _quoted(str(self._run)),
            "output": f"logs/slurm/{log}",
            "open-mode": "append",
            "signal": f"B:USR1@{self._entry.grace_s}",
            "kill-on-invalid-dep": "yes",
            **({"array": ",".join(map(str, sorted(submission.tasks)))} if submission.is_array else {}),
            **_options(array.resources),
        }
        command = self._entry.command or f"{shlex.quote(sys.executable)} -m midspec"
        restarts = f"--most-restarts {self._entry.most_restarts}"
        words = {number: f"steps=({' '.join(map(shlex.quote, steps))})" for number, steps in submission.tasks.items()}
        choice = list(words.values())
        if submission.is_array:
            choice = ['case "$SLURM_ARRAY_TASK_ID" in', *(f"  {n}) {text} ;;" for n, text in words.items()), "esac"]
        lines = [
            "#!/bin/bash",
            f"# Steps of the study {self._study}, written by `midspec run --executor slurm`.",
            "# A step that is done already is passed over, so this may run any number of times.",
            *(f"#SBATCH --{name}={value}" for name, value in options.items()),
            "#SBATCH --requeue",
            *(f"#SBATCH {option}" for option in array.resources.extra),
            "",
            # Until midspec listens, the signal before the time limit would end it.
            "trap '' USR1",
            *self._entry.setup.splitlines(),
            *(f"export {name}={value}" for name, value in ONE_THREAD.items()),
            *(f"export {name}=${{{name}:-{value}}}" for name, value in MEMORY_SETTINGS.items()),
            *choice,
            f'exec {command} step {shlex.quote(str(self._run))} "${{steps[@]}}" {restarts}',
        ]
        return "\n".join(lines) + "\n"


def _number(name: str) -> int:
    """Return the number of a submission: the third part of its name."""
    number = name.split("-")[2]
    return int(number) if number.isdigit() else 0


def _read(path: Path, job: str) -> Submission:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        tasks = {int(number): tuple(steps) for number, steps in plain["tasks"].items()}
        return Submission(path.stem, tasks, len(tasks) > 1, tuple(plain["after"]), job)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        hint = "Remove it if no job of it is in the queue"
        raise ConfigError("is not a list of steps that midspec wrote", where=str(path), hint=hint) from error


def _options(asked: SlurmResources) -> dict[str, str]:
    """Return the options of sbatch for resources."""
    kind = f"{asked.gpu_type}:" if asked.gpu_type else ""
    options = {
        "partition": asked.partition,
        "account": asked.account,
        "qos": asked.qos,
        "time": asked.time_min,
        "mem": None if asked.memory_gb is None else f"{round(asked.memory_gb * 1024)}M",
        "cpus-per-task": asked.cpus,
        "gres": f"gpu:{kind}{asked.gpus}" if asked.gpus else None,
    }
    return {name: str(value) for name, value in options.items() if value is not None}


def _quoted(text: str) -> str:
    """Quote a value for a line that Slurm reads itself."""
    return text if re.fullmatch(r"[\w./+@=-]+", text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dependency(array: JobArray, jobs: Sequence[str], is_array: Sequence[bool]) -> str:
    """Return what an array waits for, as sbatch takes it.

    Args:
        array: to be submitted.
        jobs: the numbers of the arrays before it.
        is_array: whether each has task numbers.
    """
    after_ok = list(array.after_jobs)
    waits = []
    for each in array.after:
        job = jobs[each.array]
        if each.is_by_task:
            waits.append(f"aftercorr:{job}")
        elif each.tasks and is_array[each.array]:
            after_ok += [f"{job}_{task}" for task in each.tasks]
        else:
            after_ok.append(job)
    return ",".join([*([f"afterok:{':'.join(after_ok)}"] if after_ok else []), *waits])
