"""A step: built in a hidden folder, and moved to its place whole with its record."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.core.artifact._files import DRAFT, LOCK, locked, writable, write_json
from midspec.core.errors import DataError, FolderError, InUseError, MidspecError, StaleError, UnreachableError
from midspec.core.fingerprint import canonical_json, diff, fingerprint, hash_file, listed
from midspec.core.records import Execution, Identity, Record

_PACKAGES = (
    *("midspec", "torch", "transformers", "peft", "accelerate", "inspect_ai", "numpy"),
    *("anthropic", "openai", "rensa", "datasets", "trl"),
)
RECORD = "record.json"
CHECKPOINTS = ".checkpoints"
"""The folder of a draft in which a resumable step keeps what it can go on from."""
_STARTED = ".started.json"
_START_WAIT_S = 10.0
TAKEN_OVER = "taken_over"
"""In a record's `execution.extra`, where files that were copied from another result were made, and in what time."""
ProgressCallback = Callable[[int, int, str], None]
"""Called with how much is done, out of how much (0 where that is not known), and a few words."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on, where they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of midspec's own checkout, read from git's files; `None` outside a checkout."""
    for parent in Path(__file__).resolve().parents:
        head = parent / ".git" / "HEAD"
        if head.is_file():
            break
    else:
        return None
    text = head.read_text(encoding="utf-8").strip()
    if not text.startswith("ref: "):
        return text
    name = text.removeprefix("ref: ")
    if (loose := head.parent / name).is_file():
        return loose.read_text(encoding="utf-8").strip()
    packed = head.parent / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


class Built(BaseModel):
    """What a step's builder returns: its result files (relative names, to be hashed) and a summary of its health.

    `execution` holds figures that are about this run and not about the result (seconds a stage took, say). A folder
    that `is_given_away` to others has neither a host nor a path of this machine in its record.
    """

    outputs: tuple[str, ...]
    summary: dict[str, JsonValue] = {}
    execution: dict[str, JsonValue] = {}
    is_given_away: bool = False


