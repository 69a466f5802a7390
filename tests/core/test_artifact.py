"""A step's folder: whole or not there, made once, and never silently of other inputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from midspec.core.artifact import (
    CHECKPOINTS,
    RECORD,
    Built,
    _build,
    build,
    locked,
    read_record,
    take_over,
    writable,
    write_rows,
    write_text,
)
from midspec.core.errors import ConfigError, DataError, FolderError, InUseError, PreflightError, StaleError
from midspec.core.fingerprint import fingerprint, hash_file
from midspec.core.records import Identity, Message, Record


def identity(**config: int | str) -> Identity:
    return Identity(step="toy@1", inputs={"spec": "aa"}, config=dict(config))


def make(folder: Path, text: str = "one\n") -> Built:
    write_text(folder / "rows.txt", text)
    (folder / "sub").mkdir(exist_ok=True)
    write_text(folder / "sub" / "more.txt", "more\n")
    return Built(outputs=("rows.txt", "sub/more.txt"), summary={"n": 1}, execution={"clock": 0.5})


def names(folder: Path) -> list[str]:
    """Every entry under `folder`, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_built_folder_holds_the_results_and_a_record_and_nothing_else(tmp_path: Path) -> None:
    record, is_new = build(tmp_path / "a" / "b", identity(), make)
    assert is_new
    assert names(tmp_path) == ["a", "a/b", "a/b/record.json", "a/b/rows.txt", "a/b/sub", "a/b/sub/more.txt"]
    assert read_record(tmp_path / "a" / "b") == record


def test_a_result_that_another_writer_moves_here_between_two_looks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "theirs", identity(), make)

    def look(folder: Path) -> Record | None:
        found = read_record(folder)
        if not folder.exists():
            (tmp_path / "theirs").rename(folder)
        return found

    monkeypatch.setattr(_build, "read_record", look)
    record, is_new = build(tmp_path / "a", identity(), make)
    assert not is_new
    assert record == read_record(tmp_path / "a")


def test_a_record_says_what_it_is_of_and_keeps_clocks_and_paths_apart(tmp_path: Path) -> None:
    record, _ = build(tmp_path / "a", identity(seed=3), make)
    assert record.identity == identity(seed=3)
    assert record.fingerprint == fingerprint(identity(seed=3))
    assert record.outputs == {name: hash_file(tmp_path / "a" / name) for name in ("rows.txt", "sub/more.txt")}
    assert record.digest == fingerprint(record.outputs)
    assert record.summary == {"n": 1}
    assert record.execution.extra == {"clock": 0.5}
    plain = json.loads((tmp_path / "a" / RECORD).read_text())
    del plain["execution"]
    assert str(tmp_path) not in json.dumps(plain)


def test_two_builds_are_equal_but_for_their_execution(tmp_path: Path) -> None:
    one, _ = build(tmp_path / "a", identity(), make)
    other, _ = build(tmp_path / "b", identity(), make)
    apart = {"execution", "commit"}  # a commit made meanwhile in this checkout is no difference
    assert one.model_dump(exclude=apart) == other.model_dump(exclude=apart)


def test_a_step_of_the_same_identity_is_skipped(tmp_path: Path) -> None:
    first, _ = build(tmp_path / "a", identity(), make)

    def never(folder: Path) -> Built:
        raise AssertionError(folder)

    again, is_new = build(tmp_path / "a", identity(), never)
    assert not is_new
    assert again == first


def test_changed_inputs_under_the_same_name_are_an_error_that_shows_the_fields(tmp_path: Path) -> None:
    build(tmp_path / "a", identity(seed=1, mode="prose"), make)
    before = names(tmp_path)
    changed = Identity(step="toy@1", inputs={"spec": "bb"}, config={"seed": 2, "mode": "prose"})
    with pytest.raises(StaleError) as caught:
        build(tmp_path / "a", changed, make)
    said = str(caught.value)
    assert 'config.seed: 1 -> 2; inputs.spec: "aa" -> "bb"' in said
    assert "mode" not in said
    assert "--redo" in said
    assert "\n" not in said
    assert names(tmp_path) == before


