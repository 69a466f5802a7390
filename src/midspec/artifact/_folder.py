"""A folder with one writer, and what the operating system says against it in one line."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from midspec.errors import FolderError, InUseError, MidspecError

__all__ = ["DRAFT", "LOCK", "locked", "writable"]

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
                held = path.parent.with_name(path.parent.name.removeprefix(".").removesuffix(DRAFT))
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