def read_record(folder: Path) -> Record | None:
    """Return the record of a finished step, or `None` when the folder holds no finished step.

    Raises:
        DataError: there is a `record.json` that is not a record.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            "not a midspec record", where=str(path), hint="Remove the folder, or choose another --out"
        ) from error


def build(
    folder: Path,
    identity: Identity,
    make: Callable[[Path], Built],
    *,
    redo: bool = False,
    resumable: bool = False,
    wait_s: float = 0.0,
) -> tuple[Record, bool]:
    """Make a step's result in `folder`, unless the same result is there.

    What a resumable step keeps in `CHECKPOINTS` outlives whatever ends it before its record is written (a full disk, a
    GPU out of memory, a fault at the end); it is removed then.

    Args:
        folder: the result's final place.
        identity: what identifies the result.
        make: writes the result's files into the folder it is given, and names them.
        redo: replace a result of another identity, or of the same.
        resumable: `make` can go on from the files that an interrupted run of the same identity left.
        wait_s: how long to wait for another writer of this folder.

    Returns:
        The record, and whether it was made now (`False`: it was there).

    Raises:
        StaleError: a result of another identity is there and `redo` is false.
        FolderError: the folder can't be written, or holds files that no step made, or another kind of step.
        InUseError: another process is writing it.
    """
    draft = draft_of(folder)
    with writable(folder):
        if (found := _usable(folder, identity, redo)) is not None:
            return found, False
        new_parents = [parent for parent in folder.parents if not parent.exists()]
    held = keep = False
    try:
        with writable(folder), locked(draft, wait_s=wait_s):
            held = True
            if (found := _usable(folder, identity, redo)) is not None:
                return found, False
            record: Record | None = None
            with suppress(DataError):  # a draft that was interrupted between its last file and its move is finished
                record = read_record(draft)
            if record is None or record.fingerprint != fingerprint(identity):
                n_attempts = _prepare(folder, identity, resumable)
                keep = resumable
                record = _make(draft, identity, make, n_attempts, folder)
            (draft / _STARTED).unlink(missing_ok=True)
            shutil.rmtree(draft / CHECKPOINTS, ignore_errors=True)
            _move(draft, folder)
            return record, True
    except MidspecError as error:
        # A start that the user must correct first is none to go on from, unless it left a checkpoint, and one that a
        # server let down is; a draft that another process holds is its own.
        has_checkpoint = resumable and any((draft / CHECKPOINTS).glob("*"))
        is_let_down = resumable and isinstance(error, UnreachableError)
        keep = has_checkpoint or is_let_down or (isinstance(error, InUseError) and not held)
        raise
    finally:
        if not keep:
            _discard(draft, new_parents)


def draft_of(folder: Path) -> Path:
    """Return the hidden folder that a result is made in, beside its place."""
    return folder.with_name(f".{folder.name}{DRAFT}")


class Start(NamedTuple):
    """A result that was begun: the fingerprint of its identity, and in how many attempts."""

    fingerprint: str
    n_attempts: int


def start_of(folder: Path) -> Start | None:
    """Return what was begun in the place of a result and is not finished; `None` where nothing was."""
    try:
        return Start(**json.loads((draft_of(folder) / _STARTED).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None


def put_start(folder: Path, start: Start, files: Mapping[str, Path]) -> None:
    """Put a start in a result's place that was made elsewhere; `build` goes on from it.

    Args:
        folder: the result's final place.
        start: of the same identity.
        files: by their name in the draft; they are moved.

    Raises:
        FolderError: the folder can't be written.
        InUseError: another process is writing it.
    """
    draft = draft_of(folder)
    with writable(folder), locked(draft, wait_s=_START_WAIT_S):
        _empty(draft)
        for name, path in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(draft / name)
        # Last: without it the draft counts as one of nothing.
        write_json(draft / _STARTED, start._asdict())


def take_over(result: Path, folder: Path) -> Built:
    """Copy the files of a finished result into another folder; the `make` of a step of the same identity.

    The new record says where they were made, and in what time.

    Raises:
        DataError: the result has no record, or it can't be read; a file is not the one that its record is of.
    """
    record = read_record(result)
    if record is None:
        raise DataError("has no record", where=str(result), hint="Run the study again")
    for name, digest in record.outputs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        is_there = (result / name).is_file()
        if is_there:
            shutil.copy2(result / name, folder / name)
        if not is_there or hash_file(folder / name) != digest:
            hint = "Remove that result, so that it is made anew"
            raise DataError("is gone, or was changed after it was made", where=str(result / name), hint=hint)
    ran = record.execution
    made: dict[str, JsonValue] = {"folder": str(result), "seconds": ran.seconds, "cpu_s": ran.cpu_s}
    return Built(outputs=tuple(record.outputs), summary=record.summary, execution={TAKEN_OVER: made, **ran.extra})


def _usable(folder: Path, identity: Identity, redo: bool) -> Record | None:
    record = read_record(folder)
    if record is None:
        holds_files = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        # Another writer may have moved its result here between the two looks.
        if holds_files and (record := read_record(folder)) is None:
            what = (
                "holds files that are not a midspec result" if folder.is_dir() else "is a file, not a result's folder"
            )
            raise FolderError(what, where=str(folder), hint="Choose another --out")
    if record is None:
        return None
    name, kind = (step.partition("@")[0] for step in (identity.step, record.identity.step))
    if name != kind:
        raise FolderError(f"holds a {kind} result, not {name}", where=str(folder), hint="Choose another --out")
    if redo:
        return None
    if record.fingerprint == fingerprint(identity):
        _tidy(folder)
        return record
    what = f"the {name} result there was made from other inputs ({listed(diff(record.identity, identity))})"
    raise StaleError(what, where=str(folder), hint="Choose another --out, or pass --redo to replace it")


def _prepare(folder: Path, identity: Identity, resumable: bool) -> int:
    """Empty a result's draft, unless it holds a resumable start of the same identity; returns the attempt number."""
    draft, mark, before = draft_of(folder), fingerprint(identity), start_of(folder)
    n_attempts = before.n_attempts + 1 if before is not None and before.fingerprint == mark else 1
    if n_attempts == 1 or not resumable:
        _empty(draft)
    for stray in draft.rglob(".*.tmp"):
        stray.unlink()
    write_json(draft / _STARTED, Start(mark, n_attempts)._asdict())
    return n_attempts


def _empty(draft: Path) -> None:
    for entry in draft.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _make(draft: Path, identity: Identity, make: Callable[[Path], Built], n_attempts: int, folder: Path) -> Record:
    started_at, clock, cpu_s = datetime.now(UTC), time.monotonic(), sum(os.times()[:4])
    built = make(draft)
    outputs = {name: hash_file(draft / name) for name in sorted(built.outputs)}
    record = Record(
        identity=identity,
        fingerprint=fingerprint(identity),
        outputs=outputs,
        digest=fingerprint(outputs),
        summary=built.summary,
        versions=versions(),
        commit=commit(),
        execution=Execution(
            started_at=started_at.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 3),
            cpu_s=round(sum(os.times()[:4]) - cpu_s, 3),
            host="" if built.is_given_away else socket.gethostname(),
            folder=folder.name if built.is_given_away else str(folder),
            n_attempts=n_attempts,
            extra=built.execution,
        ),
    )
    canonical_json(record)
    write_json(draft / RECORD, record)
    return record


def _move(draft: Path, folder: Path) -> None:
    """Put a finished draft in its place, over an older result if there is one, and clear away what that leaves."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    draft.rename(folder)
    _tidy(folder)


def _tidy(folder: Path) -> None:
    """Clear away what a move leaves, now or where it was killed."""
    shutil.rmtree(folder.with_name(f".{folder.name}.old"), ignore_errors=True)
    with suppress(OSError):
        (folder / LOCK).unlink()


def _discard(draft: Path, new_parents: list[Path]) -> None:
    """Remove a draft that is no longer needed, unless another process holds it, and the empty folders made for it."""
    if draft.is_dir():
        try:
            with locked(draft):
                shutil.rmtree(draft, ignore_errors=True)
        except InUseError:
            return
    for parent in new_parents:
        with suppress(OSError):
            parent.rmdir()