@pytest.mark.parametrize("redo", [False, True])
def test_a_result_of_another_kind_of_step_is_never_replaced(tmp_path: Path, redo: bool) -> None:
    build(tmp_path / "a", identity(seed=1), make)
    before = names(tmp_path)
    with pytest.raises(FolderError) as caught:
        build(tmp_path / "a", Identity(step="other@1", inputs={}, config={}), make, redo=redo)
    assert str(caught.value) == f"{tmp_path / 'a'}: holds a toy result, not other. Choose another --out"
    assert names(tmp_path) == before


def test_redo_replaces_a_result_of_other_inputs_and_leaves_no_rest(tmp_path: Path) -> None:
    build(tmp_path / "a", identity(seed=1), make)
    (tmp_path / "a" / "stray.txt").write_text("left by hand")
    record, is_new = build(tmp_path / "a", identity(seed=2), lambda folder: make(folder, "two\n"), redo=True)
    assert is_new
    assert record.identity.config == {"seed": 2}
    assert (tmp_path / "a" / "rows.txt").read_text() == "two\n"
    assert names(tmp_path) == ["a", "a/record.json", "a/rows.txt", "a/sub", "a/sub/more.txt"]


def test_a_redo_that_fails_leaves_the_old_result_as_it_was(tmp_path: Path) -> None:
    first, _ = build(tmp_path / "a", identity(seed=1), make)
    before = names(tmp_path)

    def broken(folder: Path) -> Built:
        make(folder, "half")
        raise PreflightError("too few updates")

    with pytest.raises(PreflightError):
        build(tmp_path / "a", identity(seed=2), broken, redo=True)
    assert names(tmp_path) == before
    assert read_record(tmp_path / "a") == first


@pytest.mark.parametrize("error", [PreflightError("no"), ValueError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    def broken(folder: Path) -> Built:
        make(folder)
        raise error

    with pytest.raises(type(error)):
        build(tmp_path / "new" / "deep" / "a", identity(), broken)
    assert names(tmp_path) == []


def test_a_missing_output_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build(tmp_path / "a", identity(), lambda _: Built(outputs=("absent.txt",)))
    assert names(tmp_path) == []


def test_an_empty_folder_is_a_fine_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert build(tmp_path / "a", identity(), make)[1]


@pytest.mark.parametrize("is_file", [True, False])
def test_what_no_step_made_is_never_overwritten(tmp_path: Path, is_file: bool) -> None:
    place = tmp_path / "a"
    mine = place if is_file else place / "thesis.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    for redo in (False, True):
        with pytest.raises(FolderError, match="is a file" if is_file else "not a midspec result"):
            build(place, identity(), make, redo=redo)
    assert mine.read_text() == "mine"


def test_a_broken_record_is_an_error_and_not_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text('{"identity": 1}')
    with pytest.raises(DataError, match="not a midspec record"):
        read_record(tmp_path)
    with pytest.raises(DataError, match="not a midspec record"):
        build(tmp_path, identity(), make)


# Resuming ------------------------------------------------------------------------------------------------------


def resumable(folder: Path) -> Built:
    """Stops half-way the first time."""
    if not (folder / "half.txt").exists():
        write_text(folder / "half.txt", "half")
        (folder / ".full.txt.1.tmp").write_text("cut off in the middle of a write")
        raise KeyboardInterrupt
    (folder / "half.txt").unlink()
    return make(folder)


def test_a_resumable_step_goes_on_from_what_it_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "a", identity(), resumable, resumable=True)
    assert not (tmp_path / "a").exists()
    record, _ = build(tmp_path / "a", identity(), resumable, resumable=True)
    assert record.execution.n_attempts == 2
    assert names(tmp_path) == ["a", "a/record.json", "a/rows.txt", "a/sub", "a/sub/more.txt"]


def test_a_half_of_another_identity_is_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "a", identity(seed=1), resumable, resumable=True)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "a", identity(seed=2), resumable, resumable=True)


def test_a_resumable_step_that_the_user_must_mend_leaves_nothing(tmp_path: Path) -> None:
    def refused(folder: Path) -> Built:
        make(folder)
        raise PreflightError("too few updates")

    with pytest.raises(PreflightError):
        build(tmp_path / "a", identity(), refused, resumable=True)
    assert names(tmp_path) == []


