"""Folders with one writer, and files written whole or not at all."""

from __future__ import annotations

import codecs
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.core.errors import DataError, FolderError, InUseError, MidspecError, MissingError, first_fault
from midspec.core.text import LFS_HINT, LFS_POINTER, LFS_WORDS

LOCK, DRAFT = ".lock", ".part"
_LOCK_TRIES = 100
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_NO_ENTRY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}


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
    path = folder / LOCK
    handle = _acquire(path, time.monotonic() + wait_s)
    try:
        yield
    finally:
        # The folder may have been moved away meanwhile, and another writer's lock may stand at this path.
        if _is_at(handle, path):
            path.unlink(missing_ok=True)
        os.close(handle)


def _acquire(path: Path, deadline: float) -> int:
    """Return an open handle that holds the lock at `path`, and not one that its last holder has just removed."""
    while True:
        handle = _open_lock(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(handle)
                held = path.parent.with_name(path.parent.name.removeprefix(".").removesuffix(DRAFT))
                hint = "Wait for it to end, or choose another --out"
                raise InUseError("another process is writing this folder", where=str(held), hint=hint) from error
            time.sleep(0.05)
        except OSError as error:
            # Lustre mounted without `-o flock`, some NFS and FUSE.
            os.close(handle)
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
            hint = "Choose another --out (a study may have file:///FOLDER there, which needs no such locks)"
            what = f"its disk knows no file locks ({error.strerror})"
            raise FolderError(what, where=str(path.parent), hint=hint) from error
        os.close(handle)


def _open_lock(path: Path) -> int:
    """Open the lock file; its folder is made again where its last holder has just moved or removed it."""
    with writable(path.parent):
        for _ in range(_LOCK_TRIES):
            with suppress(FileNotFoundError):
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    raise FolderError("can't be made", where=str(path.parent), hint="Choose another --out")


def _is_at(handle: int, path: Path) -> bool:
    """Return whether `path` is still the file that `handle` has open."""
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
            f"can't be written ({reason})", where=str(folder), hint="Free space or choose another --out"
        ) from error


RowType = TypeVar("RowType", bound=BaseModel)


@contextmanager
def _in_one_move(path: Path) -> Iterator[TextIO]:
    """Open a file to write that takes its place when it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one move, so that a reader sees all of it or none."""
    with _in_one_move(path) as file:
        file.write(text)


def write_json(path: Path, value: BaseModel | JsonValue) -> None:
    """Write one value as indented JSON with a final line feed, in one move."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write rows as JSONL, one model a line with its keys in the order of its fields; returns how many.

    Rows are taken one at a time and none is kept, so that a corpus may be larger than the memory.
    """
    n_rows = 0
    with _in_one_move(path) as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
            n_rows += 1
    return n_rows


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write rows that are JSON already, each a line as `write_rows` makes it, in one move."""
    with _in_one_move(path) as file:
        file.writelines(lines)


def read_rows(path: Path, kind: type[RowType]) -> Iterator[RowType]:
    """Yield the rows of a JSONL file, one at a time; blank lines are passed over.

    Raises:
        MissingError: there is no such file.
        DataError: a line is not a row of this kind; names the file, the line and the field.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    # Bytes are split at line feeds only: U+2028 and its like are ordinary text inside a JSON string.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            try:
                row = kind.model_validate_json(line)
            except ValidationError as error:
                for begin, form, hint in _OTHER_FORMS if number == 1 else ():
                    if line.startswith(begin):
                        raise DataError(f"is {form}", where=str(path), hint=hint) from error
                what = f"not a row of kind {kind.__name__}: {': '.join(first_fault(error, 'the line'))}"
                raise DataError(what, where=f"{path}:{number}", hint="Correct or remove that line") from error
            yield row


# How files begin that are no JSON lines in UTF-8, what they are and what helps.
_OTHER_FORMS = (
    (codecs.BOM_UTF16_LE, "text in UTF-16", "Save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "text in UTF-16", "Save it as UTF-8"),
    (b"\x1f\x8b", "a gzip file", "Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file", "Unpack it first"),
    (b"PK\x03\x04", "a zip file", "Unpack it first"),
    (b"PAR1", "a parquet file", "Give JSON lines, one row a line"),
    (LFS_POINTER.encode(), LFS_WORDS, LFS_HINT),
    (b"[", "one JSON list", "Write one row a line, without the brackets around them and the commas between them"),
)


def row_lines(path: Path) -> list[str]:
    """Return the lines of a JSONL file without blank ones; only line feeds end one, as in `read_rows`."""
    return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
