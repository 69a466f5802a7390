"""A folder of rows with a `record.json` that is written last: its presence means done.

A step is built in a hidden folder beside its final place and moved there whole, so nobody ever sees half a result.
Same identity: the step is skipped. Another identity under the same name: `StaleError` with the fields that differ.
An interrupted step is built again from nothing, or goes on from what its hidden folder holds if it says it can.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.errors import DataError, FolderError, InUseError, MidspecError, MissingError, StaleError
from midspec.fingerprint import canonical_json, diff, fingerprint, hash_file
from midspec.records import Execution, Identity, Record

__all__ = ["RECORD", "Built", "build", "locked", "read_record", "read_rows", "writable"]
__all__ += ["write_json", "write_rows", "write_text"]

RECORD = "record.json"
_STARTED = ".started.json"
_LOCK, _DRAFT = ".lock", ".part"
_LOCK_TRIES = 100
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_NO_ENTRY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
_PACKAGES = ("midspec", "torch", "transformers", "peft", "accelerate", "inspect_ai", "numpy")

RowType = TypeVar("RowType", bound=BaseModel)


class Built(BaseModel):
    """What a step's builder returns: its result files (relative names, to be hashed) and a summary of its health.

    `execution` holds figures that are about this run and not about the result (seconds a stage took, say).
    """

    outputs: tuple[str, ...]
    summary: dict[str, JsonValue] = {}
    execution: dict[str, JsonValue] = {}


# Rows ----------------------------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one move, so that a reader sees all of it or none."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, value: BaseModel | JsonValue) -> None:
    """Write one value as indented JSON with a final line feed, in one move."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write rows as JSONL, one model a line with its keys in the order of its fields; returns how many."""
    lines = [row.model_dump_json() + "\n" for row in rows]
    write_text(path, "".join(lines))
    return len(lines)


def read_rows(path: Path, kind: type[RowType]) -> Iterator[RowType]:
    """The rows of a JSONL file, one at a time; blank lines are passed over.

    Raises:
        MissingError: there is no such file.
        DataError: a line is not a row of this kind; names the file, the line and the field.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), mend="Check the path")
    # Bytes are split at line feeds only: U+2028 and its like are ordinary text inside a JSON string.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _row(line, kind, f"{path}:{number}")


def _row(line: bytes, kind: type[RowType], where: str) -> RowType:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DataError(
            f"not a row of kind {kind.__name__}: {field}: {first['msg']}", where=where, mend="Mend or remove that line"
        ) from error


# Locks ---------------------------------------------------------------------------------------------------------


@contextmanager
def locked(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold `folder` (made if it is not there) as its only writer; the lock goes with the process, however it ends.

    Args:
        folder: the folder to hold.
        wait_s: how long to wait for another writer to finish.

    Raises:
        InUseError: another process still holds it.
        FolderError: the folder can't be made or written.
    """
    path = folder / _LOCK
    handle = _acquire(path, time.monotonic() + wait_s)
    try:
        yield
    finally:
        # The folder may have been moved away meanwhile, and another writer's lock may stand at this path.
        if _is_at(handle, path):
            path.unlink(missing_ok=True)
        os.close(handle)