def stops_at_the_end(error: BaseException) -> Callable[[Path], Built]:
    """A step that leaves a checkpoint, then fails; once the checkpoint is there it finishes."""

    def step(folder: Path) -> Built:
        checkpoint = folder / CHECKPOINTS / "checkpoint-3" / "weights"
        if not checkpoint.exists():
            checkpoint.parent.mkdir(parents=True)
            write_text(checkpoint, "three updates")
            raise error
        return make(folder)

    return step


WORK_ENDERS = [
    FolderError("full"),
    PreflightError("no"),
    ConfigError("too little memory"),
    ValueError("bug"),
    SystemExit(1),
]


@pytest.mark.parametrize("error", WORK_ENDERS)
def test_a_checkpoint_outlives_whatever_ends_the_step(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        build(tmp_path / "a", identity(), stops_at_the_end(error), resumable=True)
    assert (tmp_path / ".a.part" / CHECKPOINTS / "checkpoint-3" / "weights").exists()
    record, _ = build(tmp_path / "a", identity(), stops_at_the_end(error), resumable=True)
    assert record.execution.n_attempts == 2
    assert names(tmp_path) == ["a", "a/record.json", "a/rows.txt", "a/sub", "a/sub/more.txt"]


def test_a_checkpoint_outlives_attempts_that_fail_before_they_reach_it(tmp_path: Path) -> None:
    with pytest.raises(FolderError):
        build(tmp_path / "a", identity(), stops_at_the_end(FolderError("full")), resumable=True)

    def refused(_: Path) -> Built:
        raise ConfigError("there is no such device")

    for _ in range(2):
        with pytest.raises(ConfigError):
            build(tmp_path / "a", identity(), refused, resumable=True)
    assert build(tmp_path / "a", identity(), stops_at_the_end(ValueError()), resumable=True)[1]


def test_an_empty_folder_of_checkpoints_is_nothing_to_keep(tmp_path: Path) -> None:
    def refused(folder: Path) -> Built:
        (folder / CHECKPOINTS).mkdir()
        raise PreflightError("no")

    with pytest.raises(PreflightError):
        build(tmp_path / "a", identity(), refused, resumable=True)
    assert names(tmp_path) == []


def test_a_step_that_can_not_go_on_keeps_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(PreflightError):
        build(tmp_path / "a", identity(), stops_at_the_end(PreflightError("no")))
    assert names(tmp_path) == []


def test_a_checkpoint_lies_there_until_the_record_is_written(tmp_path: Path) -> None:
    def ends(folder: Path) -> Built:
        (folder / CHECKPOINTS / "checkpoint-3").mkdir(parents=True)
        return Built(outputs=("absent.txt",))  # a fault after the end: what it names can't be hashed

    with pytest.raises(FileNotFoundError):
        build(tmp_path / "a", identity(), ends, resumable=True)
    assert (tmp_path / ".a.part" / CHECKPOINTS / "checkpoint-3").is_dir()


def test_a_draft_that_was_finished_but_not_moved_is_not_made_again(tmp_path: Path) -> None:
    straight, _ = build(tmp_path / "a", identity(), make)
    (tmp_path / "a").rename(tmp_path / ".a.part")

    def never(folder: Path) -> Built:
        raise AssertionError(folder)

    record, _ = build(tmp_path / "a", identity(), never)
    assert record == straight
    assert names(tmp_path) == ["a", "a/record.json", "a/rows.txt", "a/sub", "a/sub/more.txt"]


def test_a_redo_killed_between_its_two_moves_is_completed(tmp_path: Path) -> None:
    build(tmp_path / "a", identity(seed=1), lambda folder: make(folder, "old\n"))
    build(tmp_path / "b", identity(seed=2), make)
    (tmp_path / "a").rename(tmp_path / ".a.old")
    (tmp_path / "b").rename(tmp_path / ".a.part")
    record, _ = build(tmp_path / "a", identity(seed=2), make, redo=True)
    assert record.identity.config == {"seed": 2}
    assert names(tmp_path) == ["a", "a/record.json", "a/rows.txt", "a/sub", "a/sub/more.txt"]


def test_what_a_killed_move_leaves_is_cleared_away_by_the_next_run(tmp_path: Path) -> None:
    build(tmp_path / "a", identity(), make)
    (tmp_path / "a" / ".lock").touch()
    shutil.copytree(tmp_path / "a", tmp_path / ".a.old")
    assert not build(tmp_path / "a", identity(), make)[1]
    assert names(tmp_path) == ["a", "a/record.json", "a/rows.txt", "a/sub", "a/sub/more.txt"]


# Folders that can't be written ---------------------------------------------------------------------------------


def test_a_place_under_a_file_is_one_line_of_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderError) as caught:
        build(tmp_path / "file" / "a", identity(), make)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_a_name_that_is_too_long_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="too long"):
        build(tmp_path / ("x" * 300), identity(), make)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), ConnectionError("lost"), OSError("not a model")])
