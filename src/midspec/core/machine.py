"""What the operating system grants this process: cores, memory, open files, room on disks; torch is not loaded.

A container or a scheduler grants less than the machine has, and says so in a control group: each limit here is the
least of all that hold.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_CGROUPS = Path("sys/fs/cgroup")
# Counting the files of a cache must not keep one waiting: what was found until then is a lower bound.
_COUNT_S = 2.0
_KEPT_BY_ROOT = 2**60  # version 1 writes a number near 2**63 where there is no limit


class Grants(BaseModel):
    """Cores, memory and open files of this process.

    Attributes:
        n_cores: of the machine.
        n_usable_cores: those that this process may run on (affinity).
        core_quota: cores' worth of time that the control group grants; `None` without a limit.
        memory_bytes: of the machine; `None` where the system does not say.
        memory_limit_bytes: what the control group grants of it; `None` without a limit.
        memory_free_bytes: what programs could still take of the machine's; `None` where the system does not say.
        n_open_files: that the process may have at once; `None` for no limit.
        n_open_files_at_most: to which it may raise that number by itself; `None` for no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_cores: int
    n_usable_cores: int
    core_quota: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    memory_free_bytes: int | None
    n_open_files: int | None
    n_open_files_at_most: int | None


class Room(BaseModel):
    """A folder: how much it holds, and how much its disk has free.

    Attributes:
        used_bytes: of its files; 0 where there is no such folder.
        is_counted_whole: whether all files were counted in the time there was.
        free_bytes: on its disk, for this user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    used_bytes: int
    is_counted_whole: bool
    free_bytes: int


def granted(root: Path = Path("/")) -> Grants:
    """Return what this process is granted.

    Args:
        root: where `proc` and `sys` are.
    """
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else None
    n_cores = os.cpu_count() or affinity or 1
    free: int | None = None
    with suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    soft: int | None = None
    hard: int | None = None
    with suppress(ImportError):  # Windows has no such limit
        import resource

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft, hard = (None if n == resource.RLIM_INFINITY else n for n in limits)
    return Grants(
        n_cores=n_cores,
        n_usable_cores=affinity or n_cores,
        core_quota=min(_core_quotas(root), default=None),
        memory_bytes=_machine_memory(),
        memory_limit_bytes=memory_limit(root),
        memory_free_bytes=free,
        n_open_files=soft,
        n_open_files_at_most=hard,
    )


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the memory that the control groups of this process grant in bytes; `None` without a limit."""
    found = []
    for group in _groups(root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" is no number
                found.append(int((group / name).read_text(encoding="utf-8")))
    limit = min(found, default=_KEPT_BY_ROOT)
    return limit if limit < _KEPT_BY_ROOT else None


def usable_memory() -> int | None:
    """Return the bytes of memory that a process may use of the machine's; `None` where the system does not say."""
    return min((size for size in (_machine_memory(), memory_limit()) if size is not None), default=None)


def room_in(folder: Path) -> Room:
    """Count a folder's files and its disk's room, of the nearest parent that is there."""
    # Unlike `Path.exists`, this is no error where a folder on the way may not be entered.
    there = next(path for path in (folder, *folder.absolute().parents) if os.access(path, os.F_OK))
    used, end, is_whole = 0, time.monotonic() + _COUNT_S, True
    for parent, _, files in os.walk(folder):
        if time.monotonic() > end:
            is_whole = False
            break
        for name in files:
            with suppress(OSError):
                used += os.lstat(Path(parent) / name).st_size
    free = shutil.disk_usage(there).free
    return Room(folder=str(folder), used_bytes=used, is_counted_whole=is_whole, free_bytes=free)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that hold this process, and of those above them."""
    top = root / _CGROUPS
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        # Version 2 has one line, `0::/path`; version 1 a line for each controller, `4:memory:/path`.
        _, controllers, place = line.split(":", 2)
        base = top / controllers if controllers else top
        group = base / place.lstrip("/")
        # A container often sees its own group as the top, and is told a path that is not there.
        yield from (path for path in (group, *group.parents) if path.is_relative_to(base))
    yield from (top, top / "memory", top / "cpu")


def _core_quotas(root: Path) -> Iterator[float]:
    for group in _groups(root):
        with suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError):
            used = int((group / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
            if used > 0:
                yield used / int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
