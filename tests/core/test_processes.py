"""Real processes: one is killed while it builds, two meet at one folder."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from midspec.core.artifact import read_record

SCRIPT = Path(__file__).with_name("slow_builder.py")
RESULT = ["a.txt", "b.txt", "c.txt", "d.txt", "record.json"]


def start(folder: Path, pause: float, *options: str) -> subprocess.Popen[str]:
    asked = [sys.executable, str(SCRIPT), str(folder), str(pause), *options]
    return subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)


def finish(folder: Path, pause: float, *options: str) -> tuple[int, list[str]]:
    process = start(folder, pause, *options)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said.split("\n")[:-1]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def contents(folder: Path) -> dict[str, object]:
    """What a result is, without how it came to be (a commit made meanwhile in this checkout is no difference)."""
    record = read_record(folder)
    assert record is not None
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "record.json"}
    return {**files, "record": record.model_dump(exclude={"execution", "commit"})}


@pytest.mark.parametrize("options", [(), ("--resumable",)])
def test_a_build_killed_half_way_shows_nothing_and_is_built_again_equal(tmp_path: Path, options: tuple[str]) -> None:
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = start(killed, 0.3, *options)
    assert first_line(process) == "a.txt"
    kill(process)
    assert not killed.exists()
    status, said = finish(killed, 0.0, *options)
    assert (status, said[-1]) == (0, "made")
    assert ("a.txt" in said) == (not options), "a resumable build keeps its finished parts"
    finish(straight, 0.0)
    assert contents(killed) == contents(straight)
    assert sorted(path.name for path in killed.iterdir()) == RESULT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "straight"]


@pytest.mark.slow
def test_kills_at_random_moments_never_show_half_a_result(tmp_path: Path) -> None:
    rng = random.Random(7)
    finish(tmp_path / "straight", 0.0)
    for at in range(10):
        folder = tmp_path / f"run{at}"
        process = start(folder, 0.01, "--resumable")
        time.sleep(rng.uniform(0.15, 0.5))
        kill(process)
        assert not folder.exists() or contents(folder) == contents(tmp_path / "straight")
        assert finish(folder, 0.0, "--resumable")[0] == 0
        assert contents(folder) == contents(tmp_path / "straight")
        assert sorted(path.name for path in folder.iterdir()) == RESULT
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_second_writer_is_told_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    first = start(tmp_path / "a", 1.5)  # three more parts: time for another Python to start on a busy machine
    assert first_line(first) == "a.txt"
    status, said = finish(tmp_path / "a", 0.0)
    assert status == 2
    assert len(said) == 1
    assert said[0].startswith("InUseError: ")
    assert "another process is writing" in said[0]
    rest, _ = first.communicate(timeout=60)
    assert rest.split()[-1] == "made"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == RESULT


def test_a_second_writer_that_waits_takes_over_the_firsts_result(tmp_path: Path) -> None:
    first = start(tmp_path / "a", 1.0)
    assert first_line(first) == "a.txt"
    assert finish(tmp_path / "a", 0.0, "--wait", "30") == (0, ["there"])
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_waiting_writer_builds_itself_when_the_first_is_killed(tmp_path: Path) -> None:
    first = start(tmp_path / "a", 5.0)
    while not (tmp_path / ".a.part" / ".started.json").exists():
        time.sleep(0.02)
    second = start(tmp_path / "a", 0.0, "--wait", "30")
    time.sleep(0.3)
    kill(first)
    said, _ = second.communicate(timeout=60)
    assert said.split()[-1] == "made"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == RESULT


def test_many_waiting_writers_make_one_result_once(tmp_path: Path) -> None:
    writers = [start(tmp_path / "a", 0.05, "--wait", "30") for _ in range(4)]
    ends = [writer.communicate(timeout=60)[0].split()[-1] for writer in writers]
    assert sorted(ends) == ["made", "there", "there", "there"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
