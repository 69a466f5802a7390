"""What the system grants is read from control groups as Linux writes them, of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from midspec.core.machine import granted, memory_limit, room_in


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


UNIFIED = {"proc/self/cgroup": "0::/system.slice/job.scope\n"}
SPLIT = {"proc/self/cgroup": "5:cpu,cpuacct:/slurm/job_7\n4:memory:/slurm/job_7\n1:name=systemd:/\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (UNIFIED | {"sys/fs/cgroup/system.slice/job.scope/memory.max": "max\n"}, None),
        (UNIFIED | {"sys/fs/cgroup/system.slice/job.scope/memory.max": "4000000000\n"}, 4_000_000_000),
        # A limit of a group above holds too, where the process's own has a larger one or none.
        (
            UNIFIED
            | {
                "sys/fs/cgroup/system.slice/job.scope/memory.max": "max\n",
                "sys/fs/cgroup/system.slice/memory.max": "2000000000\n",
            },
            2_000_000_000,
        ),
        # In a container the path is the host's, and the limit stands at the top.
        (UNIFIED | {"sys/fs/cgroup/memory.max": "1000000000\n"}, 1_000_000_000),
        (SPLIT | {"sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": "8000000000\n"}, 8_000_000_000),
        # Version 1 writes the largest number there is for no limit.
        (SPLIT | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ],
)
def test_the_memory_limit_is_the_least_of_the_groups_that_hold_the_process(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    assert memory_limit(_write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (UNIFIED | {"sys/fs/cgroup/system.slice/job.scope/cpu.max": "max 100000\n"}, None),
        (UNIFIED | {"sys/fs/cgroup/system.slice/job.scope/cpu.max": "150000 100000\n"}, 1.5),
        (
            SPLIT
            | {
                "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
    ],
)
def test_the_share_of_cores_is_that_of_the_tightest_group(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    assert granted(_write(tmp_path, files)).core_quota == expected


def test_free_memory_is_what_programs_can_still_take(tmp_path: Path) -> None:
    root = _write(tmp_path, {"proc/meminfo": "MemTotal:  2048 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\n"})
    assert granted(root).memory_free_bytes == 2**20
    assert granted(tmp_path / "elsewhere").memory_free_bytes is None


def test_cores_and_open_files_are_those_of_this_process() -> None:
    import resource

    found = granted()
    assert found.n_usable_cores == len(os.sched_getaffinity(0)) <= found.n_cores
    assert found.n_open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_folder_that_is_not_there_holds_nothing_and_has_the_room_of_its_disk(tmp_path: Path) -> None:
    _write(tmp_path, {"cache/a": "x" * 10, "cache/deep/b": "y" * 5})
    (tmp_path / "cache" / "link").symlink_to("nowhere")
    full, absent = room_in(tmp_path / "cache"), room_in(tmp_path / "not" / "there")
    assert full.used_bytes == 15 + len("nowhere")
    assert full.is_counted_whole
    assert absent.used_bytes == 0
    assert absent.free_bytes == pytest.approx(full.free_bytes, rel=0.1)
