"""Runs a study in a folder, and goes on where an earlier run stopped."""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from midspec.core.artifact import locked, read_record, writable, write_json, write_text
from midspec.core.errors import ConfigError, FolderError, MissingError, StaleError, did_you_mean
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.study._graph import study_steps
from midspec.study._load import Study, parse_study
from midspec.study._preregistration import FIRST, first_contrasts, with_first
from midspec.study._steps import Step, identity, locate, step_folder
from midspec.study.execution._local import Event, Listener, run_here
from midspec.study.execution._scheduler import Scheduler, with_ancestors, with_descendants
from midspec.study.execution._worker import Task
from midspec.study.planning._plan import check_floors, states
from midspec.study.planning._preflight import check_beforehand, check_judges

_STUDY, _HOME, _STORE = "study.yaml", "run.json", "calls.sqlite"
_ORPHAN_WAIT_S = 10.0


def run_study(
    study: Study,
    folder: Path,
    *,
    executor: Literal["local"] = "local",
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    workers: int | None = None,
    device: str = "auto",
    on_event: Listener = lambda _event: None,
) -> dict[str, Record]:
    """Do the steps of a study that are not done yet; gives the records of all that are done now, by name.

    Args:
        study: what to run.
        folder: where; a run that was interrupted there is continued.
        executor: where the work is done; `local` is worker processes on this machine.
        only: names or patterns (`eval/*`) of the steps to do, with what they need; all by default.
        redo: names or patterns of steps to make anew, from changed inputs too; what depends on them follows.
        workers: how many processes side by side; by default one a core, and one in all where there is a GPU.
        device: what models run on; never part of a result's identity.
        on_event: is told what happens.

    Raises:
        StaleError: a step is there that was made from other inputs, and `redo` does not name it.
        InUseError: another run is writing the folder.
        PreflightError: training that would teach nothing.
        MidspecError: whatever a step refuses; the steps that do not depend on it are done nevertheless.
    """
    if executor != "local":
        raise ConfigError(f"there is no executor {executor!r}", where="executor", hint="There is local")
    began = time.monotonic()
    steps = with_first(study_steps(study), study, folder)
    check_beforehand(study, steps)
    check_floors(steps)
    _check_folder(study, folder)
    wanted = with_ancestors(steps, _matching(steps, only, "--only")) if only else {step.name for step in steps}
    again = _matching(steps, redo, "--redo") if redo else set()
    with _tidied(folder), locked(folder):
        board = _open(steps, folder, wanted, with_descendants(steps, again))
        if any(step.config["graders"] for step in board.waiting if step.kind == "exam"):
            check_judges(study)
        _keep_study(study, folder)
        on_event(Event("begin", board.n_done, board.n_steps))
        make_task = _tasks(steps, folder, board, again, device)
        run_here(board, make_task, folder / "logs", workers or _usual_workers(), on_event)
    on_event(Event("end", board.n_done, board.n_steps, seconds=time.monotonic() - began))
    return board.records


@contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """Leave no empty folder behind a run that was refused before it began."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def report_again(folder: Path, *, on_event: Listener = lambda _event: None) -> Path:
    """Write the report of a finished run once more; gives the path of its page.

    Raises:
        MissingError: there is no run in the folder, or it is not finished.
    """
    if not (folder / _STUDY).is_file():
        raise MissingError("there is no study run", where=str(folder), hint="Name the folder that midspec run wrote")
    home = _home(folder)
    study = parse_study((folder / _STUDY).read_text(encoding="utf-8"), home=home, name=str(folder / _STUDY))
    steps = with_first(study_steps(study), study, folder)
    undone = [name for name, (state, *_) in states(steps, folder).items() if state != "done" and name != "report"]
    if undone:
        raise MissingError(
            f"{len(undone)} of {len(steps)} steps are not done ({undone[0]} first)",
            where=str(folder),
            hint="Run midspec run on the study first",
        )
    run_study(study, folder, redo=["report"], workers=1, on_event=on_event)
    return folder / "report" / "report.html"


def _check_folder(study: Study, folder: Path) -> None:
    """A run folder is absent, empty, or has what an earlier run left.

    Raises:
        FolderError: it is a file, or holds files that no run made.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError("is a file, not a folder", where=str(folder), hint="Choose another --out")
    if not folder.is_dir() or (folder / _HOME).is_file():
        return
    if not all(_is_trace(entry, study.text) for entry in folder.iterdir()):
        raise FolderError("holds files that are not a midspec run", where=str(folder), hint="Choose another --out")