def test_other_errors_of_the_system_are_not_taken_for_a_bad_folder(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(type(error)) as caught, writable(tmp_path):
        raise error
    assert caught.value is error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, which only root can mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    asked = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if mount is None or os.geteuid() != 0 or subprocess.run(asked, check=False, capture_output=True).returncode != 0:
        pytest.skip("NOT TESTED: full and read-only disks, because this user can't mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("is_resumable", [True, False])
def test_a_full_disk_is_one_line_of_error_and_leaves_nothing(small_disk: Path, is_resumable: bool) -> None:
    def too_much(folder: Path) -> Built:
        make(folder)
        write_text(folder / "big.txt", "x" * 200_000)
        return Built(outputs=("big.txt",))

    with pytest.raises(FolderError, match="No space left") as caught:
        build(small_disk / "new" / "a", identity(), too_much, resumable=is_resumable)
    assert "\n" not in str(caught.value)
    assert names(small_disk) == []
    assert build(small_disk / "new" / "a", identity(), make)[1]


def test_a_full_disk_keeps_the_last_checkpoint_and_the_same_command_goes_on(small_disk: Path) -> None:
    def step(folder: Path) -> Built:
        checkpoint = folder / CHECKPOINTS / "checkpoint-3"
        if not checkpoint.is_dir():
            checkpoint.mkdir(parents=True)
            (small_disk / "of another program").write_bytes(b"x" * 48_000)
            write_text(folder / "big.txt", "x" * 30_000)
        return make(folder)

    with pytest.raises(FolderError, match="No space left"):
        build(small_disk / "a", identity(), step, resumable=True)
    (small_disk / "of another program").unlink()
    record, _ = build(small_disk / "a", identity(), step, resumable=True)
    assert record.execution.n_attempts == 2


def test_a_read_only_disk_is_one_line_of_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(FolderError, match="Read-only"):
        build(small_disk / "new" / "a", identity(), make)
    with pytest.raises(FolderError, match="Read-only"), locked(small_disk):
        pass


def test_rows_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [Message(role="user", content="old")])

    def rows() -> Iterator[Message]:
        yield Message(role="user", content="new")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        write_rows(path, rows())
    assert "old" in path.read_text()
    assert names(tmp_path) == ["rows.jsonl"]


# Locks ---------------------------------------------------------------------------------------------------------


def test_a_lock_is_gone_when_it_is_let_go(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        with pytest.raises(InUseError, match="another process"), locked(tmp_path / "run"):
            pass
        assert names(tmp_path) == ["run", "run/.lock"]
    assert names(tmp_path) == ["run"]
    with locked(tmp_path / "run"):
        pass


def test_a_lock_let_go_after_its_folder_moved_does_not_take_anothers(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "moved")
        with locked(tmp_path / "run"):
            pass
        (tmp_path / "run" / ".lock").write_text("another writer's")
    assert (tmp_path / "run" / ".lock").exists()


def test_a_result_is_taken_over_with_its_files_and_summary(tmp_path: Path) -> None:
    def make(folder: Path) -> Built:
        (folder / "part").mkdir()
        (folder / "part" / "a.txt").write_text("a", encoding="utf-8")
        return Built(outputs=("part/a.txt",), summary={"n": 1})

    first, _ = build(tmp_path / "one", identity(), make)
    second, was_made = build(tmp_path / "two", identity(), partial(take_over, tmp_path / "one"))
    assert was_made
    assert (second.outputs, second.summary, second.digest) == (first.outputs, first.summary, first.digest)
    assert (tmp_path / "two" / "part" / "a.txt").read_text(encoding="utf-8") == "a"