def _acquire(path: Path, deadline: float) -> int:
    """An open handle that holds the lock at `path`, and not one that its last holder has just removed."""
    while True:
        handle = _open_lock(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(handle)
                held = path.parent.with_name(path.parent.name.removeprefix(".").removesuffix(_DRAFT))
                mend = "Wait for it to end, or choose another --out"
                raise InUseError("another process is writing this folder", where=str(held), mend=mend) from error
            time.sleep(0.05)
        os.close(handle)


def _open_lock(path: Path) -> int:
    """The lock file, open; its folder is made again where its last holder has just moved or removed it."""
    with writable(path.parent):
        for _ in range(_LOCK_TRIES):
            with suppress(FileNotFoundError):
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    raise FolderError("can't be made", where=str(path.parent), mend="Choose another --out")


def _is_at(handle: int, path: Path) -> bool:
    """Whether `path` is still the file that `handle` has open."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals (full, read-only, not a folder) into one `FolderError`.

    Every other `OSError` (a missing file, a broken connection, a library's own) is about something else and passes.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, MidspecError) or error.errno not in _NO_ROOM | _NO_ENTRY:
            raise
        reason = error.strerror or str(error)
        raise FolderError(
            f"can't be written ({reason})", where=str(folder), mend="Free space or choose another --out"
        ) from error


# Steps ---------------------------------------------------------------------------------------------------------


def read_record(folder: Path) -> Record | None:
    """The record of a finished step, or `None` when the folder holds no finished step.

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
            "not a midspec record", where=str(path), mend="Remove the folder, or choose another --out"
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
    draft = folder.with_name(f".{folder.name}{_DRAFT}")
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
            if (record := _finished(draft, identity)) is None:
                n_attempts = _prepare(draft, identity, resumable)
                keep = resumable
                record = _make(draft, identity, make, n_attempts, folder)
            (draft / _STARTED).unlink(missing_ok=True)
            _move(draft, folder)
            return record, True
    except MidspecError as error:
        # What the user must mend first is no start to go on from; a draft that another process holds is its own.
        keep = isinstance(error, InUseError) and not held
        raise
    finally:
        if not keep:
            _discard(draft, new_parents)


def _usable(folder: Path, identity: Identity, redo: bool) -> Record | None:
    record = read_record(folder)
    if record is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FolderError(
                "holds files that are not a midspec result", where=str(folder), mend="Choose another --out"
            )
        return None
    name, kind = (step.partition("@")[0] for step in (identity.step, record.identity.step))
    if name != kind:
        raise FolderError(f"holds a {kind} result, not {name}", where=str(folder), mend="Choose another --out")
    if redo:
        return None
    if record.fingerprint == fingerprint(identity):
        _tidy(folder)
        return record
    changes = "; ".join(str(change) for change in diff(record.identity, identity))
    what = f"the {name} result there was made from other inputs ({changes})"
    raise StaleError(what, where=str(folder), mend="Choose another --out, or pass --redo to replace it")


def _finished(draft: Path, identity: Identity) -> Record | None:
    """The record of a draft that was interrupted between its last file and its move, or `None`."""
    try:
        record = read_record(draft)
    except DataError:
        return None
    return record if record is not None and record.fingerprint == fingerprint(identity) else None


def _prepare(draft: Path, identity: Identity, resumable: bool) -> int:
    """Empty the draft folder, unless it holds a resumable start of the same identity; returns the attempt number."""
    started = draft / _STARTED
    mark = fingerprint(identity)
    n_attempts = 1
    if started.is_file():
        before = json.loads(started.read_text(encoding="utf-8"))
        if before["fingerprint"] == mark:
            n_attempts = before["n_attempts"] + 1
    if n_attempts == 1 or not resumable:
        for entry in draft.iterdir():
            if entry.name != _LOCK:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for stray in draft.rglob(".*.tmp"):
        stray.unlink()
    write_json(started, {"fingerprint": mark, "n_attempts": n_attempts})
    return n_attempts


def _make(draft: Path, identity: Identity, make: Callable[[Path], Built], n_attempts: int, folder: Path) -> Record:
    started_at, clock = datetime.now(UTC), time.monotonic()
    built = make(draft)
    outputs = {name: hash_file(draft / name) for name in sorted(built.outputs)}
    record = Record(
        identity=identity,
        fingerprint=fingerprint(identity),
        outputs=outputs,
        digest=fingerprint(outputs),
        summary=built.summary,
        versions=_versions(),
        commit=_commit(),
        execution=Execution(
            started_at=started_at.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 3),
            host=socket.gethostname(),
            folder=str(folder),
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
        (folder / _LOCK).unlink()


def _discard(draft: Path, new_parents: list[Path]) -> None:
    """Remove a draft that is of no more use, unless another process holds it, and the empty folders made for it."""
    if draft.is_dir():
        try:
            with locked(draft):
                shutil.rmtree(draft, ignore_errors=True)
        except InUseError:
            return
    for parent in new_parents:
        with suppress(OSError):
            parent.rmdir()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of midspec's own checkout, read from git's files; `None` outside a checkout."""
    for parent in Path(__file__).resolve().parents:
        head = parent / ".git" / "HEAD"
        if head.is_file():
            return _resolve_head(head)
    return None


def _resolve_head(head: Path) -> str | None:
    text = head.read_text(encoding="utf-8").strip()
    if not text.startswith("ref: "):
        return text
    name = text.removeprefix("ref: ")
    loose = head.parent / name
    if loose.is_file():
        return loose.read_text(encoding="utf-8").strip()
    packed = head.parent / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