def _is_trace(entry: Path, text: str) -> bool:
    """What a run of this study left that was killed as it began: a lock, half a file, the study."""
    if entry.name == _STUDY:
        return entry.is_file() and entry.read_bytes() == text.encode()
    return entry.name == ".lock" or (entry.suffix == ".tmp" and entry.name.startswith((f".{_STUDY}.", f".{_HOME}.")))


def _home(folder: Path) -> Path:
    return Path(json.loads((folder / _HOME).read_text(encoding="utf-8"))["home"])


def _keep_study(study: Study, folder: Path) -> None:
    """Keep the study beside its results, with the contrasts that stood before the first of them.

    The folder that the study's paths start at is about this run only.
    """
    first = first_contrasts(study, folder)
    with writable(folder):
        write_text(folder / _STUDY, study.text)
        write_json(folder / _HOME, {"home": str(study.home), FIRST: first})
        (folder / "logs").mkdir(exist_ok=True)


def _matching(steps: Sequence[Step], patterns: Iterable[str], option: str) -> set[str]:
    names = [step.name for step in steps]
    found: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
        hits = hits or [step.name for step in steps if pattern in {step.kind, f"{step.kind}/{step.label}"}]
        if not hits:
            raise ConfigError(f"there is no step {pattern!r}", where=option, hint=_step_mend(pattern, names))
        found.update(hits)
    return found


def _step_mend(pattern: str, names: Sequence[str]) -> str:
    hint = did_you_mean(pattern, names)
    return hint if hint.startswith("Did") else "midspec plan lists the steps"


def _open(steps: Sequence[Step], folder: Path, wanted: set[str], follows: set[str]) -> Scheduler:
    """What is done and what is to be done; a stale step that nobody asked to make again is refused."""
    done: dict[str, Record] = {}
    for name, (state, record, changes) in states(steps, folder).items():
        if name in follows or name not in wanted:
            continue
        if state == "stale" and name != "report":
            raise StaleError(
                f"{name} was made from other inputs ({'; '.join(changes)})",
                where=str(folder),
                hint=f"Choose another --out, or pass --redo '{name}' to make it again",
            )
        if state == "done" and record is not None:
            done[name] = record
    return Scheduler(steps, wanted, done)


def _tasks(
    steps: Sequence[Step], folder: Path, board: Scheduler, again: set[str], device: str
) -> Callable[[Step], Task]:
    """What turns a step whose inputs are done into a task."""
    folders = {step.name: step_folder(folder, step) for step in steps}
    follows = with_descendants(steps, again) | {"report"}
    run: dict[str, JsonValue] = {"device": device, "store": str(folder / _STORE)}

    def task(step: Step) -> Task:
        wanted = identity(step, board.records)
        record = read_record(folders[step.name])
        changed = record is not None and record.fingerprint != fingerprint(wanted)
        return Task(
            step=step.model_copy(update={"options": step.options | run | {"folder": str(folders[step.name])}}),
            inputs={role: locate(source, folders) for role, source in step.sources.items()},
            identity=wanted,
            folder=folders[step.name],
            redo=step.name in again or (changed and step.name in follows),
            wait_s=_ORPHAN_WAIT_S,
        )

    return task


def _usual_workers() -> int:
    """One a core that this process may use; one in all where there is a GPU, which models would have to share."""
    if Path("/dev/nvidia0").exists():
        return 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
